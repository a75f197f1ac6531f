"""A staged day: a demo system with injected simulator faults, run by `observer run` on a held clock.

The clock stands until every process runs; then the day passes, and the test observes, kills processes and reads the
simulator's ledger before the system stops.
"""

import contextlib
import json
import os
import signal
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import msgspec
import tomli_w

from bus.commands import StatusReply
from observer.base.clock import CLOCK_VARIABLE, HeldClock
from observer.base.local_time import local_ns
from observer.demo.configuration import DAY
from observer.demo.day import DemoOptions, prepare
from observer.demo.summary import DemoSummary, summarise
from observer.simulator.kis.simulator import market_of
from observer.store.reader import StoreReader
from observer.system.config import Settings, load_settings
from tests.folders import short_folder
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S
from tests.whole.running import OBSERVER, PROCESSES, JsonObject, System, observer_here

EVERYBODY = ("simulator", *PROCESSES)

BEGINS = (7, 59)  # the clock stands here while the processes start, so that 08:00 happens to all of them

# The half-open check uses machine time, which a scaled day does not scale: a keep-alive every third of a second
# instead of ten seconds, and a timeout to match.
QUICK_SILENCE: Mapping[str, JsonObject] = {
    "kis": {"stream": {"silence_s": 2.0}},
    "simulator": {"pingpong_interval_s": 0.3},
}


