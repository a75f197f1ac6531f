"""False trades among real ones: the real ones are all stored, the false ones go to quarantine."""

import asyncio
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.codec import decode_events, unpack
from bus.events import (
    AlertRaised,
    AlertResolved,
    GapDetected,
    InputQuarantined,
    Trade,
    WatchChanged,
    WatchInterrupted,
)
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import Packed
from observer.base.clock import ManualClock
from observer.base.errors import ProviderError
from observer.base.units import NS_PER_S
from observer.brokers.broker import Quote
from observer.collection import held_trades
from observer.collection.parts import StreamParts
from observer.collection.recorder import CONTRADICTIONS_MAX, TradeRecorder
from observer.gaps.detector import Mark
from observer.gaps.plausibility import TradeScreen, TradingHours, observed_state
from observer.monitoring.alerts.process import Alerts
from tests.builders import trade
from tests.folders import short_folder
from tests.scenes import on
from tests.waiting import DEADLINE_S

SYMBOL, OTHER, DAY = "005930", "000660", "2026-11-18"
OPENS_NS = trade(0).exchange_time_ns
AVERAGE = 23_400.0  # a share a second: 6,000 more are plausible at once
PLAUSIBLE = 6_000.0


class Broker:
    """The broker's quotes. Satisfies `QuoteSource`."""

    quotes_per_call = 30

    def __init__(self):
        self.volume = 0.0
        self.limits = (49_000.0, 91_000.0)
        self.high = 70_000.0
        self.is_down = False
        self.asked = []
        self.while_asked = lambda: None  # once

    async def quotes(self, symbols, priority="bulk"):
        self.asked.append(priority)
        self.while_asked, act = lambda: None, self.while_asked
        act()
        if self.is_down:
            raise ProviderError("down")
        lower, upper = self.limits
        prices = (70_000.0, None, self.high, 69_000.0, None, upper, lower, None, None)
        return [Quote(symbol, *prices, self.volume, 0.0) for symbol in symbols]


class Scene:
    """A recorder of one watched symbol, and its broker."""

    def __init__(self, folder):
        self.clock = ManualClock(OPENS_NS)
        self.broker = Broker()
        self._outbox = Outbox(folder / "outbox", "test", "1" * 32)
        self.producer = Producer(self._outbox, f"ipc://{folder}/ingest")
        self.screen = TradeScreen(TradingHours(DAY, OPENS_NS - 10**13, OPENS_NS + 10**14, OPENS_NS))
        self.seen = []
        self.begin()

    def begin(self, *marks):
        """A process begins, after an earlier one with these marks."""
        alerts = Alerts(self.clock, "track-b", self.producer.publish)
        parts = StreamParts(provider="kis", quotes=self.broker, producer=self.producer, clock=self.clock, alerts=alerts)
        self.recorder = TradeRecorder(
            parts,
            self.screen,
            apply=self.seen.append,
            quarantine=self.producer.publish,
            account_of=lambda _symbol: "main",
        )
        self.screen.observe(SYMBOL, observed_state(0.0, OPENS_NS, self.broker.limits, []))
        self.screen.expect(SYMBOL, AVERAGE)
        self.recorder.resume(marks, self.clock.now_ns(), {})
        self.recorder.watch(SYMBOL)

    def real(self, first, last):
        """These trades of the market, of a share each; the broker's quotes know them."""
        for number in range(first, last + 1):
            self.broker.volume = max(self.broker.volume, float(number))
            self.recorder.take(real_trade(number))

    async def decided(self, rounds=held_trades.QUOTES_TO_REFUTE):
        for _ in range(rounds):
            await self.recorder.held.decide()

    @property
    def events(self):
        self.producer.flush()
        found = []
        while len(found) < self.producer.published:
            packed = self._outbox.batch_at(self._outbox.stream, len(found) + 1)
            assert isinstance(packed, Packed)
            found += decode_events(unpack(packed.content))
        return found

    @property
    def numbers(self):
        """The stored trades by the day's volume, in the order of the events."""
        return [event.cumulative_volume for event in self.events if isinstance(event, Trade)]

    @property
    def quarantined(self):
        return [msgspec.json.decode(each.content, type=Trade) for each in self.quarantine]

    @property
    def quarantine(self):
        return [event for event in self.events if isinstance(event, InputQuarantined)]

    @property
    def gaps(self):
        return [(gap.after_volume, gap.before_volume) for gap in self.events if isinstance(gap, GapDetected)]

    @property
    def alerts(self):
        return [event.identity for event in self.events if isinstance(event, AlertRaised)]


