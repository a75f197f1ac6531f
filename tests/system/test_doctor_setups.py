"""Broken installations: each has its one finding, with a remedy, and no other; a sound one has none.

The ids of the tests are the list of the set-ups: `pytest --collect-only -q tests/system/test_doctor_setups.py`.
"""

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import zoneinfo
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from click.testing import CliRunner

from bus.delivery import Delivered
from bus.events import PhaseChanged
from observer.base.environment import forget_withheld
from observer.base.files import make_private_folder
from observer.base.instance import Instance
from observer.base.private_file import replace_privately
from observer.base.units import NS_PER_DAY
from observer.cli.app import command_line
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.store.owner import claim
from observer.supervisor.mark import MARK_VARIABLE, Mark, folder_id
from observer.supervisor.proc import ProcessId
from observer.system.doctor import machine
from observer.system.doctor.examination import CHECKS, Check, examine, stored_of
from observer.system.doctor.installation import keys
from observer.system.doctor.machine import Disk, Package, disk_finding, file_system_findings, limit_finding
from observer.system.doctor.notices import notices_of
from observer.system.doctor.place import place_of
from tests.folders import short_folder
from tests.ports import own_port
from tests.privileges import in_a_fork
from tests.store.migrated import make_database
from tests.store.raw import execute
from tests.system.scene import (
    CONFIGURATION,
    NOW_NS,
    URL,
    BrokerHost,
    broker_host,
    commit,
    configure,
    found,
    given,
    install,
    reconfigure,
    replaced,
)

Checks = Mapping[str, Check]


class Broken(NamedTuple):
    """A set-up: what is broken in it, the check that finds it, how bad it is, and words of the text."""

    name: str
    check: str
    level: str
    words: str
    arrange: Callable[[ExitStack], Checks | None]


class Scene(NamedTuple):
    template: Path
    host: BrokerHost


@pytest.fixture(scope="module")
def scene():
    """An installation that each test gets a copy of, and the broker's host of all copies."""
    with short_folder() as folder, broker_host() as host, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        install(host.port)
        yield Scene(folder, host)


@pytest.fixture
def installation(scene, monkeypatch):
    """A sound installation in the working directory."""
    forget_withheld()
    scene.host.ahead_s = 0.0
    with short_folder() as folder:
        shutil.copytree(scene.template, folder, dirs_exist_ok=True)
        monkeypatch.chdir(folder)
        yield scene


# --- configuration and keys -------------------------------------------------------------------------------------


def wrong_key(_):
    configure("[track_a]\nintervall_s = 600.0")


def no_toml(_):
    configure("[track_a\n")


def wrong_pool(_):
    Path("pool.json").write_text('{"provider_pool": {"accounts": [{"account_id": "main"}]}}')


def unread_key(_):
    configure('[sectors]\ndaily_at = "05:00"')


def weighed_pins(_):
    path = Path("config/observer/symbol_selection.json")
    path.parent.mkdir(parents=True)
    path.write_text('{"triggers": {"manual": {"weight": 5.0}}}')


def no_keys(_):
    Path("keys.toml").unlink()


def open_keys(_):
    Path("keys.toml").chmod(0o644)


def same_keys(_):
    accounts = ", ".join(f'{{"account_id": "{name}", "keys_file": "keys.toml"}}' for name in ("main", "other"))
    Path("pool.json").write_text(f'{{"provider_pool": {{"accounts": [{accounts}]}}}}')
    text = Path("keys.toml").read_text()
    Path("keys.toml").write_text(f"{text}\n{text.replace('[main]', '[other]')}")


def open_lake_keys(_):
    Path("lake.toml").write_text("")
    Path("lake.toml").chmod(0o640)
    configure('[lake]\ntarget = "s3://bucket/days"\nkeys_file = "lake.toml"')


def open_web_token(_):
    Path("web.token").write_text("secret")
    Path("web.token").chmod(0o644)
    configure(f'[web]\nport = {own_port()}\ntoken_file = "web.token"')


# --- runtime folder ---------------------------------------------------------------------------------------------


def open_runtime(_):
    Path("run").chmod(0o755)


def left_socket(_):
    with socket.socket(socket.AF_UNIX) as control:
        control.bind("run/control")
        control.listen()


def left_process(stack):
    mark = Mark(folder_id(Path("run")), ProcessId(2**22 - 1, 1))
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK_VARIABLE: str(mark)})
    stack.callback(process.wait)
    stack.callback(process.kill)


