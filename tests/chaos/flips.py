"""Random bits flipped in a sealed lake, each asked for by every reader: `python -m tests.chaos.flips --flips 1000`.

One bit of one file flips: of a version's file (trades, conflated rows, another kind), of the file that a glob finds, of
a manifest, of the record of whole files. Either the file keeps its time and nobody has read it, as when a disk rots, or
it is written, while this process and the record know it as whole. Then five readers ask, and each answer is the true
one, the true one with a warning, an error of ours that names a remedy, or a silent wrong one: no flip may make one.

Three lakes take turns: the database has the sealed rows still; it has not, and a copy lies beside the packages; the
lake's file is all there is.

`--control` keeps the record and the time, so that a damaged file counts as whole: there the same questions have to give
silent wrong answers, or the program proves nothing.
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

import observer
from bus.events import Event, TradesConflated
from observer.archive.day import manifests
from observer.archive.places import DamagedFileWarning
from observer.archive.sealing import seal_days
from observer.archive.whole import whole_files
from observer.base.errors import ObserverError
from observer.cli.app import command_line
from tests.archive.stored import remove_sealed
from tests.research.stored import DAY, MARKET, STREAM, append, at, make_store, traded, url_of
from tests.web.data_app import data_app, served

SYMBOLS: Final = ("005930", "000660", "035420", "247540")
TRADES: Final = 600  # of each symbol
RELATIONS: Final = ("trades", "bars", "gaps", "quality", "slots", "triggers", "universe", "snapshots", "daily")
SQL: Final = (
    "SELECT symbol, count(*) AS n, sum(volume) AS v, sum(price * volume) AS m, min(time) AS a FROM trades "
    "WHERE symbol > '000001' GROUP BY symbol ORDER BY symbol"
)
PLACES: Final = ("trades", "conflated", "other kinds", "glob", "manifest", "record")
_HTTP_S: Final = 60.0
_APART_NS: Final = 1_700_000_000

Answer = str
Ask = Callable[[Path], Answer]


class ToldError(Exception):
    """A reader said that it cannot answer: a status, and a text for a person."""


class Tally(msgspec.Struct):
    """What the readers answered: how often each outcome, by place and reader, and what was wrong in silence or without
    a word for a person.
    """

    flips: int = 0
    outcomes: dict[tuple[str, str], Counter[str]] = {}
    wrong: list[str] = []

    def count(self, *outcomes: str) -> int:
        return sum(found[each] for found in self.outcomes.values() for each in outcomes)


# --- lakes ------------------------------------------------------------------------------------------------------------


def make_lakes(folder: Path) -> Mapping[str, Path]:
    """The stores by where the rows of a damaged file are, too."""
    made = {"the database": folder / "hot", "a copy": folder / "copied", "nowhere": folder / "alone"}
    for where, store in made.items():
        make_store(store)
        append(url_of(store), STREAM, *_trades(), *_conflated())
        lake = store / "data/lake"
        remove = () if where == "the database" else (DAY,)
        list(seal_days(lake, url_of(store), MARKET, [DAY], lambda: 1, threading.Event(), remove=remove))
        # A sector that rots is in one file; "nowhere" keeps the links, so that what the glob finds has it, too.
        for path in lake.glob("kind=*/*/*/*.parquet") if where != "nowhere" else ():
            shutil.copy2(path, path.with_name("other"))
            path.with_name("other").replace(path)
        if remove:
            remove_sealed(url_of(store), lake)
        if where == "a copy":
            for part in ("_versions", "_days"):
                shutil.copytree(lake / part, store / "data/backup/lake/main" / part)
    return made


def _trades() -> list[Event]:
    found: list[Event] = []
    for nth, symbol in enumerate(SYMBOLS):
        total = 1_000_000.0
        for number in range(TRADES):
            volume = float(1 + (number * 7 + nth) % 90)
            total += volume
            moment, price = at("10:00:00") + number * _APART_NS, 70_000.0 + (number * 13 % 40) * 100
            times = {"exchange_time_ns": moment, "receive_time_ns": moment + 5}
            found.append(traded(symbol, "10:00:00", price, volume, total, **times))
    return found


def _conflated() -> list[Event]:
    def row(symbol: str, number: int) -> TradesConflated:
        begin = at("13:00:00") + number * _APART_NS
        prices = (70_000.0, 70_300.0, 69_900.0, 70_000.0 + number)
        total = 5_000_000.0 + number * 20
        return TradesConflated("kis", symbol, DAY, begin, begin + 9, begin + 10, 3, 20.0, *prices, total, None, "KRX")

    return [row(symbol, number) for symbol in SYMBOLS for number in range(200)]


# --- readers ----------------------------------------------------------------------------------------------------------


def by_store(store: Path) -> Answer:
    with observer.open_store(store / "observer.toml") as opened:
        found = {name: opened.relation(name, DAY).collect().write_json() for name in RELATIONS}
        found["of a symbol"] = (
            opened.trades("000660", DAY).select(pl.len(), pl.col("volume").sum()).collect().write_json()
        )
    return json.dumps(found)


def by_sql(store: Path) -> Answer:
    with observer.open_store(store / "observer.toml") as opened:
        return opened.sql(SQL).collect().write_json()


def by_query(store: Path) -> Answer:
    return _typed(store, "query", SQL, "--json")


def by_bars(store: Path) -> Answer:
    return _typed(store, "bars", "005930", DAY, "--json")


def by_http(store: Path) -> Answer:
    found = []
    with served(data_app(store)) as address:
        for name in ("trades?symbol=005930&", "bars?symbol=000660&", "gaps?", "quality?", "snapshots?symbol=005930&"):
            try:
                with urllib.request.urlopen(f"{address}/api/{name}day={DAY}", timeout=_HTTP_S) as response:
                    found.append(response.read().decode())
            except urllib.error.HTTPError as error:
                raise ToldError(f"{error.code} {error.read().decode()}") from error
    return json.dumps(found)


def by_export(store: Path) -> Answer:
    with tempfile.TemporaryDirectory() as folder, observer.open_store(store / "observer.toml") as opened:
        files = sorted(opened.export(DAY, folder, "csv"))
        return json.dumps({path.name: path.read_text() for path in files})


def _typed(store: Path, *words: str) -> Answer:
    """What a command prints, in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        command_line().main([*words, "--config", str(store / "observer.toml")], "observer", standalone_mode=False)
    return out.getvalue()


