"""Each command in a block of OPERATIONS.md is run: those about stored data in every run of the tests, all others on a
running system (slow). What runs in neither has its reason here; a command that stands nowhere here fails.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

import msgspec
import pytest
from click.testing import CliRunner

from bus.delivery import Delivered
from bus.events import UniverseBuilt, UniverseMember
from observer.base.clock import CLOCK_VARIABLE, HeldClock
from observer.base.local_time import local_ns
from observer.cli.app import command_line
from observer.demo.configuration import DAY
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.store.writer import StoreWriter
from tests.deployment.installing import ROOT, all_run
from tests.folders import short_folder
from tests.monitoring.targets import listening
from tests.store.filled import STREAM, events
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S
from tests.whole.running import OBSERVER, System

PROGRAM: Final = ".venv/bin/observer"
AS_OWNER: Final = "sudo -u observer "
AS_ROOT: Final = ("init new",)  # writes beside the program, not into the system's data
NEXT_DAY: Final = date(2026, 11, 19)

# Run without a running system, in the order of this list, with the clock at the evening of the stored day or after it.
AT_REST: Final = (
    "backup now",
    "backup list",
    "backup verify",
    "backup restore",
    "backup restore --to look",
    "backup restore --yes",
    "backup restore --at 2026-11-18 --yes",
    "calendar sessions",
    "master status",
    "universe",
    "quality",
    "quality yesterday",
    "show alerts yesterday",
    "doctor",
    "doctor --recount",
    "db upgrade",
    "config check",
    "init new",
)

STATUSES: Final = {  # all others end with 0
    "backup restore": 1,  # nothing was restored
    "doctor": 1,  # the new folder has no keys
    "doctor --recount": 1,
}

# Run on a running system, in this order: `run` starts it, `ctl shutdown` ends it.
RUNNING: Final = (
    "run --config config/observer.toml",
    "alerts test",
    "alerts test --target phone",
    "status",
    "accounts",
    "alerts silence NAME --for 2h",
    "logs --level warning --since 1d",
    "ctl shutdown",
)

DIFF: Final = "(umask 077; diff -r --exclude='*keys*' --exclude=alert_targets.toml config new/config > config.diff)"
_REGISTRY: Final = "needs a package registry; tests/deployment/test_deployment_wheel.py installs the wheel without one"
_ROOT: Final = "needs root and systemd; systemd-analyze judges the unit in tests/cli/test_cli_init.py"
LEFT_OUT: Final[Mapping[str, str]] = {
    "python3 -m venv /opt/observer/.venv": _REGISTRY,
    "/opt/observer/.venv/bin/pip install --require-hashes --requirement requirements.txt": _REGISTRY,
    "/opt/observer/.venv/bin/pip install --no-deps observer-0.1.0-py3-none-any.whl": _REGISTRY,
    "/opt/observer/.venv/bin/observer init /opt/observer --metrics --systemd": (
        "writes outside the test's folder; tests/cli/test_cli_init.py runs it with these options"
    ),
    "cd /opt/observer": "a shell's own",
    f"{PROGRAM} top": "a live screen; tests/cli/test_cli_top.py runs it in a terminal",
    f"{PROGRAM} demo": "two minutes; test_deployment_wheel.py runs a faster one, tests/whole the whole day",
    ".venv/bin/pip install 'observer-0.1.0-py3-none-any.whl[alerts]'": _REGISTRY,
    ".venv/bin/pip install --require-hashes --requirement requirements.txt": _REGISTRY,
    ".venv/bin/pip install --no-deps --force-reinstall observer-0.1.0-py3-none-any.whl": (
        "test_deployment_upgrade.py runs it with two versions"
    ),
    "useradd --system --user-group --home-dir /opt/observer observer": _ROOT,
    "install -d -o observer -g observer -m 700 data run config/universe": _ROOT,
    "chown -R observer:observer config && chmod 755 /opt/observer": _ROOT,
    "cp config/observer.service /etc/systemd/system/": _ROOT,
    "systemctl daemon-reload": _ROOT,
    "systemctl enable --now observer": _ROOT,
    "systemctl status observer": _ROOT,
    DIFF: "a shell's own; test_the_comparison_at_an_upgrade_shows_no_secret runs it",
}


def lines_of(page):
    """The lines of the blocks, without the comments behind them."""
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [re.sub(r"\s+# .*", "", line) for block in blocks for line in block.splitlines()]


def printed():
    """The commands of the page's blocks, each once, without the comments behind them and the user before them."""
    lines = [line.removeprefix(AS_OWNER) for line in lines_of((ROOT / "OPERATIONS.md").read_text())]
    return list(dict.fromkeys(line for line in lines if line.strip()))


def test_every_command_of_the_page_is_run_or_has_its_reason():
    ours = {f"{PROGRAM} {words}" for words in (*AT_REST, *RUNNING)}
    assert set(printed()) == ours | set(LEFT_OUT)


def test_the_comparison_at_an_upgrade_shows_no_secret(tmp_path):
    [command] = [line for line in lines_of((ROOT / "OPERATIONS.md").read_text()) if "diff -r" in line]
    for folder, secret in (("config", "pa55word"), ("new/config", "")):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("keys.toml", "lake_keys.toml", "keys_of_main.json", "alert_targets.toml"):
            (tmp_path / folder / name).write_text(f"app_secret = '{secret}'\n")
        (tmp_path / folder / "observer.toml").write_text(f"[store]\nurl = 'postgresql://user:{secret}@host/db'\n")
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")
    written = tmp_path / "config.diff"
    assert written.stat().st_mode & 0o777 == 0o600
    assert "app_secret" not in written.read_text()
    assert "user:@host" in written.read_text(), "what differs is shown"