# --- database and what was published ----------------------------------------------------------------------------


def no_database(_):
    Path("data/observer.db").unlink()


def server_away(_):
    reconfigure(URL, "postgresql+psycopg://observer@127.0.0.1:9/market")


def damaged_database(_):
    with Path("data/observer.db").open("r+b") as file:
        file.write(b"\0" * 4096)


def older_schema(_):
    execute(URL, "UPDATE alembic_version SET version_num = '0000'")


def newer_schema(_):
    execute(URL, "UPDATE alembic_version SET version_num = '9999'")


def other_instance(_):
    Path("data/observer.db").unlink()
    shutil.rmtree("run/outbox")
    make_database(URL)
    claim(URL, Instance(name="coins", market="crypto"), ["upbit"], NOW_NS)


def stated_loss(_):
    execute(URL, "UPDATE streams SET high_water_mark = high_water_mark + 5")
    execute(URL, "INSERT INTO delivery_losses SELECT id, 11, 15, 'damaged', 1 FROM streams")


def row_gone(_):
    execute(URL, "DELETE FROM trade_rows WHERE sequence = 4")


def group_gone(_):
    execute(URL, "DELETE FROM trade_groups")


def quarantined(_):
    execute(URL, "DELETE FROM trade_rows WHERE sequence = 4")
    execute(URL, "INSERT INTO quarantine SELECT id, 4, 'not a number', x'00' FROM streams")


def damaged_segment(_):
    Path("run/outbox/track-b/damaged").mkdir()
    Path("run/outbox/track-b/damaged/segment.journal").write_bytes(b"")


def undelivered(_):
    execute(URL, "UPDATE streams SET high_water_mark = 6")
    execute(URL, "DELETE FROM trade_rows WHERE sequence > 6")


# --- packages and alerts ----------------------------------------------------------------------------------------


def no_package(_):
    shutil.rmtree("data/backup")


def old_package(_):
    later_ns = NOW_NS + 6 * NS_PER_DAY
    commit(Delivered("supervisor", "bb" * 16, 1, [PhaseChanged("2026-11-26", later_ns, "CLOSED", "IDLE")]))


def no_second_folder(_):
    configure('[backup]\ncopy_to = "/mnt/absent"')


def uncopied_package(_):
    Path("copies").mkdir()
    configure('[backup]\ncopy_to = "copies"')


def no_program(_):
    configure('[backup]\ncommand = ["absent-program", "{package}"]')


def target_without_url(_):
    configure('[alerts]\ntargets_file = "targets.toml"\n[alerts.targets.phone]')


def open_targets(_):
    Path("targets.toml").write_text('phone = "json://127.0.0.1/secret"\n')
    Path("targets.toml").chmod(0o604)
    configure('[alerts]\ntargets_file = "targets.toml"\n[alerts.targets.phone]')


def no_library(stack):
    stack.enter_context(pytest.MonkeyPatch.context()).setitem(sys.modules, "apprise", None)
    configure("[alerts.targets.phone]")


# --- calendar and machine ---------------------------------------------------------------------------------------


def no_trading_days(_):
    Path("trading_days.toml").unlink()


def old_review(_):
    text = Path("trading_days.toml").read_text()
    Path("trading_days.toml").write_text(text.replace("reviewed = 2026", "reviewed = 2025"))


def short_horizon(_):
    day = '[[day]]\ndate = 2026-11-30\ntrades = false\nreason = "a test"\nreviewed = 2026-11-01\n'
    Path("trading_days.toml").write_text(day)


def clock_behind(_):
    return {"clock": next(each for each in CHECKS if each.name == "clock")}  # asks the host, which is ahead


def not_synchronized(_):
    return given("clock", machine.clock_finding(False, None, None))


def disk(free_bytes, a_day=None, **broken):
    found = Disk(folder="/data", holds=["database"], total_bytes=10**11, free_bytes=free_bytes, **broken)
    return lambda _: given("disk", disk_finding(found, a_day, 90.0))


def on(kind, name):
    return lambda _: given("file system", *file_system_findings({name: kind}))


def few_files(_):
    return given("limits", limit_finding(128))