class StagedDay:
    """A running day in `folder`; market times are seconds after midnight KST of its session day."""

    def __init__(
        self, folder: Path, configuration: Path, clock: HeldClock, session: date = DAY, database: str = ""
    ) -> None:
        self.folder = folder
        self.configuration = configuration
        self.clock = clock
        self._midnight_ns = local_ns(session)
        self.settings = tomllib.loads(configuration.read_text())
        self.everybody = {*EVERYBODY, *({"tape"} & self.settings.keys())}
        environment = {CLOCK_VARIABLE: clock.to_variable()}
        self.system = System(folder, "run", "--config", configuration, environment=environment, database=database)

    @property
    def database(self) -> Path:
        """Where everything is stored."""
        return self.system.database

    def until_everybody_runs(self) -> None:
        """Wait until every process runs; the clock stands."""
        self.system.until(lambda: set(self.system.pids()) == self.everybody, "every process runs", 180)

    def begin(self) -> None:
        """Let the day begin when every process runs."""
        self.until_everybody_runs()
        self.clock.start()

    def second(self) -> float:
        """The market time."""
        return (self.clock.now_ns() - self._midnight_ns) / 1e9

    def until_second(self, second: float) -> None:
        """Wait for a market time."""
        wait_s = (second - self.second()) / self.clock.speed
        self.system.until(lambda: self.second() >= second, f"second {second} of the day", max(0.0, wait_s) + 30)

    def alive(self) -> bool:
        """Whether every process of the system runs, as the process table has it."""
        pids = self.system.pids()
        return set(pids) == self.everybody and all(Path(f"/proc/{pid}").exists() for pid in pids.values())

    def kill(self, victim: str, deadline_s: float = 150.0) -> None:
        """Kill a process, and wait until its successor runs."""
        before = self.system.pids()[victim]
        os.kill(before, signal.SIGKILL)
        self.system.until(lambda: self.system.pids().get(victim, before) != before, f"{victim} is back", deadline_s)

    def fault(self, kind: str, for_s: float = 0.0, share: float = 1.0, by_s: float = 0.0) -> None:
        """Inject a fault into the simulator, from now on."""
        self._ask("faults", json.dumps({"kind": kind, "for_s": for_s, "share": share, "by_s": by_s}).encode())

    def subscriptions(self) -> list[JsonObject]:
        """The simulator's ledger: the trades offered, and the fate of each on the wire."""
        return list(self._ask("registrations"))

    def forgeries(self) -> list[JsonObject]:
        """The false records that the simulator has sent."""
        return list(self._ask("forgeries"))

    def counters(self) -> JsonObject:
        """The simulator's counters."""
        return dict(self._ask("counters"))

    def _ask(self, what: str, content: bytes | None = None) -> list[JsonObject] | JsonObject:
        url = f"{self.settings['kis']['rest_url']}/simulator/{what}"
        with urllib.request.urlopen(urllib.request.Request(url, data=content), timeout=DEADLINE_S) as answer:
            reported: list[JsonObject] | JsonObject = json.loads(answer.read())
            return reported

    def until_gaps_are_closed(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until every gap that was found is recovered or given up."""
        open_gaps = (
            "SELECT gap_id FROM gaps WHERE gap_id NOT IN (SELECT gap_id FROM gap_recoveries) "
            "AND gap_id NOT IN (SELECT gap_id FROM gap_losses)"
        )
        self.system.until(lambda: self.system.ask(open_gaps) == [], "no gap is open", deadline_s)

    def judge_now(self) -> None:
        """Order the quality reports of what is stored now; the order is refused while the process runs another job."""
        order = ("ctl", "run-job", "quality", "--config", self.configuration)
        self.system.until(lambda: observer_here(*order, cwd=self.folder).returncode == 0, "the order is taken")

    def until_judged(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the day's quality reports are there: some minutes after the close, or ordered."""
        one = "SELECT symbol FROM quality LIMIT 1"
        self.system.until(lambda: self.system.ask(one) != [], "the day is judged", deadline_s)


@contextlib.contextmanager
def captured(day: StagedDay) -> Iterator[tuple[Path, Path]]:
    """Record what is committed, and what is said on the wire, to these two paths in the day's folder until the end.

    Both must come to a good end: the one proves that nothing is missing in it.
    """
    journal, raw = day.folder / "day.journal", day.folder / "raw"
    captures = [_capture(day, "--raw", raw), _capture(day, "--out", journal)]
    try:
        yield journal, raw
    finally:
        for capture in captures:
            capture.send_signal(signal.SIGINT)
        ends = [(capture.communicate(timeout=DEADLINE_S), capture.returncode) for capture in captures]
    assert [status for _, status in ends] == [0, 0], ends


def _capture(day: StagedDay, option: str, path: Path) -> "subprocess.Popen[bytes]":
    """A capture that has begun: off a terminal it says so in a line."""
    command = [OBSERVER, "capture", option, str(path), "--config", str(day.configuration), "--json"]
    capture = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert capture.stderr is not None
    capture.stderr.readline()
    return capture


@contextlib.contextmanager
def staged_day(
    *,
    speed: float,
    symbols: int = 60,
    accounts: int = 2,
    seed: int = 7,
    session: date = DAY,
    begins: tuple[int, int] = BEGINS,
    changes: Mapping[str, JsonObject] = QUICK_SILENCE,
    folder: Path | None = None,
    database: str = "",
    nxt: bool = False,
) -> Iterator[StagedDay]:
    """A system whose clock stands at `begins` of the session day, with these changes of the demo's configuration, by
    section. In `folder`, which stays, or in one that goes with it; `database` is the URL of a server, empty for a file
    in the folder; with `nxt` both venues are collected the whole day. Whatever happens, nothing of it runs on.
    """
    with short_folder() if folder is None else contextlib.nullcontext(folder) as slot:
        options = DemoOptions(
            speed=speed,
            symbols=symbols,
            database=database,
            seed=seed,
            data=None,
            keep=True,
            folder=slot / "d",
            accounts=accounts,
            nxt=nxt,
        )
        day = prepare(options)
        _change(day.configuration, session, changes)
        if not database:
            make_empty_database(day.settings)
        clock = HeldClock(local_ns(session, *begins), slot / "d" / "data" / "clock", speed)
        staged = StagedDay(slot / "d", day.configuration, clock, session, database)
        try:
            yield staged
        finally:
            staged.system.clear_away()


def make_empty_database(settings: Settings) -> None:
    """Make the system's file as its first start would, without the seconds that the migrations take."""
    Path(settings.store.url.removeprefix("sqlite:///")).touch(mode=0o600)
    make_database(settings.store.url)


def _change(configuration: Path, session: date, changes: Mapping[str, JsonObject]) -> None:
    document = tomllib.loads(configuration.read_text())
    document["simulator"]["session_date"] = session.isoformat()
    for section, keys in changes.items():
        document[section] = {**document.get(section, {}), **keys}
    configuration.write_text(tomli_w.dumps(document))


def stopped(day: StagedDay) -> int:
    """Stop everything in order; the exit status."""
    day.system.remember()
    day.system.process.send_signal(signal.SIGINT)
    return day.system.ended(DEADLINE_S)


def status(day: StagedDay) -> StatusReply:
    """The supervisor's status reply."""
    completed = observer_here("status", "--json", "--config", day.configuration, cwd=day.folder)
    return msgspec.json.decode(completed.stdout, type=StatusReply)


def summary_of(day: StagedDay, final: StatusReply) -> DemoSummary:
    """The demo's summary of the day."""
    settings = load_settings(day.configuration)
    assert settings.simulator is not None
    with StoreReader(f"sqlite:///{day.database}") as reader:
        return summarise(
            reader,
            market_of(settings.simulator),
            day.folder,
            final,
            session_date=DAY.isoformat(),
            final_ns=0,
            wall_s=0.0,
            database=str(day.database),
            interrupted=True,
        )


def kill_at_once(system: System, *victims: str) -> None:
    """Kill them and wait until their successors work; no other process changes its pid."""
    before = system.pids()
    assert set(before) == set(EVERYBODY)
    for victim in victims:
        os.kill(before[victim], signal.SIGKILL)

    def are_back() -> bool:
        pids = system.pids()
        return set(pids) == set(EVERYBODY) and all(pids[victim] != before[victim] for victim in victims)

    system.until(are_back, f"{', '.join(victims)} are back")
    assert {name for name, pid in system.pids().items() if pid != before[name]} == set(victims)


def decisions_are_made_again(system: System, *, resumed: int) -> None:
    """The decisions of Track B's first process and of the `resumed` ones after it can be recomputed."""
    kinds = "SELECT step ->> '$.kind' AS kind, stream, sequence FROM selection_steps"
    steps = f"SELECT stream, kind FROM ({kinds}) WHERE kind IN ('began', 'opened', 'resumed') ORDER BY stream, sequence"
    lives = [[kind for _, kind in life] for _, life in groupby(system.rows(steps), key=itemgetter(0))]
    assert sorted(lives) == [["began", "opened"], *[["began", "resumed"]] * resumed]
    [[session_date]] = system.rows("SELECT DISTINCT session_date FROM selection_steps")
    words = ("decisions", "verify", session_date, "--json", "--config", system.folder / "observer.toml")
    reported = observer_here(*words, cwd=system.folder)
    assert reported.returncode == 0, reported.stdout + reported.stderr
    same = json.loads(reported.stdout)["same"]
    assert [(same["SlotAssigned"],)] == system.rows("SELECT count(*) FROM slot_assignments")
