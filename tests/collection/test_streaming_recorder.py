"""Symbols released with a pending volume query and subscribed again before its answer."""

import asyncio

import pytest

from bus.codec import decode_events, unpack
from bus.events import GapDetected, Trade
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import Packed
from observer.base.clock import ManualClock
from observer.brokers.broker import Quote
from observer.collection.parts import StreamParts
from observer.collection.recorder import NO_ACCOUNT, TradeRecorder
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS
from tests.builders import screen, trades

SYMBOL = "005930"


def quote_of(symbol, cumulative_volume):
    return Quote(symbol, 0.0, None, None, None, None, None, None, None, None, cumulative_volume, 0.0)


class SlowQuotes:
    """A broker whose answers come when the test lets them."""

    quotes_per_call = 30

    def __init__(self, cumulative_volume):
        self.answer = asyncio.Event()
        self.asked = asyncio.Event()
        self._cumulative_volume = cumulative_volume

    async def quotes(self, symbols, priority="bulk"):
        self.asked.set()
        await self.answer.wait()
        return [quote_of(symbol, self._cumulative_volume) for symbol in symbols]


class Scene:
    """A symbol with five trades and a lost connection, under release; the query for its day volume is pending."""

    def __init__(self, folder, missed, account="main"):
        self.quotes = SlowQuotes(missed[-1].cumulative_volume)
        self._outbox = Outbox(folder / "outbox", "test", "1" * 32)
        self.producer = Producer(self._outbox, f"ipc://{folder}/no-writer")
        self.seen = []
        alerts = Alerts(ManualClock(), "track-b", self.producer.publish)
        parts = StreamParts(
            provider="kis", quotes=self.quotes, producer=self.producer, clock=ManualClock(), alerts=alerts
        )
        self.recorder = TradeRecorder(
            parts,
            screen(),
            apply=self.seen.append,
            quarantine=self.producer.publish,
            account_of=lambda _symbol: account,
        )
        self.recorder.watch(SYMBOL)
        for trade in trades(5):
            self.recorder.take(trade)
        assert self.seen == trades(5)
        self.recorder.detector.interrupted(SYMBOL, "reconnect")
        self.settling = []

    def events(self):
        """What is published."""
        self.producer.flush()
        found, sequence = [], 1
        while sequence <= self.producer.published:
            packed = self._outbox.batch_at(self._outbox.stream, sequence)
            assert isinstance(packed, Packed)
            found += decode_events(unpack(packed.content))
            sequence = packed.last_sequence + 1
        return found

    def leave(self):
        def start(symbols):
            self.settling.append(asyncio.get_running_loop().create_task(self.recorder.settle(symbols)))

        self.recorder.leave(SYMBOL, start)

    async def answered(self):
        self.quotes.answer.set()
        await asyncio.gather(*self.settling)


@pytest.fixture
def missed():
    return trades(3, first=6)


async def test_a_symbol_that_comes_back_while_it_is_being_left_is_still_watched(tmp_path, missed):
    scene = Scene(tmp_path, missed)
    scene.leave()
    await scene.quotes.asked.wait()
    scene.recorder.watch(SYMBOL)
    await scene.answered()
    assert scene.recorder.detector.watched == {SYMBOL}
    after = trades(1, first=9)[0]
    gap = scene.recorder.detector.observe(after)
    assert isinstance(gap, GapDetected)
    assert gap.missing_volume == sum(trade.volume for trade in missed)
    scene.recorder.take(after)
    assert after not in scene.seen, "it was judged before"
    scene.producer.close()


async def test_a_symbol_that_stays_away_is_settled_and_watched_no_longer(tmp_path, missed):
    scene = Scene(tmp_path, missed)
    before = scene.producer.published
    scene.leave()
    await scene.answered()
    scene.producer.flush()
    assert scene.recorder.detector.watched == frozenset()
    assert scene.producer.published == before + 1 + 5 + 2, "the start, five trades, that it is settled, and the gap"
    scene.producer.close()


def dropped():
    samples = (each for each in COUNTERS.samples() if each.metric == "observer_unwatched_trades_dropped_total")
    return sum(each.value for each in samples)


@pytest.mark.parametrize(("account", "is_stored"), [("main", True), (NO_ACCOUNT, False)])
async def test_a_trade_of_an_unwatched_symbol_is_stored_while_it_has_a_slot(tmp_path, missed, account, is_stored):
    scene = Scene(tmp_path, missed, account)
    scene.recorder.watch(SYMBOL)
    scene.recorder.detector.stop(SYMBOL)
    before = dropped()
    scene.recorder.take(missed[0])
    assert dropped() - before == (not is_stored)
    scene.recorder.take(missed[0])
    kept = [missed[0]] if is_stored else []
    assert scene.seen[5:] == kept
    assert [each for each in scene.events() if isinstance(each, Trade)] == [*trades(5), *kept]
    scene.producer.close()


async def test_a_symbol_that_returns_and_leaves_again_is_settled_once(tmp_path, missed):
    scene = Scene(tmp_path, missed)
    scene.leave()
    await scene.quotes.asked.wait()
    scene.recorder.watch(SYMBOL)
    scene.leave()
    await scene.answered()
    scene.producer.flush()
    assert len(scene.settling) == 2
    assert scene.recorder.detector.watched == frozenset()
    assert scene.producer.published == 1 + 5 + 1 + 2, "start, five trades, start again, that it is settled, the gap"
    scene.producer.close()