def installed(python="3.13.1", pyzmq="27"):
    packages = [Package("pyzmq", "27", pyzmq), Package("msgspec", "0.20", "0.20.0")]
    return lambda _: given("versions", *machine.version_findings("0.1.0", Package("Python", "3.11", python), packages))


def no_time_zones(stack):
    stack.callback(zoneinfo.ZoneInfo.clear_cache)
    stack.callback(zoneinfo.reset_tzpath)
    zoneinfo.reset_tzpath([])
    zoneinfo.ZoneInfo.clear_cache()
    patches = stack.enter_context(pytest.MonkeyPatch.context())
    for name in ("tzdata", *(each for each in sys.modules if each.startswith("tzdata."))):  # an earlier test read it
        patches.setitem(sys.modules, name, None)


def listening(stack):
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port: int = taken.getsockname()[1]
    return port


def taken_port(stack):
    configure(f"[metrics]\nport = {listening(stack)}")


def taken_endpoint(stack):
    taken = listening(stack)
    names = {"ingest": taken} | {name: own_port() for name in ("feed", "batch_feed", "control")}
    configure("[run.endpoints]\n" + "\n".join(f'{name} = "tcp://127.0.0.1:{port}"' for name, port in names.items()))


def host_away(stack):
    text = CONFIGURATION.read_text()
    line = next(line for line in text.splitlines() if line.startswith("stream_url"))
    reconfigure(line, f'stream_url = "ws://127.0.0.1:{own_port()}"')


def no_tls(_):
    text = CONFIGURATION.read_text()
    line = next(line for line in text.splitlines() if line.startswith("files_url"))
    reconfigure(line, line.replace("http:", "https:"))


SETUPS = [
    Broken("a key that is not there", "configuration", "critical", "16: track_a.intervall_s: unknown key", wrong_key),
    Broken("a file that is no TOML", "configuration", "critical", "is not TOML", no_toml),
    Broken("an account without keys", "configuration", "critical", "pool.json:1", wrong_pool),
    Broken("a key that nothing reads", "configuration", "warning", "nothing reads this key", unread_key),
    Broken("a weight of pins", "configuration", "warning", "its weight decides nothing", weighed_pins),
    Broken("no keys file", "keys", "critical", "account main: no keys", no_keys),
    Broken("keys that others can read", "keys", "critical", "keys.toml can be read by others", open_keys),
    Broken("one app key for two accounts", "keys", "critical", "has the app key of account main", same_keys),
    Broken("keys of the lake that others can read", "keys", "critical", "lake.toml can be read", open_lake_keys),
    Broken("a token of the page that others can read", "keys", "critical", "web.token can be read", open_web_token),
    Broken("an open runtime folder", "runtime", "critical", "run is open to others (mode 755)", open_runtime),
    Broken("a socket of a killed system", "runtime", "warning", "control of a system that did not end", left_socket),
    Broken("a process of a killed system", "runtime", "warning", "of a system that ended still run", left_process),
    Broken("no database", "database", "critical", "there is no database", no_database),
    Broken("a PostgreSQL server that is away", "database", "critical", "Connection refused", server_away),
    Broken("a damaged database", "database", "critical", "not a database", damaged_database),
    Broken("an older schema", "schema", "critical", "its schema is 0000", older_schema),
    Broken("a newer schema", "schema", "critical", "its schema is 9999", newer_schema),
    Broken("the database of another instance", "owner", "critical", "belongs to instance 'coins'", other_instance),
    Broken("a stated loss", "losses", "critical", "5 published events exist nowhere", stated_loss),
    Broken("a row that is gone", "rows", "critical", "9 rows, but 10 by the event streams' marks", row_gone),
    Broken("trades without their group", "groups", "critical", "10 rows of trade_rows", group_gone),
    Broken("an event in quarantine", "quarantine", "warning", "1 events are in quarantine", quarantined),
    Broken("a damaged segment", "damage", "warning", "1 damaged segments are kept", damaged_segment),
    Broken("events that wait", "outboxes", "warning", "not stored yet: track-b 4", undelivered),
    Broken("no package", "backup", "warning", "no verified package", no_package),
    Broken("an old package", "backup", "warning", "6.0 days older", old_package),
    Broken("no folder for second copies", "second copy", "critical", "/mnt/absent: no such folder", no_second_folder),
    Broken("a package that was not copied", "second copy", "warning", "does not have the newest", uncopied_package),
    Broken("no program for packages", "second copy", "critical", "no such program on PATH", no_program),
    Broken("a target without a URL", "alerts", "critical", "alert target phone", target_without_url),
    Broken("URLs that others can read", "alerts", "critical", "targets.toml can be read by others", open_targets),
    Broken("a target whose library is missing", "configuration", "critical", "apprise is not installed", no_library),
    Broken("no trading days", "calendar", "critical", "run.trading_days = trading_days.toml", no_trading_days),
    Broken("an old review of the trading days", "calendar", "warning", "last review 2025-11-21", old_review),
    Broken("trading days that end soon", "calendar", "warning", "reviewed days to 2026-11-30", short_horizon),
    Broken("a clock that is behind the broker's", "clock", "critical", "behind that of 127.0.0.1", clock_behind),
    Broken("a clock without synchronization", "clock", "warning", "not synchronized", not_synchronized),
    Broken("a full disk", "disk", "critical", "0.0 GB free, 100 % used", disk(10**7)),
    Broken("a disk without inodes", "disk", "critical", "no inode is free", disk(9 * 10**10, is_out_of_names=True)),
    Broken(
        "a disk mounted read-only",
        "disk",
        "critical",
        "is read-only: nothing is stored",
        disk(9 * 10**10, is_read_only=True),
    ),
    Broken("a disk that lasts two days", "disk", "critical", "2 days at 10,000 MB a day", disk(2 * 10**10, 1e10)),
    Broken("a disk that lasts three weeks", "disk", "warning", "20 days at 1,000 MB a day", disk(2 * 10**10, 1e9)),
    Broken("SQLite on a network disk", "file system", "critical", "locks do not hold", on("nfs4", "database /mnt")),
    Broken("outboxes in memory", "file system", "warning", "lost when the machine stops", on("tmpfs", "runtime /run")),
    Broken("few open files", "limits", "critical", "may open 128 files", few_files),
    Broken("an old Python", "versions", "critical", "at least 3.11 is needed", installed(python="3.10.4")),
    Broken("an old package of Python", "versions", "critical", "pyzmq 26.4.0, at least 27", installed(pyzmq="26.4.0")),
    Broken("no time zone data", "time zone", "critical", "no time zone data of Asia/Seoul", no_time_zones),
    Broken("a taken port", "ports", "critical", "metrics.port = 127.0.0.1:", taken_port),
    Broken("a taken port of a socket", "ports", "critical", "run.endpoints.ingest", taken_endpoint),
    Broken("a broker's host that is away", "broker", "critical", "kis.stream_url: no connection", host_away),
    Broken("a broker's host without TLS", "broker", "critical", "kis.files_url: no connection", no_tls),
]


