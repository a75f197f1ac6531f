"""The four phases of what is known of ETFs (requirement 002), each beside what the broker's limit makes it take.

Real parts at the real clock's speed: the simulated broker in a process of its own with a year of sessions, our REST
pipeline and permits, the bus, the core-writer. The floor of a phase is its calls, as the broker counted them, times the
limit's interval: 1,029 calls at 20 a second are 51.5 s. Phases that call nobody have none. The day is over (16:00), so
values bring the day's closing NAV too.

The measures come twice. The first time each fund's NAVs of 250 sessions are fetched, and the broker gives 100 days a
call: three calls a fund, 154 s for 1,029, once in a fund's life. After that it is one call a fund each Sunday. (The
requirement's "~102 sec" for three calls a fund counts 30 a second.)
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import httpx
import msgspec

from bus.events import Event, FundJob
from bus.outbox import Outbox
from bus.producer import Producer
from observer.bench.broker import RunningBroker, running_broker
from observer.bench.child import BenchError
from observer.bench.machine import Machine, this_machine
from observer.bench.path import Tell
from observer.bench.writer import RunningWriter, running_writer
from observer.brokers import PROVIDER
from observer.clock import kst_ns
from observer.funds.collector import FundCollector
from observer.practice import DAY
from observer.providers.kis.listings import parse_listings
from observer.reference.changes import ReferenceSettings
from observer.reference.etf_report import ETF_GROUP
from observer.reference.intake import MasterFile, take_in
from observer.schedule.phases import DayPlan, ScheduleSettings, plan
from observer.schedule.trading_day import TradingDay
from observer.simulator.chance import seeded_chance
from observer.simulator.files import MASTER_FILES
from observer.simulator.instruments import made_up_instruments
from observer.simulator.masters import file_of
from observer.simulator.tally import SimulatorCounters
from observer.store.engine import migrate
from observer.store.funds import FundReader

_SESSIONS: Final = 300  # more than the longest window wants: that none is older cannot be seen
_AT: Final = (16, 0)
_SHARES: Final = 500  # what the funds hold
_LISTED_ON: Final = "20200102"  # long ago: every fund has all its sessions
_SEED: Final = 7
_DRAIN_S: Final = 60.0
_ANEW: Final = 2**62  # a phase is done for all funds, whatever was done before
_PHASES: Final[Sequence[tuple[str, FundJob]]] = (
    ("list", "fund_list"),
    ("values", "fund_values"),
    ("measures, first time", "fund_measures"),
    ("ranges", "fund_ranges"),
    ("measures, every later time", "fund_measures"),
)


class PhaseSpan(msgspec.Struct, frozen=True):
    """How long a phase took until all of it was committed; `floor_s` and `ratio_to_floor` are None without calls."""

    name: str
    asked: int
    answered: int
    calls: int
    span_s: float
    floor_s: float | None
    ratio_to_floor: float | None


class FundsResult(msgspec.Struct, frozen=True):
    """The phases in their order; `first_s` is all four from nothing, `later_s` all four on any later Sunday."""

    machine: Machine
    funds: int
    rate: int
    phases: Sequence[PhaseSpan]
    first_s: float
    later_s: float
    rate_errors: int
    busiest_second_calls: int


async def measure_funds(folder: Path, funds: int, rate: int, tell: Tell) -> FundsResult:
    """Run every phase for so many ETFs, with one account of `rate` calls a second.

    Raises:
        BenchError: broker or writer did not come up, or not every fund was answered.
    """
    tell("starting the broker: it makes every symbol's day first")
    contents = _master_files(folder / "samples", funds)
    market = {"data": str(folder / "samples"), "history_days": _SESSIONS}
    async with (
        running_writer(folder / "writer") as writer,
        running_broker(folder / "broker", 2, 1, rate, at=_AT, market=market) as broker,
    ):
        phases = await _run_phases(broker, writer, contents, funds, rate, tell)
    spans_s = [phase.span_s for phase in phases]
    counters = broker.counters()
    return FundsResult(
        machine=this_machine(folder),
        funds=funds,
        rate=rate,
        phases=phases,
        first_s=sum(spans_s[:4]),
        later_s=sum(spans_s) - spans_s[2],
        rate_errors=counters.rate_errors,
        busiest_second_calls=max(counters.busiest_seconds),
    )


async def _run_phases(
    broker: RunningBroker, writer: RunningWriter, contents: dict[str, bytes], funds: int, rate: int, tell: Tell
) -> Sequence[PhaseSpan]:
    url = f"sqlite:///{writer.database}"
    migrate(url)
    phases = []
    async with _producer(writer) as producer:
        for exchange, content in contents.items():
            producer.publish_together(_listed(exchange, content))
        await _settled(producer)
        with FundReader(url) as reader:
            collector = _collector(broker, producer, reader)
            for name, job in _PHASES:
                tell(name)
                phases.append(await _phase(name, job, broker, producer, reader, collector, rate))
    for phase in phases:
        if phase.answered != funds:
            raise BenchError(f"{phase.name}: {phase.answered} of {funds} funds were answered")
    return phases


async def _phase(
    name: str,
    job: FundJob,
    broker: RunningBroker,
    producer: Producer,
    reader: FundReader,
    collector: FundCollector,
    rate: int,
) -> PhaseSpan:
    """Run one, and count what the broker was asked."""
    calls_before = await _calls_of(broker)
    began_s = time.perf_counter()
    await collector.run(job, _plan(), _ANEW)
    await _settled(producer)
    span_s = time.perf_counter() - began_s
    calls = await _calls_of(broker) - calls_before
    ended = reader.last_fund_jobs()[job]
    floor_s = calls / rate if calls else None
    ratio = None if floor_s is None else span_s / floor_s
    return PhaseSpan(name, ended.asked, ended.answered, calls, span_s, floor_s, ratio)


async def _calls_of(broker: RunningBroker) -> int:
    """How many requests the broker counted so far."""
    assert broker.settings.simulator is not None
    address = f"http://127.0.0.1:{broker.settings.simulator.rest_port}/simulator/counters"
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(address)
    return sum(msgspec.json.decode(answer.content, type=SimulatorCounters).requests.values())


# --- what is around the collector ----------------------------------------------------------------------------


def _collector(broker: RunningBroker, producer: Producer, reader: FundReader) -> FundCollector:
    return FundCollector(
        settings=broker.settings,
        clock=broker.clock,
        publisher=producer,
        reader=reader,
        open_calls=broker.brokers().funds,
        trading_days=_trading_days,
        settled=lambda: _settled(producer),
        source="funds",
    )


@contextlib.asynccontextmanager
async def _producer(writer: RunningWriter) -> AsyncIterator[Producer]:
    outbox = Outbox(writer.database.parent / "outbox", "funds", uuid.uuid4().hex)
    producer = Producer(outbox, writer.endpoints.ingest)
    delivery = asyncio.create_task(producer.run())
    try:
        yield producer
    finally:
        delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)
        producer.close()


async def _settled(producer: Producer) -> None:
    if not await producer.drain(_DRAIN_S):
        raise BenchError(f"{producer.unacknowledged} events were not committed within {_DRAIN_S:g} s")


def _plan() -> DayPlan:
    return plan(TradingDay(DAY, kst_ns(DAY, 9), kst_ns(DAY, 15, 30), "bench"), ScheduleSettings())


def _trading_days() -> Sequence[date]:
    days = [DAY - timedelta(days=back) for back in range(2 * _SESSIONS)]
    return [day for day in days if day.weekday() < 5]


def _listed(exchange: str, content: bytes) -> Sequence[Event]:
    listings, bad_lines = parse_listings(exchange, content)
    file = MasterFile(PROVIDER, exchange, listings, bad_lines, len(content), "", kst_ns(DAY, 6))
    _, events = take_in(file, {}, ReferenceSettings(), old_size_bytes=None)
    return events


def _master_files(folder: Path, funds: int) -> dict[str, bytes]:
    """Master files with so many ETFs, and the shares that they hold, where the simulated broker finds samples."""
    made_up = made_up_instruments(2 * (funds + _SHARES), DAY.isoformat(), seeded_chance(_SEED))
    ordinary = [each for each in made_up if each.ordinary and each.trades]
    etf = {"group": ETF_GROUP, "exchange": "KOSPI", "listed_on": _LISTED_ON}
    etfs = [msgspec.structs.replace(each, **etf) for each in ordinary[_SHARES : _SHARES + funds]]
    shares = [msgspec.structs.replace(each, exchange="KOSDAQ") for each in ordinary[:_SHARES]]
    contents = {"KOSPI": file_of(etfs), "KOSDAQ": file_of(shares)}
    dated = folder / "kis-master" / f"{DAY - timedelta(days=1):%Y-%m-%d}"
    dated.mkdir(parents=True)
    for exchange, name in MASTER_FILES.items():
        (dated / name).write_bytes(contents[exchange])
    return contents