@contextmanager
def scene():
    with short_folder() as folder:
        made = Scene(Path(folder))
        try:
            yield made
        finally:
            made.producer.close()


def real_trade(number):
    """The trade of this number. Those from 10,000 on follow at once upon the first ones: others are missing between."""
    late = trade(number - 10_000 + 5)
    times = {"exchange_time_ns": late.exchange_time_ns, "receive_time_ns": late.receive_time_ns}
    return trade(number, **times) if number > 10_000 else trade(number)


def false(number, **changes):
    """A false trade beside the real trade of this number."""
    return trade(number, **changes)


THOUSANDFOLD = false(5, cumulative_volume=5e6)
BLOCK = false(5, volume=5e6 - 5, cumulative_volume=5e6)
DEAR = false(6, price=700_000.0)


def swept(made):
    """A sweep shows the volume that the broker's quotes know."""
    made.screen.observe(SYMBOL, observed_state(made.broker.volume, made.clock.now_ns(), made.broker.limits, []))


# --- a jump ---


@pytest.mark.parametrize("poison", [THOUSANDFOLD, BLOCK, DEAR])
@on(scene)
async def test_real_trades_go_on_while_a_false_one_is_held_and_then_put_in_quarantine(made, poison):
    made.real(1, 5)
    made.recorder.take(poison)
    made.real(6, 9)
    assert made.numbers == list(range(1, 10))
    assert made.quarantine == []
    await made.decided()
    made.real(10, 12)
    assert made.numbers == list(range(1, 13))
    assert made.gaps == []
    assert made.quarantined == [poison]
    assert made.alerts == ["implausible_trades"]


@on(scene)
async def test_the_alert_and_the_quarantine_name_symbol_account_and_reason(made):
    made.real(1, 5)
    made.recorder.take(THOUSANDFOLD)
    await made.decided()
    [item] = made.quarantine
    [alert] = [event for event in made.events if isinstance(event, AlertRaised)]
    assert item.source == "kis.trade"
    assert item.reason.startswith("the day's volume grows from 5 to 5,000,000, plausible are 6,")
    assert item.reason.endswith("; the quote says 5")
    assert alert.text == f"a trade of {SYMBOL} (account main) is in quarantine: {item.reason}"


@on(scene)
async def test_a_false_first_trade_of_a_subscription_starts_no_chain(made):
    made.recorder.take(THOUSANDFOLD)
    made.real(6, 9)
    await made.decided()
    assert made.numbers == [6, 7, 8, 9]
    assert made.quarantined == [THOUSANDFOLD]


@on(scene)
async def test_a_real_jump_is_released_in_order_with_its_gap_once_the_quote_shows_it(made):
    made.real(1, 5)
    made.real(10_001, 10_003)
    assert made.numbers == [1, 2, 3, 4, 5]
    await made.decided(1)
    made.real(10_004, 10_004)
    assert made.numbers == [1, 2, 3, 4, 5, 10_001, 10_002, 10_003, 10_004]
    assert made.gaps == [(5, 10_000)]
    assert made.quarantine == []
    assert made.broker.asked == ["urgent"]
    assert made.seen == [event for event in made.events if isinstance(event, Trade)]


@on(scene)
async def test_a_real_block_trade_passes_once_the_quote_shows_it(made):
    made.real(1, 5)
    block = trade(6, volume=50_000.0, cumulative_volume=50_005.0)
    made.broker.volume = 50_005.0
    made.recorder.take(block)
    made.recorder.take(trade(7, cumulative_volume=50_006.0))
    await made.decided(1)
    assert made.numbers == [1, 2, 3, 4, 5, 50_005, 50_006]
    assert made.gaps == []


@on(scene)
async def test_an_opening_auction_and_a_resumption_after_an_interruption_of_minutes_are_not_held(made):
    made.recorder.take(trade(1, volume=PLAUSIBLE, cumulative_volume=PLAUSIBLE))  # a quarter of a usual day
    made.recorder.take(trade(150, volume=PLAUSIBLE, cumulative_volume=2 * PLAUSIBLE))
    assert made.numbers == [PLAUSIBLE, 2 * PLAUSIBLE]
    assert made.recorder.held.symbols == set()


@on(scene)
async def test_a_reconnection_after_a_long_outage_needs_no_quote(made):
    made.real(1, 5)
    made.recorder.interrupt(SYMBOL, "reconnect")
    made.recorder.take(trade(3_600, cumulative_volume=60_000.0))
    assert made.gaps == [(5, 59_999)]
    assert made.broker.asked == []