def test_a_sound_installation_has_no_finding_but_ok(installation):
    assert [finding for finding in found() if finding.level != "ok"] == []
    assert {finding.check for finding in found()} >= {check.name for check in CHECKS} - {
        "ports",
        "lake",
        "copies",
    }  # no lake is there


@pytest.mark.parametrize("broken", SETUPS, ids=lambda broken: broken.name)
def test_a_broken_installation_has_its_one_finding_with_a_remedy(installation, broken):
    installation.host.ahead_s = 20.0 if broken.arrange is clock_behind else 0.0
    with ExitStack() as stack:
        subjects = broken.arrange(stack)
        [finding] = [each for each in found(subjects) if each.level != "ok"]
    assert (finding.check, finding.level) == (broken.check, broken.level)
    assert broken.words in finding.text
    assert finding.remedy
    assert finding.remedy not in finding.text


def test_a_check_that_fails_itself_is_a_finding_and_hides_no_other(installation):
    def fail(_):
        raise ZeroDivisionError("a mistake of ours")

    failing = {"backup": Check("backup", fail)}
    names = [finding.check for finding in found(failing)]
    [finding] = [each for each in found(failing) if each.level != "ok"]
    assert finding.text == "this check failed itself: ZeroDivisionError: a mistake of ours"
    assert len(names) >= len(CHECKS) - 2


def test_no_check_of_the_real_machine_fails_itself(installation):
    findings = examine(place_of(CONFIGURATION, NOW_NS))
    assert not [finding for finding in findings if "failed itself" in finding.text]
    assert {"clock", "disk", "file system", "limits"} <= {finding.check for finding in findings}


