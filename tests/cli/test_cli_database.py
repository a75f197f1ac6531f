"""`observer db stats`, `check` and `upgrade`, as a person types them."""

import gc
import json
import os
import pwd
import signal
import subprocess
import sys
import threading

import pytest

from observer.base.errors import StoppedError, StoreError
from observer.base.instance import Instance
from observer.cli.database_care import checked, plan_lines
from observer.store import integrity
from observer.store.owner import only_writer
from observer.store.schema import SCHEMA_REVISION
from observer.store.upgrade import Step, Upgrade, planned_upgrade
from observer.system.doctor.stored import Stored
from tests.builders import trades
from tests.cli.typed import typed_system
from tests.folders import short_folder
from tests.store.filled import events
from tests.store.raw import execute, query


@pytest.fixture
def folder():
    with short_folder() as made:
        yield made


@pytest.fixture
def typed(folder):
    return typed_system(folder, *events(), *trades(100))


def url_in(folder):
    return f"sqlite:///{folder}/data/observer.db"


def test_stats_list_the_tables_with_rows_and_the_last_days(typed):
    ran = typed("db", "stats", "--days", "1")
    assert ran.exit_code == 0, ran.output
    assert "trade_rows" in ran.stdout
    assert "Rows without trades" in ran.stdout
    found = json.loads(typed("db", "stats", "--json").stdout)
    assert {"size_bytes", "free_bytes", "log_bytes", "tables"} == set(found["database"])
    assert next(iter(found["days"].values()))["sweeps"] >= 1


def test_a_whole_database_passes_the_check(typed):
    ran = typed("db", "check", "--recount", "--json")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert {each["check"] for each in found} == {"database", "losses", "integrity", "schema", "rows"}
    assert {each["level"] for each in found} == {"ok"}


def test_a_changed_schema_is_exit_status_1_with_a_remedy(typed, folder):
    execute(url_in(folder), "DROP INDEX ix_phases_session_date_current")
    ran = typed("db", "check", "--json")
    assert ran.exit_code == 1
    [found] = [each for each in json.loads(ran.stdout) if each["level"] != "ok"]
    assert found["text"] == "differs from this version's: add_index phases.ix_phases_session_date_current"
    assert found["remedy"]


def test_a_damaged_file_is_exit_status_1(typed, folder):
    path = folder / "data" / "observer.db"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    ran = typed("db", "check", "--json")
    assert ran.exit_code == 1, ran.output
    assert [each for each in json.loads(ran.stdout) if each["level"] == "critical" and each["remedy"]]


def test_a_current_database_needs_no_upgrade(typed):
    ran = typed("db", "upgrade")
    assert ran.exit_code == 0, ran.output
    assert f"its schema is {SCHEMA_REVISION}, as this version needs it: nothing to do" in ran.stdout


def test_an_unknown_schema_is_refused(typed, folder):
    execute(url_in(folder), "UPDATE alembic_version SET version_num = '9999'")
    assert isinstance(typed("db", "upgrade").exception, StoreError)


def test_a_check_reads_beside_a_writer(typed, folder):
    with only_writer(url_in(folder)) as engine, engine.connect():
        assert typed("db", "check").exit_code == 0
        assert typed("db", "stats").exit_code == 0
    assert query(url_in(folder), "SELECT count(*) FROM streams") == [(1,)]


def interrupted_in_sqlite(monkeypatch):
    """A profile function that sends this process SIGINT as soon as SQLite asks whether it shall stop."""
    monkeypatch.setattr(integrity, "_STEPS_AT_ONCE", 1)

    def profile(frame, event, _):
        code = getattr(frame, "f_code", None)
        if event == "call" and getattr(code, "co_name", "") == "<lambda>" and code.co_filename == integrity.__file__:
            sys.setprofile(None)
            os.kill(os.getpid(), signal.SIGINT)

    return profile


def test_ctrl_c_ends_the_check_and_is_no_damage(typed, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    gc.disable()  # an error that a signal's handler raises in a callback of the collection (Hypothesis has one) is lost
    sys.setprofile(interrupted_in_sqlite(monkeypatch))
    try:
        ran = typed("db", "check")
    finally:
        sys.setprofile(None)
        gc.enable()
    assert isinstance(ran.exception, StoppedError)
    assert "backup restore" not in ran.output
    assert signal.getsignal(signal.SIGINT) is before


def test_a_database_that_goes_away_meanwhile_hides_no_earlier_finding(typed, folder):
    def remove(step):
        if step == "comparing the schema":
            (folder / "data" / "observer.db").unlink()

    stored = Stored(url=url_in(folder), outboxes=folder / "run" / "outbox", backups=folder / "data" / "backup")
    found = {each.check: each for each in checked(stored, remove, threading.Event())}
    assert found["integrity"].level == "ok"
    assert (found["schema"].level, "there is no database" in found["schema"].text) == ("critical", True)


def test_the_printed_way_back_keeps_the_upgraded_database_with_its_log(tmp_path):
    file = tmp_path / "my data" / "observer's.db"
    file.parent.mkdir()
    copy = file.with_name(f"{file.name}.before-0001")
    file.write_text("newer")
    file.with_name(f"{file.name}-wal").write_text("its log")
    copy.write_text("earlier")
    plan = Upgrade(database="", revision="0001", steps=[Step("0002", "")], copy=str(copy), copy_bytes=7)
    command = list(plan_lines(plan, is_done=True))[-1].partition("`")[2].rpartition("`")[0]
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    assert {each.name: each.read_text() for each in file.parent.iterdir()} == {
        "observer's.db": "earlier",
        "observer's.db.newer": "newer",
        "observer's.db.newer-wal": "its log",
    }


def test_the_way_back_of_a_server_is_a_package():
    plan = Upgrade(database="", revision="0001", steps=[Step("0002", "")], copy="market.before-0001.dump")
    assert "`observer backup restore --yes PACKAGE`" in list(plan_lines(plan, is_done=True))[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_an_upgrade_by_another_user_than_the_owner_is_refused(typed, folder, monkeypatch):
    execute(url_in(folder), "UPDATE alembic_version SET version_num = '0000'")
    monkeypatch.setattr("observer.store.upgrade.known_revisions", lambda: {"0000"})
    monkeypatch.setattr("observer.store.upgrade._steps_from", lambda _: [Step("0001", "")])
    os.chown(folder / "data" / "observer.db", 65_534, 65_534)
    assert f"sudo -u {pwd.getpwuid(65_534).pw_name} ..." in planned_upgrade(url_in(folder), Instance(), folder).refused
    ran = typed("db", "upgrade")
    assert isinstance(ran.exception, StoreError)
    assert not list(folder.glob("data/*.before-*"))
