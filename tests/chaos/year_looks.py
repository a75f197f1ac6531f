"""A system that is started on the folder of a year, in the night after one of its days: how soon it runs, how fast it
answers, how much memory it takes, and what the folder and the database hold.

Each time is the shortest of several: other work of the machine makes a time longer, never shorter.
"""

import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec
from sqlalchemy import make_url

import observer as research
from bus.commands import Status, StatusReply
from observer.archive.day import CATALOGUE
from observer.base.clock import CLOCK_VARIABLE, ScaledClock
from observer.base.errors import ConfigError
from observer.base.local_time import local_ns
from observer.cli.system import ask
from observer.store.sizes import SizeReader
from observer.system.config import load_settings
from tests.chaos.year_days import SYMBOLS
from tests.store.raw import query
from tests.waiting import DEADLINE_S
from tests.whole.running import System
from tests.whole.running import observer as command

NIGHT = (22, 30)
STARTS = 3
TIMES = 3  # that each question is asked in each start
READY_S_MAX = 120.0
WATCHED = ("core-writer", "lake", "web", "track-b", "accounts")
MEGABYTE = 1e6
PAST_DAYS = 2  # the day that the page is asked for lies so many sessions before the last


Figures = Mapping[str, float]
TOP = "SELECT symbol, sum(volume) AS shares FROM trades WHERE day = '{}' GROUP BY symbol ORDER BY 2 DESC LIMIT 10"
_TABLES = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "postgresql": "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
    "AND relnamespace = quote_ident(current_schema())::regnamespace",
}


class Look(msgspec.Struct, frozen=True):
    """What was found after a day: seconds by what took them, memory in MB by process, bytes and files by folder of the
    system (parts of the whole apart), rows by table.
    """

    number: int
    session_date: str
    seconds: Mapping[str, float]
    memory_mb: Mapping[str, float]
    sizes: Mapping[str, int]
    files: Mapping[str, int]
    rows: Mapping[str, int]


def look_at(folder: Path, url: str, dates: Sequence[str], work_s: Mapping[str, float]) -> Look:
    """Start the system in the night after the last of the dates, several times, and ask it all questions. Sizes and
    rows are those before the first start; `work_s` are the seconds of the days' work.
    """
    sizes, files = sizes_of(folder)
    sizes = {**sizes, **table_bytes_of(url)}
    rows = rows_of(url)
    seconds = dict(work_s)
    memory: dict[str, float] = {}
    for number in range(STARTS):
        found, used = _started(folder, url, dates, number)
        for what, taken in found.items():
            seconds[what] = round(min(taken, seconds.get(what, taken)), 4)
        for name, megabytes in used.items():
            memory[name] = round(min(megabytes, memory.get(name, megabytes)), 1)
    return Look(len(dates), dates[-1], seconds, memory, sizes, files, rows)


def sizes_of(folder: Path) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Bytes on the disk and files of each part of the system's folder; a file with several names counts once."""
    sizes: dict[str, int] = {}
    files: dict[str, int] = {}
    seen: set[int] = set()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (status := path.stat()).st_ino not in seen:
            seen.add(status.st_ino)
            part = part_of(path.relative_to(folder))
            sizes[part] = sizes.get(part, 0) + status.st_blocks * 512
            files[part] = files.get(part, 0) + 1
    return sizes, files


def part_of(path: Path) -> str:
    """The part of the system that a file below its folder belongs to."""
    if path.name.startswith("observer.db"):
        return "database"
    if path.name in ("exports.json", "finished"):
        return path.name
    if path.parts[:2] == ("data", "backup"):
        return "backup, lake" if path.parts[2] == "lake" else "backup, packages"
    if path.parts[:3] == ("data", "lake", CATALOGUE):
        return "lake's catalogue"
    return "/".join(path.parts[:2]) if len(path.parts) > 2 else path.name


def rows_of(url: str) -> Mapping[str, int]:
    """The rows of each table, counted; those of partitions in the table that they are parts of."""
    names = sorted(str(name) for (name,) in query(url, _TABLES[make_url(url).get_backend_name()]))
    return {name: int(str(query(url, f"SELECT count(*) FROM {name}")[0][0])) for name in names}


