"""Another user of the machine reaches nothing of a running system, and cannot stop storage by any lock."""

import contextlib
import os
import sqlite3

import pytest

from tests.chaos.local_user import AsStranger, CommitWatch, attacked_day, attempt, hold_locks, open_as_umask_022
from tests.waiting import until

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
]

ATTACK_S = 2.0  # some rounds of every attempt
PUBLISHED_BYTES = 50_000  # hundreds of events


def version_of(database):
    """A number that each commit of another process changes."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def outbox_bytes(folder):
    return sum(path.stat().st_size for path in (folder / "run" / "outbox").glob("track-*/*") if path.is_file())


@pytest.mark.slow
def test_another_user_reaches_nothing_and_the_modes_of_umask_022_would_let_a_readers_lock_stop_storage():
    """One system for both: the negative control shows that the attack would be seen."""
    with attacked_day(ATTACK_S) as attacked:
        day, target = attacked.day, attacked.target()
        assert attacked.traces() == []
        with AsStranger(attempt(target, ATTACK_S)) as user, CommitWatch(day.database) as watch:
            assert user.report()["reached"] == []
        assert watch.commits > 0
        assert day.alive()

        open_as_umask_022(day)
        address = f"file:{day.database}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)) as database:
            with AsStranger(hold_locks(attacked.target())) as user:
                assert "observer.db-shm" in user.report()["locked"]
                before, published = version_of(database), outbox_bytes(day.folder)
                until(lambda: outbox_bytes(day.folder) > published + PUBLISHED_BYTES, "events that wait")
                assert version_of(database) == before, "nothing was stored"
            until(lambda: version_of(database) != before, "storage goes on when the lock is gone")
