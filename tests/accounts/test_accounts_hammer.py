"""Four processes hammer one account in all lanes: a short run of tests/accounts/hammer.py."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from tests.accounts.hammer import BULK_SHARE, hammer_account

pytestmark = pytest.mark.system

# Where a process wakes so late, the machine takes calls from the bulk lane, not the limiter.
LATE_MS = 50


@pytest.mark.slow
def test_the_broker_never_sees_more_than_its_limit_and_bulk_has_nearly_all_that_the_others_leave():
    with tempfile.TemporaryDirectory(prefix="ob") as folder:
        told = asyncio.run(hammer_account(Path(folder), seconds=3.0, processes=4))
    assert told["busiest_second_at_the_broker"] <= told["allowed_per_s"]
    assert told["rate_errors"] == 0
    assert min(told["answered"].values()) > 0
    assert told["bulk_of_what_was_left"] >= BULK_SHARE or told["latest_wake_ms"] > LATE_MS
