"""kill -9 of each process, of the core writer twice, and a database that is deleted, twice: the day continues, no event
is lost or doubled, and the decisions of both Track B processes can be recomputed. What of it is in every run:
`test_system_run.py` kills all at once, `test_cli_backup.py` restores a database with what the outboxes hold, and
`test_chaos_campaign.py` kills, deletes and puts back beneath small processes.
"""

import json

import pytest

from tests.folders import short_folder
from tests.whole.running import PROCESSES, SYMBOLS, demo, is_sound, observer, observer_here
from tests.whole.staged import (
    decisions_are_made_again,
    kill_at_once,
    staged_day,
    status,
    stopped,
    summary_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.system, pytest.mark.timeout(600)]

VICTIMS = (*PROCESSES, "core-writer")  # the writer first and again
LAST_SWEEP = 41  # every ten minutes from 09:00 to 15:30, and the one after the close
SPEED = 200  # 99 s between 09:30 and 15:00 for all kills in turn


def is_in_full_operation(system):
    return bool(system.rows("SELECT slot FROM slot_assignments LIMIT 1"))


def test_kills_of_all_at_once_and_databases_that_are_deleted_lose_and_double_nothing():
    """One system for all of it: its start costs the time."""
    with staged_day(speed=60, symbols=SYMBOLS, accounts=1, begins=(9, 28)) as day:
        day.begin()
        more_trades_are_stored(day)
        all_are_killed_at_once_and_the_writer_again(day)
        more_trades_are_stored(day)
        a_database_that_is_deleted_before_there_is_a_package_is_made_anew_from_outboxes_and_archives(day)
        more_trades_are_stored(day)
        a_database_that_is_deleted_behind_its_package_is_restored_without_a_loss(day)
        more_trades_are_stored(day)
        final = status(day)
        assert stopped(day) == 0, day.system.errors
        summary = summary_of(day, final)
        assert summary.restarts >= len(VICTIMS)  # a busy machine can make one silent for too long
        assert summary.events_published == summary.events_stored > 0
        assert summary.duplicates == summary.quarantined == 0
        assert summary.trades == summary.trades_offered > 0
        assert is_sound(day.database)
        assert day.system.left_behind() == []
        decisions_are_made_again(day.system, resumed=1)


def more_trades_are_stored(day):
    [(known,)] = day.system.rows("SELECT count(*) FROM trades") or [(0,)]
    more = f"SELECT count(*) > {known + 100} FROM trades"
    day.system.until(lambda: day.system.rows(more) == [(1,)], "more trades are stored")


def all_are_killed_at_once_and_the_writer_again(day):
    """All processes restart together; the second time only the writer is down."""
    kill_at_once(day.system, *PROCESSES)
    kill_at_once(day.system, "core-writer")


def a_database_that_is_deleted_before_there_is_a_package_is_made_anew_from_outboxes_and_archives(
    day,
):
    known = delete_database(day)
    stated = "`observer backup restore --yes`"
    day.system.until(lambda: stated in typed(day, "status").stdout, "the remedy is stated")
    restored = observer("backup", "restore", "--yes", "--config", day.configuration, cwd=day.folder)
    assert restored.returncode == 0, restored.stderr
    until_stored_anew(day, known)


def a_database_that_is_deleted_behind_its_package_is_restored_without_a_loss(day):
    made = observer("backup", "now", "--json", "--config", day.configuration, cwd=day.folder)
    assert made.returncode == 0, made.stderr
    packed = json.loads(made.stdout)["events"]
    more_trades_are_stored(day)
    known = delete_database(day)
    restored = observer("backup", "restore", "--yes", "--json", "--config", day.configuration, cwd=day.folder)
    assert restored.returncode == 0, restored.stderr
    report = json.loads(restored.stdout)
    assert (report["events"], report["undelivered"], report["losses"]) == (packed, 0, [])
    assert report["delivered"] > 0
    until_stored_anew(day, known)


def typed(day, *words):
    return observer_here(*words, "--config", day.configuration, cwd=day.folder)


def stored_events(day):
    """How many events of each stream are stored."""
    return dict(day.system.rows("SELECT uid, high_water_mark FROM streams"))


def delete_database(day):
    """Delete the files under the running system; returns what was stored."""
    known = stored_events(day)
    assert known
    for path in day.database.parent.glob("observer.db*"):
        path.unlink()
    return known


def until_stored_anew(day, known):
    def are_stored_anew():
        now = stored_events(day)
        return all(now.get(stream, 0) >= count for stream, count in known.items())

    day.system.until(are_stored_anew, "all earlier events are stored anew")


def test_a_day_of_kills_in_turn_ends_as_a_day_without(day):
    with short_folder() as folder, demo(folder=folder / "d", speed=SPEED) as system:
        system.until(lambda: is_in_full_operation(system), "the first slots")
        for victim in VICTIMS:
            kill_at_once(system, victim)
        assert system.rows("SELECT current FROM phases ORDER BY changed_ns DESC LIMIT 1") == [("FULL_OPERATION",)]
        exit_status = system.ended(240)
        summary = system.summary()
        assert summary["restarts"] == len(VICTIMS)
        assert summary["events_published"] == summary["events_stored"]
        assert summary["duplicates"] == summary["quarantined"] == 0
        assert summary["trades"] == summary["trades_offered"]
        assert system.rows("SELECT max(sweep) FROM sweeps") == [(LAST_SWEEP,)]
        assert summary["market_digest"] == day.summary["market_digest"]
        assert exit_status == 0, system.errors
        assert is_sound(system.database)
        assert system.left_behind() == []
        decisions_are_made_again(system, resumed=1)
