"""A database deleted under a running system is restored from a package: the collectors run on, nothing is lost."""

import json

import pytest

from tests.system.running import System, demo, observer, short_folder

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STORED = "SELECT count(*) FROM trades"


def stored_trades(system: System) -> int:
    [[count]] = system.rows(STORED) or [[0]]
    return int(count)


def test_a_database_that_is_deleted_under_a_running_system_is_restored_without_a_loss() -> None:
    with short_folder() as folder, demo("--keep", folder=folder / "d", speed=600) as system:
        configuration = ("--config", system.folder / "observer.toml")
        system.until(lambda: stored_trades(system) > 5_000, "trades are stored")
        made = observer("backup", "now", "--json", *configuration, cwd=folder)
        assert made.returncode == 0, made.stderr
        packed = json.loads(made.stdout)["events"]
        system.until(lambda: stored_trades(system) > 15_000, "more trades are stored")
        for path in system.database.parent.glob("observer.db*"):
            path.unlink()
        restored = observer("backup", "restore", "--yes", "--json", *configuration, cwd=folder)
        assert restored.returncode == 0, restored.stderr
        report = json.loads(restored.stdout)
        assert (report["events"], report["undelivered"], report["losses"]) == (packed, 0, [])
        assert report["delivered"] > 0
        assert system.ended() == 0, system.errors
        summary = system.summary()
        assert summary["events_published"] == summary["events_stored"]
        assert summary["trades"] == summary["trades_offered"]


def test_a_database_that_is_deleted_before_there_is_a_package_is_made_anew_from_outboxes_and_archives() -> None:
    with short_folder() as folder, demo("--keep", folder=folder / "d", speed=600) as system:
        configuration = ("--config", system.folder / "observer.toml")
        system.until(lambda: stored_trades(system) > 5_000, "trades are stored")
        for path in system.database.parent.glob("observer.db*"):
            path.unlink()
        remedy = "`observer ctl restart core-writer`"
        system.until(lambda: remedy in observer("status", *configuration, cwd=folder).stdout, "the remedy is stated")
        assert observer("ctl", "restart", "core-writer", *configuration, cwd=folder).returncode == 0
        assert system.ended() == 0, system.errors
        summary = system.summary()
        assert summary["events_published"] == summary["events_stored"]
        assert summary["trades"] == summary["trades_offered"]
