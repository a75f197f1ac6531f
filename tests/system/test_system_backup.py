"""A database deleted under a running system is restored from a package: the collectors run on, nothing is lost."""

import json
from collections.abc import Mapping

import pytest

from tests.system.running import SYMBOLS, System, observer, observer_here
from tests.system.staged import StagedDay, staged_day, status, stopped, summary_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def stored_events(system: System) -> dict[str, int]:
    """How many events of each stream are stored."""
    return dict(system.rows("SELECT uid, high_water_mark FROM streams"))


def stored_trades(system: System) -> int:
    return len(system.rows("SELECT symbol FROM trades"))


def test_a_database_that_is_deleted_under_a_running_system_is_restored_without_a_loss() -> None:
    with staged_day(speed=60, symbols=SYMBOLS, accounts=1, begins=(9, 28)) as day:
        day.begin()
        day.system.until(lambda: stored_trades(day.system) > 300, "trades are stored")
        made = observer("backup", "now", "--json", "--config", day.configuration, cwd=day.folder)
        assert made.returncode == 0, made.stderr
        packed = json.loads(made.stdout)["events"]
        day.system.until(lambda: stored_trades(day.system) > 900, "more trades are stored")
        known = stored_events(day.system)
        assert known
        delete_database(day)
        restored = observer("backup", "restore", "--yes", "--json", "--config", day.configuration, cwd=day.folder)
        assert restored.returncode == 0, restored.stderr
        report = json.loads(restored.stdout)
        assert (report["events"], report["undelivered"], report["losses"]) == (packed, 0, [])
        assert report["delivered"] > 0
        assert_nothing_is_lost(day, known=known)


def test_a_database_that_is_deleted_before_there_is_a_package_is_made_anew_from_outboxes_and_archives() -> None:
    with staged_day(speed=60, symbols=SYMBOLS, accounts=1, begins=(9, 28)) as day:
        day.begin()
        day.system.until(lambda: stored_trades(day.system) > 300, "trades are stored")
        known = stored_events(day.system)
        assert known
        delete_database(day)
        remedy = "`observer ctl restart core-writer`"

        def is_stated() -> bool:
            return remedy in observer_here("status", "--config", day.configuration, cwd=day.folder).stdout

        day.system.until(is_stated, "the remedy is stated")
        restart = observer("ctl", "restart", "core-writer", "--config", day.configuration, cwd=day.folder)
        assert restart.returncode == 0, restart.stderr
        assert_nothing_is_lost(day, known=known)


def delete_database(day: StagedDay) -> None:
    for path in day.database.parent.glob("observer.db*"):
        path.unlink()


def assert_nothing_is_lost(day: StagedDay, known: Mapping[str, int]) -> None:
    """Events are stored anew and go on, and after an orderly stop every one published is stored, and every offered
    trade.
    """

    def are_stored_anew() -> bool:
        now = stored_events(day.system)
        return all(now.get(stream, 0) >= count for stream, count in known.items())

    day.system.until(are_stored_anew, "all earlier events are stored anew")
    final = status(day)
    assert stopped(day) == 0, day.system.errors
    summary = summary_of(day, final)
    assert summary.events_published == summary.events_stored > 0
    assert summary.trades == summary.trades_offered > 0
