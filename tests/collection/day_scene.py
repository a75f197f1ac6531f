"""A day of Track B in one process: configuration, database, outbox and feed are real; the test plays the broker.

Market time stands unless the test moves it. What is published is stored when the test says so, as by the writer.
"""

import asyncio
import contextlib
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
import pytest

from bus.codec import decode_events, unpack
from bus.delivery import Delivered
from bus.events import ConnectionChanged, Event, SelectionAdvanced, SweepCompleted, UniverseBuilt
from bus.feed import FeedPublisher
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import Packed
from observer.base.clock import ManualClock
from observer.base.errors import ProviderError
from observer.base.local_time import local_ns
from observer.brokers.accounts.clients import Brokers
from observer.brokers.broker import Quote
from observer.brokers.connection_end import CONNECTION_LOST
from observer.collection.day import StreamingDay
from observer.collection.parts import DayParts
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.monitoring.alerts.process import Alerts
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.selection.sampling import SamplingSettings
from observer.selection.selector import Selector
from observer.selection.settings import SlotSettings
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from observer.system.config import load_settings
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

    def __init__(self, account, listener, *, is_down, is_silent):
        self.account = account
        self.listener = listener
        self._is_down, self.is_silent = is_down, is_silent
        self.subscribed = frozenset()
        self.anew = []  # symbols that were unsubscribed and subscribed again
        self.lost_at_end = []  # symbols whose removals the broker does not acknowledge at the end
        self._wanted = frozenset()
        self._left = set()

    def want(self, symbols, watched=()):
        del watched
        self._wanted = frozenset(symbols)
        if not self.is_silent:
            asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self):
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

    async def run(self):
        if not self._is_down:
            self.report("connected")
        try:
            await asyncio.Event().wait()
        finally:
            for symbol in self.lost_at_end:
                self.listener.on_unsubscribed(symbol, CONNECTION_LOST)

    def report(self, state):
        self.listener.on_connection(ConnectionChanged("kis", self.account, PLAN.track_b_start_ns, state, "", 0))


class Desk:
    """The broker's REST client: halted symbols, day volumes now and at the stop (now where it names none). Satisfies
    `QuoteSource`, `HaltSource`, `StopVolumes`.
    """

    def __init__(self):
        self.quotes_per_call = 30
        self.volumes = {}
        self.at_stops = {}
        self.quoted = []
        self.is_down = False
        self.failing = set()  # symbols whose calls fail
        self.halted = set()
        self.asked = []

    async def is_halted(self, symbol):
        self.asked.append(symbol)
        return symbol in self.halted

    async def at_stop(self, symbol, stop_ns, known, volume_now):
        return self.at_stops.get(symbol, volume_now)

    async def quotes(self, symbols, priority="bulk"):
        self.quoted += symbols
        if self.is_down or self.failing.intersection(symbols):
            raise ProviderError("down")
        known = [symbol for symbol in symbols if symbol in self.volumes]
        return [Quote(symbol, 0.0, *(None,) * 8, self.volumes[symbol], 0.0) for symbol in known]


class Market:
    """The database, the feed and the clock, over all processes of the day."""

    def __init__(self, folder, sampling, accounts, entries):
        self.folder = folder
        self.clock = ManualClock(PLAN.context_sync_ns)
        settings = load_settings(
            write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7, accounts=accounts))
        )
        slots = SlotSettings(max_slots=entries)
        selection = msgspec.structs.replace(settings.selection, slots=slots)
        track_b = msgspec.structs.replace(settings.track_b, evaluation_s=1.0, sampling=sampling)
        self.settings = msgspec.structs.replace(settings, selection=selection, track_b=track_b)
        self.url = f"sqlite:///{folder}/observer.db"
        make_database(self.url)
        self.writer = StoreWriter(self.url)
        self.writer.open()
        self.feed_address = f"ipc://{folder}/feed"
        self.feed = FeedPublisher(self.feed_address)
        self.desk = Desk()
        self.processes = 0
        self.down = set()  # accounts whose streams do not come up
        self.silent = set()  # accounts whose streams acknowledge no subscription
        self.sweeps = 0
        self.traded = {}  # by symbol: the day's volume, and its count of trades
        members = [member(each, rank=rank, market_cap=1e13 / rank, venue="KRX") for rank, each in enumerate(SYMBOLS, 1)]
        built = UniverseBuilt("kis", KOREAN_STOCKS, SESSION, SESSION, 0, len(members), len(members), 0.0)
        self.store("a" * 32, *members, built)

    def store(self, stream, *events):
        mark = self.writer.high_water_marks([stream])[stream]
        self.writer.commit([Delivered("test", stream, mark + 1, events)])

    def sweep(self, volume, besides=None, **changes):
        """Track A sees every symbol with this volume, `besides` with theirs."""
        self.sweeps += 1
        now_ns = self.clock.now_ns()
        swept = SweepCompleted("kis", SESSION, self.sweeps, now_ns, now_ns, 30, 30, 1)
        volumes = dict.fromkeys(SYMBOLS, volume) | dict(besides or {})
        found = [self._snapshots(self.sweeps, (symbol,), volumes[symbol], **changes)[0] for symbol in SYMBOLS]
        self.store("a" * 32, *found, swept)
        return swept

    def kill_in_sweep(self, volume):
        """Track A dies after a third of the symbols; its successor repeats the sweep under the same number."""
        self.store("a" * 32, *self._snapshots(self.sweeps + 1, SYMBOLS[::3], volume))

    def _snapshots(self, sweep, symbols, volume, **changes):
        times = {"session_date": SESSION, "sweep": sweep, "receive_time_ns": self.clock.now_ns()}
        return [seen(symbol, volume, **times, **changes) for symbol in symbols]

    def report(self, swept):
        self.feed.publish([Delivered("track-a", "a" * 32, 1, [swept])])

    def trade(self, symbol, volume, price):
        """The symbol trades now."""
        before, count = self.traded.get(symbol, (0.0, 0))
        self.traded[symbol] = before + volume, count + 1
        now_ns = self.clock.now_ns()
        made = trade(symbol=symbol, volume=volume, price=price, cumulative_volume=before + volume)
        times = {"exchange_time_ns": now_ns, "receive_time_ns": now_ns + 1}
        stated = {"session_date": SESSION, "venue": "KRX", "session": "regular", "cumulative_trades": count + 1}
        return msgspec.structs.replace(made, **stated, **times)

    def close(self):
        self.feed.close()
        self.writer.close()


