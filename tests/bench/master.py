"""The rates of parsing, comparing and applying master files, and of querying a market's tradable securities.

The files are made up, in the real layouts and about the real sizes: 25,000 listings of all exchanges together. Applied
means committed: a writer of SQLite in this process, without the bus between.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bus.delivery import Delivered
from observer.brokers.broker import DEFAULT_BROKER, broker_named
from observer.reference.listings.diff import ReferenceSettings
from observer.reference.listings.intake import MasterFile, events_of, judge
from observer.reference.listings.model import REGIONS
from observer.store.engine import migrate
from observer.store.listings import ListingReader
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress

# Listings of each exchange, about as many as there were in 2025-06: the three of the US are 6,500 tradable ones here.
_KOREAN: Final = {"KOSPI": 2_500, "KOSDAQ": 1_800}
_ABROAD: Final = {
    "NASD": ("NAS", "USD", 2_500),
    "NYSE": ("NYS", "USD", 2_000),
    "AMEX": ("AMS", "USD", 2_000),
    "SEHK": ("HKS", "HKD", 3_000),
    "SHAA": ("SHS", "CNY", 2_850),
    "SZAA": ("SZS", "CNY", 3_550),
    "TKSE": ("TSE", "JPY", 4_400),
    "VNSE": ("HSX", "VND", 400),
}
_STREAM: Final = "b" * 32
_SECTORS: Final = 40


class TimeSpan(msgspec.Struct, frozen=True):
    """A duration by the clock, and of a processor, which other load on the machine lengthens less."""

    wall_s: float
    cpu_s: float


class Rate(msgspec.Struct, frozen=True):
    """Records parsed in a second of the clock, and of a processor."""

    per_s: float
    per_cpu_s: float


class MasterResult(msgspec.Struct, frozen=True):
    """Rates are of the best round, since the others were disturbed, spans medians. `first` is parse, difference and
    commit of all files into an empty database, `unchanged` the same again; `tradable_ms` the questions for all
    `tradable` securities of the US.
    """

    machine: Machine
    listings: int
    tab_records: Rate
    fixed_records: Rate
    first: TimeSpan
    unchanged: TimeSpan
    tradable: int
    tradable_ms: float


async def measure_master(folder: Path, rounds: int, report: ReportProgress) -> MasterResult:
    """Read, apply and ask, `rounds` times each, in new databases in `folder`."""
    report("making files up")
    files = _files()
    tabs = {exchange: content for exchange, content in files.items() if exchange in _ABROAD}
    fixed = {exchange: content for exchange, content in files.items() if exchange in _KOREAN}
    first, again, asked = [], [], []
    tradable = 0
    for number in range(rounds):
        report(f"round {number + 1}/{rounds}")
        url = f"sqlite:///{folder / f'{number}.db'}"
        migrate(url)
        first.append(_timed(partial(_apply, url, files)))
        again.append(_timed(partial(_apply, url, files)))
        with ListingReader(url) as reader:
            tradable = _tradable(reader)
            asked += [_timed(partial(_tradable, reader)) for _ in range(5)]
    return MasterResult(
        machine=this_machine(folder),
        listings=sum(content.count(b"\n") for content in files.values()),
        tab_records=_rate(tabs, rounds),
        fixed_records=_rate(fixed, rounds),
        first=_median(first),
        unchanged=_median(again),
        tradable=tradable,
        tradable_ms=_median(asked).wall_s * 1_000,
    )


def _tradable(reader: ListingReader) -> int:
    return sum(len(reader.tradable(exchange) or ()) for exchange in REGIONS["US"])


def _timed(work: Callable[[], object]) -> TimeSpan:
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    work()
    return TimeSpan(time.perf_counter() - began_s, time.process_time() - cpu_began_s)


def _median(spans: Sequence[TimeSpan]) -> TimeSpan:
    return TimeSpan(*(statistics.median(figures) for figures in zip(*map(msgspec.structs.astuple, spans), strict=True)))


def _rate(files: Mapping[str, bytes], rounds: int) -> Rate:
    records = sum(content.count(b"\n") for content in files.values())
    read = broker_named(DEFAULT_BROKER).listings
    spans = [_timed(lambda: [read(*each) for each in files.items()]) for _ in range(max(rounds, 5))]
    return Rate(records / min(each.wall_s for each in spans), records / min(each.cpu_s for each in spans))


def _apply(url: str, files: Mapping[str, bytes]) -> None:
    writer = StoreWriter(url)
    writer.open()
    settings = ReferenceSettings()
    try:
        with StoreReader(url) as reader:
            sequence = writer.high_water_marks([_STREAM])[_STREAM]
            for exchange, content in files.items():
                listings, bad_lines = broker_named(DEFAULT_BROKER).listings(exchange, content)
                known = {symbol: (each, True) for symbol, each in reader.active_listings(exchange).items()}
                file = MasterFile("bench", exchange, listings, bad_lines, len(content), "", 1)
                events = events_of(file, judge(file, known, settings, old_size_bytes=None))
                writer.commit([Delivered("bench", _STREAM, sequence + 1, events)])
                sequence += len(events)
    finally:
        writer.close()


# --- files ---------------------------------------------------------------------------------------------------


def _files() -> Mapping[str, bytes]:
    korean = {exchange: b"".join(map(_FIXED[exchange], range(count))) for exchange, count in _KOREAN.items()}
    return korean | {exchange: _tab_file(*each) for exchange, each in _ABROAD.items()}


def _tab_file(code: str, currency: str, count: int) -> bytes:
    lines: Sequence[str] = [
        f"US\t22\t{code}\t거래소\t{code[0]}{number:05d}\t{code}{number:05d}\t회사 {number} 보통주\tCOMPANY {number} INC"
        f"\t2\t{currency}\t4\t\t{10 + number / 100:.4f}\t1\t1\t930\t1600\tN\t\t{100 + number % _SECTORS}"
        "\t0\t0\t   \t   \n"
        for number in range(count)
    ]
    return "".join(lines).encode("cp949")


def _fixed_head(number: int) -> bytes:
    return f"{number:06d}   KR7{number:09d}".encode() + f"회사 {number} 보통주".encode("cp949").ljust(40)


def _fixed_trading(number: int) -> bytes:
    """From the base price to the preferred flag: 117 bytes."""
    numbers = f"{1_000 + number:09d}" + "0000100001" + "NNN" + "00NNN" + "000000" + "020Y090"
    return (numbers + "0" * 24 + f"{19_900_101 + number % 28:08d}" + f"{number:015d}" + "0" * 30 + "0").encode()


def _kospi(number: int) -> bytes:
    tail = b"ST1002700130000" + b"N" * 26 + _fixed_trading(number) + b"N" * 4 + b"0" * 49
    return _fixed_head(number) + tail + f"{number:09d}   NNN\n".encode()


def _kosdaq(number: int) -> bytes:
    tail = b"ST1100910260000" + b"N" * 21 + _fixed_trading(number) + b"N" * 3 + b"0" * 49
    return _fixed_head(number) + tail + f"{number:09d}   NNN\n".encode()


_FIXED: Final[Mapping[str, Callable[[int], bytes]]] = {"KOSPI": _kospi, "KOSDAQ": _kosdaq}
