"""Four processes hammer one account in all priorities: a short run of tests/brokers/hammer.py."""

import asyncio
from pathlib import Path

import pytest

from tests.brokers.hammer import BULK_SHARE, hammer_account
from tests.folders import short_folder

pytestmark = pytest.mark.system

# Where a process wakes so late, the machine takes calls from the bulk priority, not the limiter.
LATE_MS = 50


@pytest.mark.slow
def test_the_broker_never_sees_more_than_its_limit_and_bulk_has_nearly_all_that_the_others_leave():
    with short_folder() as folder:
        reported = asyncio.run(hammer_account(Path(folder), seconds=3.0, processes=4))
    assert reported["busiest_second_at_the_broker"] <= reported["allowed_per_s"]
    assert reported["rate_errors"] == 0
    assert min(reported["answered"].values()) > 0
    assert reported["bulk_of_what_was_left"] >= BULK_SHARE or reported["latest_wake_ms"] > LATE_MS