@on(scene)
async def test_a_quote_that_lags_behind_the_stream_is_asked_for_again(made):
    made.real(1, 5)
    made.recorder.take(real_trade(10_001))
    await made.decided(1)
    assert made.quarantine == []
    made.broker.volume = 10_001.0
    await made.decided(1)
    assert made.numbers[-1] == 10_001


@on(scene)
async def test_a_price_beyond_the_limits_passes_if_the_brokers_own_prices_reach_it(made):
    made.real(1, 5)
    made.recorder.take(DEAR)
    made.broker.high = DEAR.price
    await made.decided(1)
    assert made.numbers == [1, 2, 3, 4, 5, 6]
    assert made.quarantine == []


@on(scene)
async def test_a_false_price_with_a_volume_that_is_not_new_goes_to_quarantine_at_once(made):
    made.real(1, 7)
    made.recorder.take(DEAR)
    assert made.quarantined == [DEAR]
    assert "its volume is not new" in made.quarantine[0].reason


@pytest.mark.parametrize("changes", [{"session_date": "2026-11-19"}, {"exchange_time_ns": OPENS_NS + 2 * 10**14}])
@on(scene)
async def test_a_misdated_trade_goes_to_quarantine_at_once_and_leaves_the_chain(made, changes):
    made.real(1, 5)
    poison = false(6, **changes)
    made.recorder.take(poison)
    made.real(6, 9)
    assert made.numbers == list(range(1, 10))
    assert made.quarantined == [poison]
    assert made.broker.asked == []


# --- without an answer of the broker ---


@on(scene)
async def test_without_a_quote_two_trades_that_continue_the_old_chain_refute_a_jump(made):
    made.broker.is_down = True
    made.real(1, 5)
    made.recorder.take(THOUSANDFOLD)
    made.real(6, 6)
    await made.decided(3)
    assert made.quarantine == []
    made.real(7, 7)
    await made.decided(1)
    assert made.quarantined == [THOUSANDFOLD]
    assert made.numbers == list(range(1, 8))


@on(scene)
async def test_without_a_quote_two_trades_that_continue_the_jump_confirm_it(made):
    made.broker.is_down = True
    made.real(1, 5)
    made.real(10_001, 10_002)
    await made.decided(3)
    assert made.numbers == [1, 2, 3, 4, 5]
    made.real(10_003, 10_003)
    await made.decided(1)
    assert made.numbers == [1, 2, 3, 4, 5, 10_001, 10_002, 10_003]
    assert made.gaps == [(5, 10_000)]


@on(scene)
async def test_a_jump_that_nothing_decides_is_given_up_and_the_next_real_trade_shows_it_as_a_gap(
    made,
    monkeypatch,
):
    monkeypatch.setattr(held_trades, "HELD_S_MAX", -1.0)

    made.broker.is_down = True
    made.real(1, 5)
    made.real(10_001, 10_001)
    await made.decided(1)
    assert made.quarantined == [real_trade(10_001)]
    made.broker.is_down = False
    made.real(10_002, 10_002)
    await made.decided(1)
    assert made.gaps == [(5, 10_001)]


@on(scene)
async def test_no_first_trade_of_a_subscription_is_lost_if_a_sweep_confirms_the_trades_after_it(made):
    made.real(10_001, 10_003)
    swept(made)
    made.real(10_004, 10_006)
    await made.decided(1)
    assert made.numbers == list(range(10_001, 10_007))
    assert made.quarantine == []


@on(scene)
async def test_no_trade_of_a_surge_is_a_gap_if_a_sweep_confirms_the_trades_after_it(made):
    made.real(1, 5)
    made.real(10_001, 10_003)
    swept(made)
    made.real(10_004, 10_006)
    await made.decided(1)
    assert made.numbers == [*range(1, 6), *range(10_001, 10_007)]
    assert made.gaps == [(5, 10_000)]


@on(scene)
async def test_without_a_quote_a_jump_confirms_no_false_trade_that_is_held_with_it(made):
    made.broker.is_down = True
    made.real(1, 5)
    made.recorder.take(THOUSANDFOLD)
    made.real(10_001, 10_003)
    await made.decided(1)
    assert made.numbers == [1, 2, 3, 4, 5, 10_001, 10_002, 10_003]
    made.real(10_004, 10_005)
    await made.decided(1)
    assert made.quarantined == [THOUSANDFOLD]


