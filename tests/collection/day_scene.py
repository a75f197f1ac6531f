"""A day of Track B in one process: configuration, database, outbox and feed are real; the test plays the broker.

Market time stands unless the test moves it. What is published is stored when the test says so, as by the writer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar

import msgspec
import pytest

from bus.codec import decode_events, unpack
from bus.delivery import Delivered
from bus.events import ConnectionChanged, Event, SelectionAdvanced, Snapshot, SweepCompleted, Trade, UniverseBuilt
from bus.feed import FeedPublisher
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import Packed
from observer.base.clock import Clock, ManualClock
from observer.base.errors import ProviderError
from observer.base.local_time import local_ns
from observer.brokers.accounts.clients import Brokers
from observer.brokers.broker import Priority, Quote, StreamListener
from observer.brokers.connection_end import CONNECTION_LOST
from observer.calendar.phases import DayPlan
from observer.collection.day import StreamingDay
from observer.collection.unfinished import WholeDay
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.monitoring.alerts.process import Alerts
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.selection.sampling import SamplingSettings
from observer.selection.selector import Selector
from observer.selection.settings import SlotSettings
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from observer.system.config import Settings, load_settings
from tests.builders import trade
from tests.day_plans import day_plan
from tests.folders import short_folder
from tests.selection.builders import member, seen
from tests.store.migrated import make_database
from tests.waiting import until_async

Kind = TypeVar("Kind", bound=Event)

SESSION = DAY.isoformat()
SYMBOLS = [f"{number:06d}" for number in range(30)]
SLOTS = 10
OPENS_NS, CLOSES_NS = local_ns(DAY, 9), local_ns(DAY, 15, 30)
PLAN = day_plan(DAY)


class Line:
    """A broker's connection that takes every subscription, if it comes up at all; a silent one answers none. Satisfies
    `TradeStream`.
    """

    capacity = 41
    held_back_since_ns: int | None = None

    def __init__(self, account: str, listener: StreamListener, *, is_down: bool, is_silent: bool) -> None:
        self.account = account
        self.listener = listener
        self._is_down, self.is_silent = is_down, is_silent
        self.subscribed: frozenset[str] = frozenset()
        self.anew: list[str] = []  # symbols that were unsubscribed and subscribed again
        self.lost_at_end: list[str] = []  # symbols whose removals the broker does not acknowledge at the end
        self._wanted: frozenset[str] = frozenset()
        self._left: set[str] = set()

    def want(self, symbols: Sequence[str], watched: Sequence[str] = ()) -> None:
        del watched
        self._wanted = frozenset(symbols)
        if not self.is_silent:
            asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        gone, new = self.subscribed - self._wanted, self._wanted - self.subscribed
        self.subscribed = self._wanted
        for symbol in sorted(gone):
            self._left.add(symbol)
            self.listener.on_requested(symbol, removal=True)
            self.listener.on_unsubscribed(symbol, "removed")
        for symbol in sorted(new):
            self.anew += [symbol] if symbol in self._left else []
            self.listener.on_requested(symbol)
            self.listener.on_subscribed(symbol)

    async def run(self) -> None:
        if not self._is_down:
            self.report("connected")
        try:
            await asyncio.Event().wait()
        finally:
            for symbol in self.lost_at_end:
                self.listener.on_unsubscribed(symbol, CONNECTION_LOST)

    def report(self, state: Literal["connected", "lost", "refused", "suspended"]) -> None:
        self.listener.on_connection(ConnectionChanged("kis", self.account, PLAN.track_b_start_ns, state, "", 0))


class Desk:
    """The broker's REST client: halted symbols, day volumes now and at the stop (now where it names none). Satisfies
    `QuoteSource`, `HaltSource`, `StopVolumes`.
    """

    def __init__(self) -> None:
        self.quotes_per_call = 30
        self.volumes: dict[str, float] = {}
        self.at_stops: dict[str, float] = {}
        self.quoted: list[str] = []
        self.is_down = False
        self.failing: set[str] = set()  # symbols whose calls fail
        self.halted: set[str] = set()
        self.asked: list[str] = []

    async def is_halted(self, symbol: str) -> bool:
        self.asked.append(symbol)
        return symbol in self.halted

    async def at_stop(self, symbol: str, stop_ns: int, known: float, volume_now: float) -> float | None:
        return self.at_stops.get(symbol, volume_now)

    async def quotes(self, symbols: Sequence[str], priority: Priority = "bulk") -> Sequence[Quote]:
        self.quoted += symbols
        if self.is_down or self.failing.intersection(symbols):
            raise ProviderError("down")
        known = [symbol for symbol in symbols if symbol in self.volumes]
        return [Quote(symbol, 0.0, *(None,) * 8, self.volumes[symbol], 0.0) for symbol in known]


class Market:
    """The database, the feed and the clock, over all processes of the day."""

    def __init__(self, folder: Path, sampling: SamplingSettings, accounts: int, entries: int) -> None:
        self.folder = folder
        self.clock = ManualClock(PLAN.context_sync_ns)
        settings = load_settings(
            write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7, accounts=accounts))
        )
        slots = SlotSettings(max_slots=entries)
        selection = msgspec.structs.replace(settings.selection, slots=slots)
        track_b = msgspec.structs.replace(settings.track_b, evaluation_s=1.0, sampling=sampling)
        self.settings: Settings = msgspec.structs.replace(settings, selection=selection, track_b=track_b)
        self.url = f"sqlite:///{folder}/observer.db"
        make_database(self.url)
        self.writer = StoreWriter(self.url)
        self.writer.open()
        self.feed_address = f"ipc://{folder}/feed"
        self.feed = FeedPublisher(self.feed_address)
        self.desk = Desk()
        self.processes = 0
        self.down: set[str] = set()  # accounts whose streams do not come up
        self.silent: set[str] = set()  # accounts whose streams acknowledge no subscription
        self.sweeps = 0
        self.traded: dict[str, tuple[float, int]] = {}  # by symbol: the day's volume, and its count of trades
        members = [member(each, rank=rank, market_cap=1e13 / rank, venue="KRX") for rank, each in enumerate(SYMBOLS, 1)]
        built = UniverseBuilt("kis", KOREAN_STOCKS, SESSION, SESSION, 0, len(members), len(members), 0.0)
        self.store("a" * 32, *members, built)

    def store(self, stream: str, *events: Event) -> None:
        mark = self.writer.high_water_marks([stream])[stream]
        self.writer.commit([Delivered("test", stream, mark + 1, events)])

    def sweep(self, volume: float, besides: Mapping[str, float] | None = None, **changes: object) -> SweepCompleted:
        """Track A sees every symbol with this volume, `besides` with theirs."""
        self.sweeps += 1
        now_ns = self.clock.now_ns()
        swept = SweepCompleted("kis", SESSION, self.sweeps, now_ns, now_ns, 30, 30, 1)
        volumes = dict.fromkeys(SYMBOLS, volume) | dict(besides or {})
        found = [self._snapshots(self.sweeps, (symbol,), volumes[symbol], **changes)[0] for symbol in SYMBOLS]
        self.store("a" * 32, *found, swept)
        return swept

    def kill_in_sweep(self, volume: float) -> None:
        """Track A dies after a third of the symbols; its successor repeats the sweep under the same number."""
        self.store("a" * 32, *self._snapshots(self.sweeps + 1, SYMBOLS[::3], volume))

    def _snapshots(self, sweep: int, symbols: Sequence[str], volume: float, **changes: object) -> Sequence[Snapshot]:
        times = {"session_date": SESSION, "sweep": sweep, "receive_time_ns": self.clock.now_ns()}
        return [seen(symbol, volume, **times, **changes) for symbol in symbols]

    def report(self, swept: SweepCompleted) -> None:
        self.feed.publish([Delivered("track-a", "a" * 32, 1, [swept])])

    def trade(self, symbol: str, volume: float, price: float) -> Trade:
        """The symbol trades now."""
        before, count = self.traded.get(symbol, (0.0, 0))
        self.traded[symbol] = before + volume, count + 1
        now_ns = self.clock.now_ns()
        made = trade(symbol=symbol, volume=volume, price=price, cumulative_volume=before + volume)
        times = {"exchange_time_ns": now_ns, "receive_time_ns": now_ns + 1}
        stated = {"session_date": SESSION, "venue": "KRX", "session": "regular", "cumulative_trades": count + 1}
        return msgspec.structs.replace(made, **stated, **times)

    def close(self) -> None:
        self.feed.close()
        self.writer.close()


class Process:
    """One process of Track B on that day."""

    def __init__(self, market: Market, producer: Producer, outbox: Outbox, reader: StoreReader) -> None:
        self.market = market
        self.producer, self._outbox = producer, outbox
        self.alerts = Alerts(market.clock, "track-b", producer.publish, runtime=market.folder)
        self._stored = 0
        self.reader = reader
        self.brokers = Brokers(market.settings.clients, market.clock, Random(1))
        self.lines: list[Line] = []
        for account in self.brokers.accounts:
            account.stream = partial(self._line, account.name)
        self.day = self.new_day(PLAN, None, market.clock)
        self.selector: Selector

    def new_day(self, plan: DayPlan, past: WholeDay | None, clock: Clock) -> StreamingDay:
        return StreamingDay(
            plan=plan,
            settings=self.market.settings.streaming,
            brokers=self.brokers,
            quotes=past or self.market.desk,
            halts=self.market.desk,
            stop_volumes=past or self.market.desk,
            producer=self.producer,
            alerts=self.alerts,
            reader=self.reader,
            feed_address=self.market.feed_address,
            clock=clock,
        )

    def _line(self, account: str, listener: StreamListener) -> Line:
        is_down, is_silent = account in self.market.down, account in self.market.silent
        self.lines.append(Line(account, listener, is_down=is_down, is_silent=is_silent))
        return self.lines[-1]

    @property
    def events(self) -> list[Event]:
        """Events that this process has published so far."""
        self.producer.flush()
        return [event for _, events in self.batches(1) for event in events]

    def batches(self, sequence: int) -> Iterator[tuple[int, Sequence[Event]]]:
        while sequence <= self.producer.published:
            packed = self._outbox.batch_at(self._outbox.stream, sequence)
            assert isinstance(packed, Packed)
            yield sequence, decode_events(unpack(packed.content))
            sequence = packed.last_sequence + 1

    @property
    def steps(self) -> list[str]:
        """The steps of the selection, in order."""
        return [str(advanced.step.__struct_config__.tag) for advanced in self.of(SelectionAdvanced)]

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Published events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def stored(self) -> None:
        """The writer commits all of it."""
        self.producer.flush()
        for sequence, events in self.batches(self._stored + 1):
            self.market.writer.commit([Delivered("track-b", self._outbox.stream, sequence, events)])
        self._stored = self.producer.published

    async def until(
        self, condition: Callable[[], object], *, swept: SweepCompleted | None = None, step_s: float = 1.0
    ) -> None:
        """Advance market time by `step_s`, reporting `swept` each time, until the condition holds."""

        def is_so_or_time_goes_by() -> bool:
            if condition():
                return True
            if swept is not None:
                self.market.report(swept)
            steps.add(asyncio.create_task(self.market.clock.advance(step_s)))
            return False

        steps: set[asyncio.Task[None]] = set()
        await until_async(is_so_or_time_goes_by)


@contextlib.contextmanager
def idle_process(market: Market) -> Iterator[Process]:
    """A process that has not begun a day; what it published is stored at the end of the block."""
    market.processes += 1
    stream = f"{market.processes:032d}"
    outbox = Outbox(market.folder / f"outbox-{stream}", "track-b", stream)
    producer = Producer(outbox, f"ipc://{market.folder}/no-writer")
    with StoreReader(market.url) as reader:
        running = Process(market, producer, outbox, reader)
        try:
            yield running
        finally:
            running.stored()
    producer.close()


class Tasks(asyncio.TaskGroup):
    """The tasks of a process, also those that it starts later."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: list[asyncio.Task[Any]] = []

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **options)
        self._begun.append(task)
        return task

    def cancel(self) -> None:
        for task in self._begun:
            task.cancel()


@asynccontextmanager
async def process(market: Market) -> AsyncIterator[Process]:
    """A process that has begun its day; the end of the block kills it without any further event."""
    with idle_process(market) as running, contextlib.suppress(asyncio.CancelledError):
        async with Tasks() as tasks:
            beginning = tasks.create_task(running.day.begin(tasks))
            await running.until(beginning.done)
            running.selector, _following = beginning.result()
            try:
                yield running
            finally:
                tasks.cancel()


@contextlib.contextmanager
def market(sampling: SamplingSettings, accounts: int = 1, slots: int = SLOTS) -> Iterator[Market]:
    with short_folder() as folder, pytest.MonkeyPatch.context() as patches:
        patches.setattr("observer.collection.day.POLL_S", 0.01)
        made = Market(Path(folder), sampling, accounts, slots)
        try:
            yield made
        finally:
            made.close()
