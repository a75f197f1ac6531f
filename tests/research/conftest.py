"""The small store, written once a session; each test opens it or shares one opening."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import observer
from observer.research.store import Store
from tests.research.stored import make_store


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("research"))


@pytest.fixture(scope="session")
def store(folder: Path) -> Iterator[Store]:
    with observer.open_store(folder) as opened:
        yield opened