def test_an_upgrade_names_the_user_of_each_command_about_the_system_s_data():
    lines = lines_of((ROOT / "OPERATIONS.md").read_text().partition("## Upgrade")[2])
    ours = [line for line in lines if PROGRAM in line]
    assert len(ours) > 9
    assert [line for line in ours if not line.startswith(AS_OWNER)] == [f"{PROGRAM} {words}" for words in AS_ROOT]


def test_the_way_back_installs_the_earlier_packages_too_before_it_restores():
    way_back = (ROOT / "OPERATIONS.md").read_text().partition("The way back, ")[2].partition("```sh\n")[2]
    lines = [line.removeprefix("sudo -u observer ") for line in way_back.partition("```")[0].splitlines()]
    commands = [line.split()[1:3] for line in lines]
    assert commands[1:4] == [["install", "--require-hashes"], ["install", "--no-deps"], ["backup", "restore"]]


@pytest.fixture(scope="module")
def at_rest():
    """A new system's folder with the data of two days, and no running system."""
    with short_folder() as folder:
        made = CliRunner().invoke(command_line(), ["init", str(folder)])
        assert made.exit_code == 0, made.exception
        url = f"sqlite:///{folder}/data/observer.db"
        make_database(url)
        writer = StoreWriter(url)
        writer.open()
        day, at_ns = DAY.isoformat(), local_ns(DAY, 8)
        universe = [
            UniverseMember("kis", KOREAN_STOCKS, day, 1, "005930", "005930", "KOSPI", 1e12, 5_000.0, None, None),
            UniverseBuilt("kis", KOREAN_STOCKS, day, day, at_ns, 1, 9, 4_000.0),
        ]
        writer.commit([Delivered("track-b", STREAM, 1, [*events(), *universe])])
        writer.close()
        yield folder


def clock_of(words):
    """The clock's variable: the evening of the stored day for its package, the next morning for all else."""
    at_ns = local_ns(DAY, 21, 5) if words == "backup now" else local_ns(NEXT_DAY, 7)
    return HeldClock(at_ns, Path("never started"), 1.0).to_variable()


@pytest.mark.slow
def test_every_command_about_stored_data_does_what_the_page_says(at_rest, monkeypatch):
    monkeypatch.chdir(at_rest)
    failed = {}
    for words in AT_REST:
        typed = f"{words} --offline" if words.startswith("doctor") else words  # the broker's hosts are not on loopback
        ran = CliRunner().invoke(command_line(), shlex.split(typed), env={CLOCK_VARIABLE: clock_of(words)})
        if ran.exit_code != STATUSES.get(words, 0):
            failed[words] = [ran.exit_code, ran.output, repr(ran.exception)]
    assert failed == {}
    the_written_files_are_those_of_the_configuration(at_rest)


def the_written_files_are_those_of_the_configuration(folder):
    compared = subprocess.run(["diff", "-r", "config", "new/config"], cwd=folder, capture_output=True, check=False)
    assert (compared.returncode, compared.stdout) == (0, b"")


class Running(msgspec.Struct, frozen=True):
    """A folder as an operator has it, with the data of a demo's day; the next morning."""

    folder: Path
    environment: Mapping[str, str]

    def typed(self, words):
        return subprocess.run(
            ["sh", "-c", f"{PROGRAM} {words}"],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


@pytest.fixture
def running(tmp_path):
    with short_folder() as folder, listening() as phone, listening() as mail:
        day = [OBSERVER, "demo", "--symbols", "60", "--speed", "480", "--keep", "--json", "--folder", folder / "demo"]
        assert subprocess.run(day, cwd=folder, capture_output=True, check=False).returncode == 0
        (folder / ".venv").symlink_to(Path(OBSERVER).parents[1])
        (folder / "config").mkdir(0o700)
        page = (ROOT / "OPERATIONS.md").read_text()
        targets = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0]  # as the page prints them
        host = "[supervision.host]\nmemory_bytes = 1\nchecks = 1\n"  # an alert that is open all the time
        (folder / "config" / "observer.toml").write_text(
            f"{(folder / 'demo' / 'observer.toml').read_text()}\n{targets}\n{host}"
        )
        urls = folder / "config" / "alert_targets.toml"
        urls.touch(0o600)
        urls.write_text(f'phone = "{phone.url}"\nmail = "{mail.url}"\n')
        clock = HeldClock(local_ns(NEXT_DAY, 6), tmp_path / "started", 1.0)
        clock.start()
        yield Running(folder, {CLOCK_VARIABLE: clock.to_variable()})


@pytest.mark.slow
@pytest.mark.system
def test_every_command_about_a_running_system_does_what_the_page_says(running):
    first, *others = RUNNING
    system = System(running.folder / "demo", *shlex.split(first), environment=running.environment)
    try:
        system.until(lambda: all_run(running.typed("status --json").stdout), "all processes")
        system.until(lambda: "host:memory_bytes" in running.typed("alerts").stdout, "an alert")
        for words in others:
            ran = running.typed(words.replace("NAME", "host:memory_bytes"))
            assert ran.returncode == 0, [words, ran.stdout, ran.stderr]
        assert system.ended() == 0
    finally:
        system.clear_away()
    assert system.left_behind() == []