@on(scene)
async def test_without_a_quote_three_trades_in_a_row_refute_a_false_first_one_before_them(made):
    made.broker.is_down = True
    made.recorder.take(DEAR)
    made.real(6, 8)
    await made.decided(1)
    assert made.numbers == [6, 7, 8]
    assert made.quarantined == [DEAR]


@on(scene)
async def test_a_first_trade_that_no_quote_confirms_in_time_leaves_a_gap_from_the_known_volume(
    made,
    monkeypatch,
):
    monkeypatch.setattr(held_trades, "HELD_S_MAX", -1.0)

    made.recorder.learn(Mark(SYMBOL, DAY, 3.0, None, OPENS_NS))
    made.broker.is_down = True
    made.real(10_001, 10_001)
    await made.decided(1)
    swept(made)
    made.real(10_003, 10_003)
    assert made.numbers == [10_003]
    assert made.gaps == [(3, 10_002)]


@on(scene)
async def test_the_trades_of_a_surge_wait_for_the_first_quote_and_none_is_lost(made):
    made.real(1, 5)
    made.real(10_001, 10_200)
    await made.decided(1)
    assert made.numbers == [*range(1, 6), *range(10_001, 10_201)]
    assert made.quarantine == []


@on(scene)
async def test_the_number_of_held_trades_of_a_symbol_is_bounded(made, monkeypatch):
    monkeypatch.setattr(held_trades, "HELD_MAX", 3)

    made.real(1, 5)
    for number in range(5):
        made.recorder.take(false(5, cumulative_volume=1e6 * (number + 1)))
    assert len(made.quarantine) == 2
    assert "3 trades of 005930 are held already" in made.quarantine[0].reason
    await made.decided()
    assert len(made.quarantine) == 5


@on(scene)
async def test_real_trades_beyond_that_number_are_a_gap_even_if_no_trade_follows(made, monkeypatch):
    monkeypatch.setattr(held_trades, "HELD_MAX", 3)

    made.real(1, 5)
    made.real(10_001, 10_006)
    await made.decided(1)
    assert made.numbers == [*range(1, 6), *range(10_001, 10_004)]
    await left(made)
    assert made.gaps == [(5, 10_000), (10_003, 10_006)]


@on(scene)
async def test_a_held_trade_that_is_lost_with_its_process_is_a_gap_before_the_next_one(made):
    made.real(1, 5)
    made.real(10_001, 10_001)
    made.begin(Mark(SYMBOL, DAY, 5.0, 5, trade(5).exchange_time_ns))
    made.real(10_002, 10_002)
    await made.decided(1)
    assert made.gaps == [(5, 10_001)]
    assert made.quarantine == []


# --- symbols that are left ---


async def left(made):
    """The symbol loses its slot, and is settled."""
    settling = []
    loop = asyncio.get_running_loop()
    made.recorder.leave(SYMBOL, lambda each: settling.append(loop.create_task(made.recorder.settle(each))))
    await asyncio.gather(*settling)
    assert made.recorder.detector.watched == frozenset()
    assert made.recorder.held.symbols == set()


@on(scene)
async def test_a_real_trade_that_is_held_when_its_symbol_is_left_is_released(made):
    made.real(1, 5)
    made.real(10_001, 10_001)
    await left(made)
    assert made.numbers == [1, 2, 3, 4, 5, 10_001]
    assert made.gaps == [(5, 10_000)]
    assert made.quarantine == []


@on(scene)
async def test_a_false_trade_that_is_held_when_its_symbol_is_left_leaves_no_gap(made, monkeypatch):
    monkeypatch.setattr(held_trades, "ASK_AGAIN_S", 0.0)

    made.real(1, 5)
    made.recorder.take(THOUSANDFOLD)
    await left(made)
    assert made.quarantined == [THOUSANDFOLD]
    assert made.gaps == []


@on(scene)
async def test_a_trade_that_no_quote_decides_leaves_its_symbol_to_the_exchanges_volume(
    made,
    monkeypatch,
):
    monkeypatch.setattr(held_trades, "ASK_AGAIN_S", 0.0)

    made.broker.is_down = True
    made.real(1, 5)
    made.real(10_001, 10_001)
    await left(made)
    assert made.quarantined == [real_trade(10_001)]
    assert made.alerts == ["implausible_trades", f"unsettled_symbols:{SYMBOL}"]


