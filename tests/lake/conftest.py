"""One object store for all tests of a process: its start takes longer than most of them. Each makes a bucket."""

from collections.abc import Iterator

import pytest

from tests.lake.object_stores import S3Server, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running
