"""A day of Track B that is ended in the after-market, against the simulator: no false gap, and each true one."""

from contextlib import asynccontextmanager
from datetime import date

import msgspec

from bus.codec import decode_events, unpack
from bus.events import GapDetected
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import Packed
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.brokers.kis.client import KisClient
from observer.collection.late_end import LateEnd, TradesAroundStop
from observer.collection.parts import StreamParts
from observer.collection.recorder import TradeRecorder
from observer.gaps import recovery
from observer.gaps.detector import Mark
from observer.gaps.recovery import RecoverySettings
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader
from tests.builders import screen
from tests.conformance.test_providers_kis_simulator import SETTINGS, pipeline_to_a_simulator
from tests.day_plans import day_plan
from tests.store.migrated import make_database

DAY = date(2026, 11, 18)
PLAN = day_plan(DAY)  # Track B stops at 15:00
DIED_NS = PLAN.track_b_stop_ns - 600 * 10**9
LATE_NS = local_ns(DAY, 17)
BOTH_VENUES = msgspec.structs.replace(SETTINGS, venues=("KRX", "NXT"), trades_times=0.3)
LIVELY = 4


class Evening:
    """A process that begins at 17:00 and ends the day of one that stopped while streaming."""

    def __init__(self, folder, client, market, clock, reader):
        self.client, self.market, self.clock = client, market, clock
        self.outbox = Outbox(folder / "outbox", "test", "1" * 32)
        self.producer = Producer(self.outbox, f"ipc://{folder}/ingest")
        alerts = Alerts(clock, "track-b", self.producer.publish)
        parts = StreamParts(provider="kis", quotes=client, producer=self.producer, clock=clock, alerts=alerts)
        self.recorder = TradeRecorder(
            parts,
            screen(DAY.isoformat()),
            apply=lambda _kept: None,
            quarantine=self.producer.publish,
            account_of=lambda _symbol: "main",
            late_end=LateEnd(TradesAroundStop(client, clock, PLAN), PLAN, reader, clock, alerts),
        )
        sizes = {each.symbol: len(market.tape(each.symbol)) for each in market.instruments}
        in_order = sorted(sizes, key=lambda symbol: -sizes[symbol])
        quiet = [symbol for symbol in in_order if sizes[symbol] > 2]
        self.symbols = [*in_order[:LIVELY], *quiet[-2:]]

    def stored(self, symbol, until_ns):
        """The last trade of the symbol before a moment, as the earlier process stored it."""
        last = [each for each in self.market.offered_here(symbol, "KRX") if each.exchange_time_ns < until_ns][-1]
        return Mark(symbol, DAY.isoformat(), float(last.cumulative_volume), None, last.exchange_time_ns)

    async def end(self, marks):
        self.recorder.resume(marks.values(), DIED_NS, {})
        for symbol in marks:
            self.recorder.watch(symbol)
        await self.recorder.leave_all()

    @property
    def gaps(self):
        """Those that were published."""
        self.producer.flush()
        found, sequence = list[GapDetected](), 1
        while sequence <= self.producer.published:
            packed = self.outbox.batch_at(self.outbox.stream, sequence)
            assert isinstance(packed, Packed)
            found += [each for each in decode_events(unpack(packed.content)) if isinstance(each, GapDetected)]
            sequence = packed.last_sequence + 1
        return found


@asynccontextmanager
async def evening(folder):
    clock, url = ManualClock(LATE_NS), f"sqlite:///{folder}/observer.db"
    make_database(url)
    with StoreReader(url) as reader:
        async with pipeline_to_a_simulator(BOTH_VENUES, clock) as (pipeline, market):
            made = Evening(folder, KisClient(pipeline), market, clock, reader)
            yield made
            made.producer.close()


async def test_a_day_ended_in_the_after_market_has_no_gap_where_everything_until_the_stop_is_stored(tmp_path):
    async with evening(tmp_path) as late:
        marks = {symbol: late.stored(symbol, PLAN.track_b_stop_ns) for symbol in late.symbols}
        now = {quote.symbol: quote.cumulative_volume for quote in await late.client.quotes(late.symbols)}
        assert all(now[symbol] > marks[symbol].cumulative_volume for symbol in late.symbols[:LIVELY])
        await late.end(marks)
        assert late.gaps == []


async def test_a_true_gap_ends_at_the_stop_and_is_recovered_whole(tmp_path):
    async with evening(tmp_path) as late:
        symbol, *others = late.symbols
        marks = {each: late.stored(each, PLAN.track_b_stop_ns) for each in others}
        at_stop = late.stored(symbol, PLAN.track_b_stop_ns)
        marks[symbol] = late.stored(symbol, DIED_NS)
        await late.end(marks)
        [gap] = late.gaps
        assert (gap.symbol, gap.after_volume) == (symbol, marks[symbol].cumulative_volume)
        assert (gap.before_volume, gap.to_ns) == (at_stop.cumulative_volume, PLAN.track_b_stop_ns)
        planned = recovery.plan(gap, RecoverySettings())
        rows = await late.client.trades_between(symbol, planned.from_ns, planned.to_ns, gap.after_volume)
        found = recovery.select(rows, gap, late.clock.now_ns())
        assert found.complete
        assert _latest(found.trades) < PLAN.track_b_stop_ns


def _latest(trades):
    return max(trade.exchange_time_ns for trade in trades)
