"""The four ETF phases, each beside the minimum time under the broker's rate limit.

Real parts at the real clock's speed: the simulated broker in a separate process with a year of sessions, our REST
pipeline and rate-limit tokens, the bus, the core-writer. The floor of a phase is its calls, as the broker counted them,
times the limit's interval: 1,029 calls at 18 a second are 57.2 s. Phases without calls have none. The day is over
(16:00), so values bring the day's closing NAV too.

The measures run twice. The first time each ETF's NAVs of 250 sessions are fetched, and the broker gives 100 days a
call: three calls an ETF, 172 s for 1,029, once in an ETF's life. After that it is one call an ETF each Sunday. (The
requirement's "~102 sec" for three calls an ETF counts 30 a second.)
"""

import time
import uuid
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import httpx
import msgspec

from bus.events import EtfJob, Event
from bus.outbox import Outbox
from bus.producer import Producer, delivering
from observer.base.local_time import local_ns
from observer.brokers.broker import DEFAULT_BROKER, broker_named
from observer.calendar.phases import DayPlan, DayRules, plan
from observer.calendar.session_file import SHIPPED, read_session_rules
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY
from observer.monitoring.alerts.process import Alerts
from observer.reference.etf.collector import EtfCollector
from observer.reference.etf.sources import EtfSources
from observer.reference.listings.diff import ReferenceSettings
from observer.reference.listings.intake import MasterFile, events_of, judge
from observer.reference.listings.model import ETF_GROUP
from observer.simulator.counters import Counters
from observer.simulator.kis.files import MASTER_FILES
from observer.simulator.kis.masters import file_of
from observer.simulator.market.instruments import made_up_instruments
from observer.simulator.market.rng import seeded_rng
from observer.store.engine import migrate
from observer.store.etf import EtfReader
from tests.bench.broker import RunningBroker, running_broker
from tests.bench.child import BenchError
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.writer import RunningWriter, running_writer

_SESSIONS: Final = 300  # more than the longest window wants: that none is older cannot be seen
_AT: Final = (16, 0)
_SHARES: Final = 500  # what the ETFs hold
_LISTED_ON: Final = "20200102"  # long ago: every ETF has all its sessions
_SEED: Final = 7
_DRAIN_S: Final = 60.0
_ANEW: Final = 2**62  # a phase is done for all ETFs, whatever was done before
_PHASES: Final[Sequence[tuple[str, EtfJob]]] = (
    ("list", "etf_list"),
    ("values", "etf_values"),
    ("measures, first time", "etf_measures"),
    ("ranges", "etf_ranges"),
    ("measures, every later time", "etf_measures"),
)


class JobSpan(msgspec.Struct, frozen=True):
    """A phase's time until all of it was committed; `floor_s` and `ratio_to_floor` are None without calls."""

    name: str
    asked: int
    answered: int
    calls: int
    span_s: float
    floor_s: float | None
    ratio_to_floor: float | None


class EtfsResult(msgspec.Struct, frozen=True):
    """The phases in their order; `first_s` is all four from nothing, `later_s` all four on any later Sunday."""

    machine: Machine
    etfs: int
    rate: float
    phases: Sequence[JobSpan]
    first_s: float
    later_s: float
    rate_errors: int
    busiest_second_calls: int


async def measure_etfs(folder: Path, etfs: int, rate: int | None, report: ReportProgress) -> EtfsResult:
    """Run every phase for so many ETFs, with one account of `rate` calls a second (None: the broker's limit).

    Raises:
        BenchError: broker or writer did not come up, or not every ETF was answered.
    """
    report("starting the broker: it makes every symbol's day first")
    contents = _master_files(folder / "samples", etfs)
    market = {"data": str(folder / "samples"), "history_days": _SESSIONS}
    async with (
        running_writer(folder / "writer") as writer,
        running_broker(folder / "broker", 2, 1, rate, at=_AT, market=market) as broker,
    ):
        phases = await _run_phases(broker, writer, contents, etfs, report)
    spans_s = [phase.span_s for phase in phases]
    counters = broker.counters()
    return EtfsResult(
        machine=this_machine(folder),
        etfs=etfs,
        rate=broker.rate,
        phases=phases,
        first_s=sum(spans_s[:4]),
        later_s=sum(spans_s) - spans_s[2],
        rate_errors=counters.rate_errors,
        busiest_second_calls=max(counters.busiest_seconds),
    )