def test_offline_makes_no_connection_to_the_broker(installation):
    with ExitStack() as stack:
        host_away(stack)
    findings = examine(place_of(CONFIGURATION, NOW_NS, is_offline=True), replaced({}))
    assert "broker" not in {finding.check for finding in findings}
    assert not [finding for finding in findings if finding.level != "ok"]


def test_the_ports_of_a_running_system_are_its_own(installation):
    with ExitStack() as stack:
        taken_port(stack)
        control = stack.enter_context(socket.socket(socket.AF_UNIX))
        control.bind("run/control")
        control.listen()
        [ports] = [finding for finding in found() if finding.check == "ports"]
    assert (ports.level, ports.text) == ("ok", "metrics.port: the running system's")


def test_the_keys_that_a_demo_has_removed_at_its_end_are_no_finding(tmp_path):
    place = place_of(write_demo_configuration(tmp_path, DemoConfiguration(symbols=10, seed=7)), NOW_NS)
    (tmp_path / "keys.toml").unlink(missing_ok=True)
    assert [(each.level, each.text) for each in keys(place)] == [
        ("ok", "none: the demo has removed those of its simulated broker")
    ]
    assert place.settings is not None
    assert not [line for line in notices_of(place.path, place.settings) if "keys.toml" in line]
    replace_privately(tmp_path / "keys.toml", b"")
    assert [each.level for each in keys(place)] == ["critical"]
    assert place.settings is not None
    accounts = [
        msgspec.structs.replace(each, keys_file=None, app_key_variable="NO_KEY", app_secret_variable="NO_SECRET")
        for each in place.settings.pool.accounts
    ]
    pool = msgspec.structs.replace(place.settings.pool, accounts=accounts)
    settings = msgspec.structs.replace(place.settings, pool=pool)
    place = msgspec.structs.replace(place, settings=settings)
    assert {each.level for each in keys(place)} == {"critical"}, "no demo removes variables"


def test_the_keys_that_a_running_demo_has_lost_are_a_finding(tmp_path):
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as control:
        place = place_of(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)), NOW_NS)
        (folder / "keys.toml").unlink(missing_ok=True)
        assert place.settings is not None
        make_private_folder(Path(place.settings.run.runtime))
        control.bind(f"{place.settings.run.runtime}/control")
        control.listen()
        text = "account main: no keys"
        assert [(each.level, each.text) for each in keys(place)] == [("critical", text)]
        assert [line for line in notices_of(place.path, place.settings) if "keys.toml" in line]


def test_every_wrong_key_has_a_line_of_its_own(installation):
    configure('[track_a]\ninterval_s = 0\n[track_b]\nrecords = ["tades"]')
    Path("pool.json").write_text('{"provider_pool": {}, "more": 1}')
    texts = [finding.text for finding in found() if finding.level == "critical"]
    assert [text.partition(" ")[0] for text in texts] == [
        "observer.toml:16:",
        "observer.toml:18:",
        "pool.json:1:",
    ]


def test_the_command_prints_every_finding_with_its_remedy_and_ends_with_1_when_one_is_critical(
    installation,
):
    words = ["doctor", "--config", str(CONFIGURATION)]
    assert CliRunner().invoke(command_line(), words).exit_code == 0
    Path("keys.toml").chmod(0o644)
    ran = CliRunner().invoke(command_line(), [*words, "--offline"])
    assert ran.exit_code == 1
    assert "run `chmod 600 keys.toml`" in ran.stdout
    found_ones = json.loads(CliRunner().invoke(command_line(), [*words, "--json"]).stdout)
    assert all(set(each) == {"check", "level", "text", "remedy"} for each in found_ones)
    assert all(each["remedy"] for each in found_ones if each["level"] != "ok")


def test_without_a_named_file_a_wrong_section_is_a_finding_like_any_other(installation):
    Path("config").mkdir()
    Path("config/observer.toml").write_text('[run]\ndatta = "x"\n')
    ran = CliRunner().invoke(command_line(), ["doctor", "--offline"])
    assert ran.exit_code == 1
    assert "config/observer.toml:2: run.datta: unknown key" in ran.stdout
    assert "a process may open" in ran.stdout