def table_bytes_of(url: str) -> Mapping[str, int]:
    """The bytes of each table with its indexes, of the whole database, and of what is in no table: free pages, say."""
    with SizeReader(url) as reader:
        found = reader.sizes()
    tables = {f"table {each.name}": each.size_bytes or 0 for each in found.tables}
    return {
        "database": found.size_bytes,
        "database beside its tables": found.size_bytes - sum(tables.values()),
        **tables,
    }


def _started(
    folder: Path, url: str, dates: Sequence[str], number: int
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    configuration = folder / "observer.toml"
    clock = ScaledClock(local_ns(date.fromisoformat(dates[-1]), NIGHT[0], NIGHT[1] + number), time.monotonic_ns(), 1.0)
    variables = {CLOCK_VARIABLE: clock.to_variable()}
    system = System(folder, "run", "--config", configuration, environment=variables, database=url)
    try:
        seconds = _until_ready(system, configuration)
        seconds |= _answers(folder, configuration, dates, variables)
        reply = ask(Status(), configuration)
        assert isinstance(reply, StatusReply), reply
        memory = {each.name: (each.rss_bytes or 0) / MEGABYTE for each in reply.processes if each.name in WATCHED}
        memory["host"] = system.process.memory_info().rss / MEGABYTE
        assert system.interrupt() == 0, system.errors
    finally:
        system.clear_away()
    return seconds, memory


def _until_ready(system: System, configuration: Path) -> dict[str, float]:
    """Seconds from the start of the command until the writer and then all processes run, and of the first scrape."""
    began_s = time.perf_counter()
    seconds: dict[str, float] = {}

    def states() -> Mapping[str, str]:
        try:
            reply = ask(Status(), configuration)
        except ConfigError:  # not yet
            return {}
        return {each.name: each.state for each in reply.processes} if isinstance(reply, StatusReply) else {}

    def is_ready() -> bool:
        found = states()
        if found.get("core-writer") == "RUNNING":
            seconds.setdefault("start, writer", time.perf_counter() - began_s)
        return bool(found) and set(found.values()) == {"RUNNING"}

    system.until(is_ready, "every process runs", READY_S_MAX)
    seconds["start, all"] = time.perf_counter() - began_s
    settings = load_settings(configuration)
    assert settings.metrics is not None
    port = settings.metrics.port
    seconds["first scrape"] = taken(lambda: _get(port, "/metrics"))
    return seconds


def taken(work: Callable[[], object]) -> float:
    """The seconds that the work takes."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_S) as answer:
        content: bytes = answer.read()
    return content


def _answers(folder: Path, configuration: Path, dates: Sequence[str], variables: Mapping[str, str]) -> dict[str, float]:
    """The shortest seconds of each question."""
    settings = load_settings(configuration)
    assert settings.web is not None
    port, past = settings.web.port, dates[max(0, len(dates) - 1 - PAST_DAYS)]

    def run(*words: str) -> None:
        done = command(*words, "--config", configuration, cwd=folder, environment=variables)
        assert done.returncode in (0, 1), done.stderr  # 1: an alert is open, or a finding is critical

    def asked(question: Callable[[research.Store], object]) -> Callable[[], object]:
        def work() -> None:
            with research.open_store(configuration) as store:
                question(store)

        return work

    questions: Mapping[str, Callable[[], object]] = {
        "page, state": lambda: _get(port, "/api/state"),
        "page, days": lambda: _get(port, "/api/days"),
        "page, a past day": lambda: _get(port, f"/api/days/{past}"),
        "observer status": lambda: run("status"),
        "observer db stats": lambda: run("db", "stats"),
        "observer doctor": lambda: run("doctor", "--offline"),
        "summary of a day": asked(lambda store: store.summary(past).collect()),
        "trades of a symbol and day": asked(lambda store: store.trades(SYMBOLS[0], past).collect()),
        "bars of a symbol, 20 days": asked(lambda store: store.bars(SYMBOLS[0], dates[-20:][0], dates[-1]).collect()),
        "bars of all symbols of a day": asked(lambda store: store.bars(None, past).collect()),
        "top volume of a day": asked(lambda store: store.sql(TOP.format(past)).collect()),
        "quality of a month": asked(lambda store: store.quality(dates[-20:][0], dates[-1]).collect()),
    }
    return {what: min(taken(question) for _ in range(TIMES)) for what, question in questions.items()}