@on(scene)
async def test_a_symbol_that_returns_before_it_is_settled_keeps_its_held_trade(made, monkeypatch):
    monkeypatch.setattr(held_trades, "ASK_AGAIN_S", 0.0)

    made.broker.is_down = True
    made.real(1, 5)
    made.real(10_001, 10_001)
    made.recorder.leave(SYMBOL, lambda _symbols: None)
    made.recorder.watch(SYMBOL)
    await made.recorder.settle({SYMBOL})
    assert made.recorder.held.symbols == {SYMBOL}
    made.broker.is_down = False
    await made.decided(1)
    assert made.numbers == [1, 2, 3, 4, 5, 10_001]


@pytest.mark.parametrize("first", [1, 10_001])
@on(scene)
async def test_a_trade_that_is_held_when_the_stream_is_cut_does_not_close_the_gap_of_the_cut(made, first):
    made.real(first, 5)
    made.real(10_001, 10_001)
    made.recorder.interrupt(SYMBOL, "reconnect", real_trade(10_001).receive_time_ns)
    await made.decided(1)
    assert made.numbers[-1] == 10_001
    made.broker.volume = 10_004.0
    await left(made)
    assert made.gaps[-1] == (10_001, 10_004)


@on(scene)
async def test_the_end_of_the_day_decides_about_held_trades(made):
    made.real(1, 5)
    made.real(10_001, 10_001)
    await made.recorder.leave_all()
    assert made.numbers == [1, 2, 3, 4, 5, 10_001]
    assert made.quarantine == []
    assert not any(
        isinstance(event, WatchChanged) and isinstance(event.change, WatchInterrupted) for event in made.events
    )


@on(scene)
async def test_a_trade_that_is_held_while_others_are_settled_at_the_end_of_the_day_is_released(made):
    made.real(1, 5)
    made.recorder.watch(OTHER)
    made.recorder.take(trade(3, symbol=OTHER))
    made.recorder.interrupt(OTHER, "reconnect")
    ending = asyncio.create_task(made.recorder.leave_all())
    made.broker.while_asked = lambda: made.real(10_001, 10_001)
    await ending
    assert made.numbers[-1] == 10_001
    assert made.gaps[-1] == (5, 10_000)
    assert made.recorder.held.symbols == set()


@on(scene)
async def test_a_false_trade_of_a_symbol_without_a_subscription_does_not_become_its_mark(made):
    made.real(1, 5)
    made.recorder.leave(SYMBOL, lambda _symbols: None)
    made.recorder.take(THOUSANDFOLD)
    assert made.quarantined == [THOUSANDFOLD]
    assert "005930 is not subscribed" in made.quarantine[0].reason
    made.recorder.watch(SYMBOL)
    made.recorder.interrupt(SYMBOL, "reconnect")
    made.real(8, 8)
    assert made.gaps == [(5, 7)]


# --- a plausible false trade ---

SMALL_JUMP = false(5, cumulative_volume=5_000.0)
SMALL_BLOCK = false(5, volume=4_995.0, cumulative_volume=5_000.0)


@pytest.mark.parametrize("poison", [SMALL_JUMP, SMALL_BLOCK])
@on(scene)
async def test_real_trades_that_contradict_a_plausible_false_one_are_stored_and_their_chain_goes_on(made, poison):
    made.real(1, 5)
    made.recorder.take(poison)
    made.real(6, 15)
    made.real(18, 19)
    assert made.numbers == [1, 2, 3, 4, 5, 5_000, *range(6, 16), 18, 19]
    assert made.gaps[-1] == (15, 17)
    assert made.alerts == [f"volume_contradicted:{SYMBOL}"]


@on(scene)
async def test_a_plausible_false_trade_that_is_the_mark_of_an_earlier_process_does_not_hide_the_real_ones(made):
    made.begin(Mark(SYMBOL, DAY, 5_000.0, None, real_trade(5).exchange_time_ns))
    made.real(6, 15)
    made.real(18, 19)
    assert made.numbers == [*range(6, 16), 18, 19]
    assert made.gaps == [(15, 17)]
    assert made.alerts == [f"volume_contradicted:{SYMBOL}"]


@on(scene)
async def test_less_than_a_row_of_contradictions_changes_no_chain(made):
    made.real(1, 5)
    made.real(2_000, 2_000)
    late = [trade(2_000 + n, cumulative_volume=100.0 + n) for n in range(1, CONTRADICTIONS_MAX)]
    for each in late:
        made.recorder.take(each)
    made.real(2_001, 2_001)
    assert made.gaps == [(5, 1_999)]
    assert made.alerts == []
    assert made.numbers[-5:] == [101, 102, 103, 104, 2_001]