READERS: Final[Mapping[str, Ask]] = {
    "store": by_store,
    "store.sql": by_sql,
    "query": by_query,
    "bars": by_bars,
    "HTTP": by_http,
    "export": by_export,
}


# --- flips ------------------------------------------------------------------------------------------------------------


class Flips:
    """Flips one bit at a time, asks, and puts the file back."""

    def __init__(self, folder: Path, seed: int, *, is_control: bool = False) -> None:
        self._rng = random.Random(seed)
        self._is_control = is_control
        self._lakes = make_lakes(folder)
        self._truth = {where: self._true_answers(store) for where, store in self._lakes.items()}
        self.tally = Tally()

    def run(self, flips: int, places: Sequence[str] = PLACES) -> Tally:
        wheres = list(self._lakes)
        for number in range(flips):
            self.tally.flips += 1
            place, where = places[number % len(places)], wheres[number // len(places) % len(wheres)]
            self._flip(place, where, is_rotten=self._is_control or self._rng.random() < 0.5)
        return self.tally

    def _true_answers(self, store: Path) -> Mapping[str, Answer]:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DamagedFileWarning)
            return {name: ask(store) for name, ask in READERS.items()}

    def _flip(self, place: str, where: str, *, is_rotten: bool) -> None:
        store = self._lakes[where]
        lake = store / "data/lake"
        path = self._rng.choice(_files_at(lake, place))
        before, whole = path.stat(), path.read_bytes()
        bit = self._rng.randrange(8 * len(whole))
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        _write(path, bytes(content), before if is_rotten else None)
        if is_rotten and not self._is_control and place != "record":
            (lake / "_verified").unlink(missing_ok=True)
        if is_rotten or place == "record":
            whole_files.cache_clear()  # as a process that begins now
        try:
            for name, ask in READERS.items():
                self._judge(
                    name, ask, store, self._truth[where][name], f"{place}, bit {bit} of {path}, rows in {where}"
                )
        finally:
            if place != "record":
                _write(path, whole, before)

    def _judge(self, name: str, ask: Ask, store: Path, truth: Answer, what: str) -> None:
        place = what.partition(",")[0]
        told = ""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", DamagedFileWarning)
            try:
                found = ask(store)
                outcome = "silent" if found != truth else "elsewhere" if said else "true"
            except (ObserverError, ToldError) as error:
                told = str(error)
                outcome = "error" if _is_clear(told) else "unclear"
            except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - a broken reader is looked for
                told, outcome = repr(error), "broken"
        self.tally.outcomes.setdefault((place, name), Counter())[outcome] += 1
        if outcome in ("silent", "unclear", "broken"):
            self.tally.wrong.append(f"{outcome}: {name}: {what}: {told[:300]}")


def _files_at(lake: Path, place: str) -> Sequence[Path]:
    versions = {
        kind: sorted(lake.glob(f"_versions/kind={kind}/*/*/*.parquet")) for kind in ("trades", "conflated_trades")
    }
    match place:
        case "trades":
            return versions["trades"]
        case "conflated":
            return versions["conflated_trades"]
        case "other kinds":
            return sorted(
                {*lake.glob("_versions/*/*/*/*.parquet")} - {each for found in versions.values() for each in found}
            )
        case "glob":
            return sorted(lake.glob("kind=*/*/*/*.parquet"))
        case "manifest":
            return manifests(lake)
        case _:
            return [lake / "_verified"]


def _write(path: Path, content: bytes, times: os.stat_result | None) -> None:
    """Write the file in place; with the times of before, as if nobody had."""
    with path.open("r+b") as file:
        file.write(content)
    if times is not None:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _is_clear(text: str) -> bool:
    """Whether a text names a file of the lake and a command that helps."""
    return "/lake/" in text and "`observer " in text


def table(tally: Tally) -> Sequence[str]:
    """The outcomes by place and reader."""
    names = ("true", "elsewhere", "error", "unclear", "broken", "silent")
    lines = [f"{'place':12} {'reader':10} " + " ".join(f"{name:>9}" for name in names)]
    for (place, reader), found in sorted(tally.outcomes.items()):
        lines.append(f"{place:12} {reader:10} " + " ".join(f"{found[name]:9}" for name in names))
    total = Counter[str]()
    for found in tally.outcomes.values():
        total += found
    return [*lines, f"{tally.flips:6} flips, all      " + " ".join(f"{total[name]:9}" for name in names)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.flips", description=__doc__)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true", help="damaged files count as whole: silent answers must come")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flips") as folder:
        flips = Flips(Path(folder), asked.seed, is_control=asked.control)
        with contextlib.suppress(KeyboardInterrupt):  # then with what there is
            flips.run(asked.flips)
    tally = flips.tally
    lines = [*table(tally), *tally.wrong[:20]]
    sys.stdout.write("\n".join(lines) + "\n")
    is_right = bool(tally.count("silent")) if asked.control else not tally.count("silent", "unclear", "broken")
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