class Process:
    """One process of Track B on that day."""

    def __init__(self, market, producer, outbox, reader):
        self.market = market
        self.producer, self._outbox = producer, outbox
        self.alerts = Alerts(market.clock, "track-b", producer.publish, runtime=market.folder)
        self._stored = 0
        self.reader = reader
        self.brokers = Brokers(market.settings.clients, market.clock, Random(1))
        self.lines = []
        for account in self.brokers.accounts:
            account.stream = partial(self._line, account.name)
        self.day = self.new_day(PLAN, None, market.clock)
        self.selector: Selector

    def new_day(self, plan, past, clock):
        parts = DayParts(
            provider=self.brokers.provider,
            quotes=past or self.market.desk,
            producer=self.producer,
            clock=clock,
            alerts=self.alerts,
            halts=self.market.desk,
            stop_volumes=past or self.market.desk,
            reader=self.reader,
            feed_address=self.market.feed_address,
        )
        return StreamingDay(plan, self.market.settings.streaming, self.brokers, parts)

    def _line(self, account, listener):
        is_down, is_silent = account in self.market.down, account in self.market.silent
        self.lines.append(Line(account, listener, is_down=is_down, is_silent=is_silent))
        return self.lines[-1]

    @property
    def events(self):
        """Events that this process has published so far."""
        self.producer.flush()
        return [event for _, events in self.batches(1) for event in events]

    def batches(self, sequence):
        while sequence <= self.producer.published:
            packed = self._outbox.batch_at(self._outbox.stream, sequence)
            assert isinstance(packed, Packed)
            yield sequence, decode_events(unpack(packed.content))
            sequence = packed.last_sequence + 1

    @property
    def steps(self):
        """The steps of the selection, in order."""
        return [str(advanced.step.__struct_config__.tag) for advanced in self.of(SelectionAdvanced)]

    def of(self, kind):
        """Published events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def stored(self):
        """The writer commits all of it."""
        self.producer.flush()
        for sequence, events in self.batches(self._stored + 1):
            self.market.writer.commit([Delivered("track-b", self._outbox.stream, sequence, events)])
        self._stored = self.producer.published

    async def until(self, condition, *, swept=None, step_s=1.0):
        """Advance market time by `step_s`, reporting `swept` each time, until the condition holds."""

        def is_so_or_time_goes_by():
            if condition():
                return True
            if swept is not None:
                self.market.report(swept)
            steps.add(asyncio.create_task(self.market.clock.advance(step_s)))
            return False

        steps = set()
        await until_async(is_so_or_time_goes_by)


@contextlib.contextmanager
def idle_process(market):
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

    def __init__(self):
        super().__init__()
        self._begun = []

    def create_task(self, coro, **options):
        task = super().create_task(coro, **options)
        self._begun.append(task)
        return task

    def cancel(self):
        for task in self._begun:
            task.cancel()


@asynccontextmanager
async def process(market):
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
def market(sampling=SamplingSettings(), accounts=1, slots=SLOTS):
    with short_folder() as folder, pytest.MonkeyPatch.context() as patches:
        patches.setattr("observer.collection.day.POLL_S", 0.01)
        made = Market(Path(folder), sampling, accounts, slots)
        try:
            yield made
        finally:
            made.close()