@on(scene)
async def test_a_contradiction_that_comes_twice_is_stored_once(made):
    made.real(1, 5)
    made.recorder.take(SMALL_JUMP)
    for _ in range(3):
        made.real(6, 7)
    assert made.numbers == [1, 2, 3, 4, 5, 5_000, 6, 7]


# --- repetitions ---


@on(scene)
async def test_a_minute_with_many_repeated_trades_is_an_alert_until_a_minute_without(made):
    made.real(1, 100)
    made.real(91, 100)
    made.recorder.count_repeated()
    assert made.alerts == []
    await made.clock.advance(60)
    made.recorder.count_repeated()
    made.real(101, 200)
    await made.clock.advance(60)
    made.recorder.count_repeated()
    [raised] = [event for event in made.events if isinstance(event, AlertRaised)]
    [resolved] = [event for event in made.events if isinstance(event, AlertResolved)]
    assert raised.identity == resolved.identity == "repeated_trades"
    expected = "10 of 110 trades had come before within a minute, most of 005930 (account main)"
    assert raised.text == expected


@on(scene)
async def test_a_few_repeated_trades_are_no_alert(made):
    made.real(1, 10)
    made.real(9, 10)
    await made.clock.advance(60)
    made.recorder.count_repeated()
    assert made.alerts == []


# --- the running task ---


@on(scene)
async def test_the_task_decides_as_soon_as_a_trade_is_held(made, monkeypatch):
    monkeypatch.setattr(held_trades, "ASK_AGAIN_S", 0.0)

    running = asyncio.create_task(made.recorder.held.run())
    made.real(1, 5)
    made.recorder.take(THOUSANDFOLD)
    async with asyncio.timeout(DEADLINE_S):
        while made.recorder.held.symbols:
            await asyncio.sleep(0)
    running.cancel()
    assert made.quarantined == [THOUSANDFOLD]


# --- any day ---

POISON = st.sampled_from(["volume", "block", "price", "tomorrow", "midnight", "ahead"])


def poison_of(kind, number):
    made = trade(number + 1)
    match kind:
        case "volume":
            return msgspec.structs.replace(made, cumulative_volume=(number + 10) * 1000.0)
        case "block":
            return msgspec.structs.replace(made, volume=(number + 9) * 1000.0, cumulative_volume=(number + 10) * 1000.0)
        case "price":
            return msgspec.structs.replace(made, price=700_000.0)
        case "tomorrow":
            return msgspec.structs.replace(made, session_date="2026-11-19")
        case "midnight":
            return msgspec.structs.replace(made, exchange_time_ns=OPENS_NS + 2 * 10**14)
        case _:
            return msgspec.structs.replace(made, exchange_time_ns=made.exchange_time_ns + 2_000 * NS_PER_S)


@given(st.lists(st.tuples(st.integers(0, 3), POISON | st.none(), st.booleans(), st.booleans()), max_size=15))
def test_in_any_surge_that_begins_a_subscription_no_real_trade_is_lost(
    steps,
):
    async def act():
        with scene() as made:
            number, poisons = 10_000, 0
            for count, kind, is_swept, decides in steps:
                made.real(number + 1, number + count)
                number += count
                if kind is not None:
                    made.recorder.take(poison_of(kind, number))
                    poisons += 1
                if is_swept:
                    swept(made)
                if decides:
                    await made.decided(1)
            made.real(number + 1, number + 1)
            await made.decided()
            assert made.numbers == list(range(10_001, number + 2))
            assert len(made.quarantine) == poisons
            assert made.gaps == []

    asyncio.run(act())


@given(st.lists(st.tuples(st.integers(0, 3), POISON | st.none(), st.booleans(), st.booleans()), max_size=30))
def test_on_any_day_all_real_trades_are_stored_and_all_false_ones_in_quarantine(
    steps,
):
    async def act():
        with scene() as made:
            number, poisons = 0, 0
            for count, kind, is_down, decides in steps:
                made.real(number + 1, number + count)
                number += count
                if kind is not None:
                    made.recorder.take(poison_of(kind, number))
                    poisons += 1
                made.broker.is_down = is_down
                if decides:
                    await made.decided(1)
            made.broker.is_down = False
            await made.decided()
            made.real(number + 1, number + 3)
            assert made.numbers == list(range(1, number + 4))
            assert len(made.quarantine) == poisons
            assert made.gaps == []

    asyncio.run(act())