def test_a_subject_that_does_not_answer_is_a_finding_and_keeps_no_other_from_being_printed(installation, monkeypatch):
    os.mkfifo("hangs")  # opened to read, it waits for a writer that never comes, as a dead mount does

    def hang(_):
        Path("hangs").read_bytes()

    hanging = Check("second copy", hang, lambda _: "backup.copy_to = /mnt/copies", limit_s=0.05)
    monkeypatch.setattr("observer.cli.doctor.CHECKS", replaced({"second copy": hanging}))
    ran = CliRunner().invoke(command_line(), ["doctor", "--offline", "--config", str(CONFIGURATION)])
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ran.exit_code == 1
    assert "critical  second copy    no answer within 0.05 s: backup.copy_to = /mnt/copies" in ran.stdout
    assert [name for line in lines if (name := line[1]) in ("limits", "time") and line[0] == "ok"] == ["limits", "time"]
    with Path("hangs").open("wb"):  # the thread ends
        pass


def test_each_subject_is_printed_before_the_next_one_is_looked_at(installation, monkeypatch, capsys):
    seen = []

    def look(_):
        seen.append(capsys.readouterr().out)
        return ()

    later = Check("time zone", look)
    monkeypatch.setattr("observer.cli.doctor.CHECKS", [*replaced({})[:3], later])
    command_line().main(["doctor", "--config", str(CONFIGURATION)], standalone_mode=False)
    assert ["configuration" in seen[0], "keys" in seen[0], "runtime" in seen[0]] == [True, True, True]


def test_a_server_that_does_not_take_a_connection_is_given_up_after_ten_seconds(installation):
    stored = stored_of(place_of(CONFIGURATION, NOW_NS))
    assert stored is not None
    assert "connect_timeout" not in stored.url
    reconfigure(URL, "postgresql+psycopg://observer:secret@127.0.0.1:9/market")
    stored = stored_of(place_of(CONFIGURATION, NOW_NS))
    assert stored is not None
    assert stored.url == "postgresql+psycopg://observer:secret@127.0.0.1:9/market?connect_timeout=10"


def test_files_of_other_users_are_findings_with_the_owner_s_command(installation):
    closed = Path("closed")
    closed.mkdir(mode=0o700)
    (closed / "keys.toml").write_text("")
    closed.chmod(0)
    configure(
        '[etf]\nsources = ["krx_open_api"]\n[etf.krx]\nkeys_file = "closed/keys.toml"\n[lake]\nfolder = "closed/lake"'
    )
    reconfigure('runtime = "run"', 'runtime = "closed/run"')

    def look():
        for finding in found():
            sys.stdout.write(f"{finding.level} {finding.check} {finding.text} | {finding.remedy}\n")

    ran = in_a_fork(look, Path.cwd(), as_user=True)
    assert ran.status == 0, ran.stderr
    assert "closed/keys.toml cannot be looked at: Permission denied" in ran.stdout
    assert "critical runtime closed/run: Permission denied | run this command as its owner, `sudo -u" in ran.stdout
    assert "failed itself" not in ran.stdout


def test_a_home_of_an_unknown_user_is_a_finding(installation):
    Path("pool.json").write_text(
        '{"provider_pool": {"accounts": [{"account_id": "main", "keys_file": "~no-such-user/keys.toml"}]}}'
    )
    [finding] = [each for each in found() if each.level != "ok"]
    assert (finding.check, "~no-such-user/keys.toml" in finding.text) == ("keys", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the files of others")
def test_root_should_work_as_the_owner_and_not_take_the_keys_away(installation):
    for name in ("keys.toml", "run"):
        os.chown(name, 65_534, 65_534)
    remedies = {each.check: each.remedy for each in found() if each.level != "ok"}
    assert remedies.keys() == {"keys", "runtime"}
    assert all(
        f"run this command as its owner, `sudo -u {pwd.getpwuid(65_534).pw_name} ...`" in each
        for each in remedies.values()
    )


def test_the_database_of_a_new_installation_is_made_by_the_first_run(installation):
    no_database(ExitStack())
    shutil.rmtree("data/backup")
    assert {each.check: each.level for each in found()}["database"] == "critical"  # the outbox has events
    shutil.rmtree("run/outbox")
    [finding] = [each for each in found() if each.check == "database"]
    assert (finding.level, finding.remedy) == ("warning", "`observer run` or `observer demo` makes one")


def test_a_remedy_for_a_package_needs_no_checkout(installation):
    [finding] = [each for each in found(installed(pyzmq="26.4.0")(None)) if each.check == "versions"]
    assert finding.remedy.endswith("/bin/python -m pip install 'pyzmq>=27'`")