async def _run_phases(
    broker: RunningBroker,
    writer: RunningWriter,
    contents: dict[str, bytes],
    etfs: int,
    report: ReportProgress,
) -> Sequence[JobSpan]:
    url = f"sqlite:///{writer.database}"
    migrate(url)
    phases = []
    outbox = Outbox(writer.database.parent / "outbox", "etf", uuid.uuid4().hex)
    async with delivering(outbox, writer.endpoints.ingest) as producer:
        for exchange, content in contents.items():
            producer.publish_together(_listed(exchange, content))
        await _settled(producer)
        with EtfReader(url) as reader:
            collector = _collector(broker, producer, reader)
            for name, job in _PHASES:
                report(name)
                phases.append(await _phase(name, job, broker, producer, reader, collector))
    for phase in phases:
        if phase.answered != etfs:
            raise BenchError(f"{phase.name}: {phase.answered} of {etfs} ETFs were answered")
    return phases


async def _phase(
    name: str,
    job: EtfJob,
    broker: RunningBroker,
    producer: Producer,
    reader: EtfReader,
    collector: EtfCollector,
) -> JobSpan:
    """Run one phase, and count the broker's calls."""
    calls_before = await _calls_of(broker)
    began_s = time.perf_counter()
    await collector.run(job, _plan(), _ANEW)
    await _settled(producer)
    span_s = time.perf_counter() - began_s
    calls = await _calls_of(broker) - calls_before
    ended = reader.last_etf_jobs()[job]
    floor_s = calls / broker.rate if calls else None
    ratio = None if floor_s is None else span_s / floor_s
    return JobSpan(name, ended.asked, ended.answered, calls, span_s, floor_s, ratio)


async def _calls_of(broker: RunningBroker) -> int:
    """How many requests the broker counted so far."""
    assert broker.settings.simulator is not None
    address = f"http://127.0.0.1:{broker.settings.simulator.rest_port}/simulator/counters"
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(address)
    return sum(msgspec.json.decode(answer.content, type=Counters).requests.values())


# --- what is around the collector ----------------------------------------------------------------------------


def _collector(broker: RunningBroker, producer: Producer, reader: EtfReader) -> EtfCollector:
    return EtfCollector(
        provider=DEFAULT_BROKER,
        sources=EtfSources(
            settings=broker.settings.etf,
            rest=broker.settings.broker.rest,
            runtime=Path(broker.settings.run.runtime),
            reader=reader,
        ),
        clock=broker.clock,
        publisher=producer,
        open_calls=broker.brokers().rest,
        trading_days=_trading_days,
        settled=lambda: _settled(producer),
        alerts=Alerts(broker.clock, "etf", producer.publish),
    )


async def _settled(producer: Producer) -> None:
    if not await producer.drain(_DRAIN_S):
        raise BenchError(f"{producer.unacknowledged} events were not committed within {_DRAIN_S:g} s")


def _plan() -> DayPlan:
    rules = DayRules(sessions=read_session_rules(SHIPPED), venue=broker_named(DEFAULT_BROKER).venue.name)
    return plan(TradingDay(DAY, True, "bench"), rules)


def _trading_days() -> Sequence[date]:
    days = [DAY - timedelta(days=back) for back in range(2 * _SESSIONS)]
    return [day for day in days if day.weekday() < 5]


def _listed(exchange: str, content: bytes) -> Sequence[Event]:
    listings, bad_lines = broker_named(DEFAULT_BROKER).listings(exchange, content)
    file = MasterFile(DEFAULT_BROKER, exchange, listings, bad_lines, len(content), "", local_ns(DAY, 6))
    return events_of(file, judge(file, {}, ReferenceSettings(), old_size_bytes=None))


def _master_files(folder: Path, products: int) -> dict[str, bytes]:
    """Master files with so many ETFs, and the shares that they hold, where the simulated broker finds samples."""
    made_up = made_up_instruments(2 * (products + _SHARES), DAY.isoformat(), seeded_rng(_SEED))
    ordinary = [each for each in made_up if each.ordinary and each.trades]
    etf = {"group": ETF_GROUP, "exchange": "KOSPI", "listed_on": _LISTED_ON}
    etfs = [msgspec.structs.replace(each, **etf) for each in ordinary[_SHARES : _SHARES + products]]
    shares = [msgspec.structs.replace(each, exchange="KOSDAQ") for each in ordinary[:_SHARES]]
    contents = {"KOSPI": file_of(etfs), "KOSDAQ": file_of(shares)}
    dated = folder / f"{DEFAULT_BROKER}-master" / f"{DAY - timedelta(days=1):%Y-%m-%d}"
    dated.mkdir(parents=True)
    for exchange, name in MASTER_FILES.items():
        (dated / name).write_bytes(contents[exchange])
    return contents
