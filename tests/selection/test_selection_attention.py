"""Which symbols Track A asks between sweeps, and which volume rises it reports."""

import itertools
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import RiseApplied, TriggerFired
from observer.base.lines import stock_of
from observer.base.units import NS_PER_S
from observer.selection.attention import ASK_MAX_S, ASK_MIN_S, REPORT_S, Attention
from observer.selection.market_state import MarketState
from observer.selection.profile import EarlierDays
from observer.selection.settings import SelectionSettings
from observer.selection.triggers import TriggersSettings
from tests.selection.builders import member, seen, selector_of, swept

SYMBOLS = [f"S{number:03}" for number in range(90)]
DAY_S = 20_000  # in which each symbol trades its average day
SWEEP_S = 600
TRADE = 10.0


def averages(symbols):
    """The first symbol trades each second, the last one each 450 s."""
    return {symbol: TRADE * DAY_S / (1 + 5 * rank) for rank, symbol in enumerate(symbols)}


class Day:
    """A day on which every symbol trades evenly at its usual rate, since before the first sweep, and some from a moment
    on several times as fast.
    """

    def __init__(self, symbols=SYMBOLS, trade_volume=TRADE, *, averages_known=True):
        self.averages = averages(symbols)
        known = {symbol: average if averages_known else None for symbol, average in self.averages.items()}
        members = [member(symbol, average_volume_20d=average) for symbol, average in known.items()]
        sizes = {} if trade_volume is None else dict.fromkeys(symbols, trade_volume)
        self.attention = Attention(MarketState(members, TriggersSettings(), EarlierDays(trade_volumes=sizes)), TRIGGERS)
        self.surges = {}  # by symbol: from when, and how many times faster

    def volume(self, symbol, at_s):
        since_s, times = self.surges.get(symbol, (at_s, 1.0))
        return (SWEEP_S + at_s + max(0.0, at_s - since_s) * (times - 1)) * self.averages[symbol] / DAY_S

    def sweep(self, at_s):
        now_ns = round(at_s * NS_PER_S)
        self.attention.update_sweep(
            [seen(each, self.volume(each, at_s), receive_time_ns=now_ns) for each in self.averages]
        )

    def asked(self, until_s, spacing_s, size=30, streamed=frozenset()):
        """Two sweeps, then requests at most so often until that many seconds after the second: the times of each
        symbol's requests, and the reported rises with their times.
        """
        times = defaultdict(list)
        rises = defaultdict(list)
        self.sweep(0)
        self.sweep(SWEEP_S)
        now_s, spent, end_s = float(SWEEP_S), 0, SWEEP_S + until_s
        while (request := self.attention.next_request(size, streamed)) is not None:
            now_s = max(now_s + spacing_s, request.due_ns / NS_PER_S)
            if now_s > end_s:
                break
            spent += 1
            now_ns = round(now_s * NS_PER_S)
            self.attention.requested(request.symbols, now_ns)
            for symbol in request.symbols:
                times[symbol].append(now_s)
                rise = self.attention.answered(symbol, self.volume(symbol, now_s), now_ns)
                if rise is not None:
                    rises[symbol].append((now_s, rise))
        assert spent <= until_s / spacing_s + 1
        return times, rises


TRIGGERS = TriggersSettings()


# --- what is asked ---


@given(st.floats(0.2, 20.0), st.integers(1, 40))
def test_no_symbol_waits_longer_than_its_interval_and_one_turn_of_all(spacing_s, size):
    bound_s = 2 * ASK_MAX_S + (len(SYMBOLS) / size + 2) * spacing_s
    until_s = 3 * bound_s
    times, _ = Day().asked(until_s, spacing_s, size)
    assert times.keys() == set(SYMBOLS)
    for asked in times.values():
        moments = [SWEEP_S, *asked, SWEEP_S + until_s]
        assert max(after - before for before, after in itertools.pairwise(moments)) <= bound_s


def test_no_symbol_is_asked_more_often_than_the_shortest_interval():
    times, _ = Day().asked(300, 0.1)
    for asked in times.values():
        assert all(after - before >= ASK_MIN_S - 0.01 for before, after in itertools.pairwise(asked))


def test_busy_symbols_are_asked_more_often_than_quiet_ones():
    times, _ = Day().asked(600, 0.3, size=1)
    busiest, quietest = (len(times[symbol]) for symbol in (SYMBOLS[0], SYMBOLS[-1]))
    assert busiest > 3 * quietest


@given(st.sets(st.sampled_from(SYMBOLS)))
def test_streamed_symbols_are_never_asked(streamed):
    times, _ = Day().asked(120, 1.0, streamed=frozenset(streamed))
    assert times.keys() == set(SYMBOLS) - streamed


def test_symbols_without_an_average_are_asked_after_the_sweep_behind_a_later_build():
    day = Day(averages_known=False)
    assert not day.asked(60, 1.0)[0]
    day.attention.update_history([member(each, average_volume_20d=average) for each, average in day.averages.items()])
    day.sweep(2 * SWEEP_S)
    request = day.attention.next_request(30, ())
    assert len(request.symbols) == 30


def test_a_symbol_without_an_answer_is_asked_again_after_the_longest_interval():
    day = Day()
    day.sweep(0)
    day.sweep(SWEEP_S)
    request = day.attention.next_request(1, ())
    day.attention.requested(request.symbols, request.due_ns)
    again = day.attention.next_request(len(SYMBOLS), ())
    assert again.due_ns == request.due_ns + ASK_MAX_S * NS_PER_S
    assert again.symbols[-1] == request.symbols[0]


@pytest.mark.parametrize(
    ("symbols", "trade_volume"), [(SYMBOLS[:19], TRADE), (SYMBOLS, None)], ids=["too few symbols", "unknown sizes"]
)
def test_nothing_is_asked_without_a_usual_volume_or_the_size_of_trades(symbols, trade_volume):
    times, _ = Day(symbols, trade_volume).asked(600, 1.0)
    assert not times


def test_symbols_are_asked_once_the_first_streamed_trades_show_a_size():
    day = Day(trade_volume=None)
    day.sweep(0)
    day.sweep(SWEEP_S)
    assert day.attention.next_request(30, ()) is None
    day.attention.update_trade_volumes({SYMBOLS[3]: TRADE})
    assert day.attention.next_request(30, ()) is not None


def test_two_lines_of_one_stock_are_in_requests_of_their_own():
    lines = [*SYMBOLS, *(f"{symbol}.NXT" for symbol in SYMBOLS)]
    day = Day(lines)
    day.sweep(0)
    day.sweep(SWEEP_S)
    asked = []
    for _ in range(2 * len(lines)):
        request = day.attention.next_request(30, frozenset(asked))
        if request is None:
            break
        assert len({stock_of(line) for line in request.symbols}) == len(request.symbols) > 0
        asked += request.symbols
    assert sorted(asked) == sorted(lines)


# --- what is reported ---


def test_even_trading_is_no_rise():
    _, rises = Day().asked(1_800, 0.3)
    assert not rises


@given(st.sampled_from(SYMBOLS[:3]), st.floats(6, 20), st.floats(10, 300))
def test_a_surge_is_reported_within_three_minutes_once_each_report_interval(symbol, times, begins_s):
    day = Day()
    begun_s = SWEEP_S + begins_s
    day.surges[symbol] = begun_s, times
    _, rises = day.asked(begins_s + 700, 0.3)
    assert rises.keys() == {symbol}
    moments = [at_s for at_s, _ in rises[symbol]]
    assert moments[0] - begun_s <= 180
    assert all(after - before >= REPORT_S for before, after in itertools.pairwise(moments))
    at_s, rise = rises[symbol][0]
    risen = day.volume(symbol, at_s) - rise.since_volume
    assert risen >= 3 * rise.usual_volume
    assert day.volume(symbol, rise.since_ns / NS_PER_S) == pytest.approx(rise.since_volume)


def test_an_answer_that_is_older_than_a_sweep_changes_nothing():
    day = Day()
    day.sweep(0)
    day.sweep(SWEEP_S)
    assert day.attention.answered(SYMBOLS[0], 1e9, (SWEEP_S - 1) * NS_PER_S) is None
    assert day.attention.answered(SYMBOLS[0], 0.0, (SWEEP_S + 60) * NS_PER_S) is None


# --- what a rise does ---


def selector(slots=1):
    """After two sweeps, with the largest symbols in the slots."""
    sizes = dict.fromkeys(SYMBOLS, TRADE)
    members = [member(symbol, average_volume_20d=average) for symbol, average in averages(SYMBOLS).items()]
    made = selector_of(members, {"main": slots}, SelectionSettings(), earlier=EarlierDays(trade_volumes=sizes))
    day = Day()
    for at_s in (0, SWEEP_S):
        for symbol in SYMBOLS:
            swept(made.market, symbol, day.volume(symbol, at_s), receive_time_ns=at_s * NS_PER_S)
        made.evaluate_universe(at_s * NS_PER_S)
    return made


def rise(symbol, times, seconds=60.0, begun_s=SWEEP_S):
    """The symbol trades so many times its usual rate for so long."""
    since, rate = Day().volume(symbol, begun_s), averages(SYMBOLS)[symbol] / DAY_S
    until_ns = round((begun_s + seconds) * NS_PER_S)
    return RiseApplied(
        *(symbol, round(begun_s * NS_PER_S), since, until_ns, since + times * seconds * rate, 10_000.0, 10_000.0, False)
    )


def fired(made, risen):
    events = made.evaluate_rise(risen, risen.received_ns)
    return [(event.symbol, event.basis) for event in events if isinstance(event, TriggerFired)]


def test_a_rise_fires_the_trigger_of_its_symbol_which_gets_a_slot():
    made = selector()
    assert fired(made, rise(SYMBOLS[5], 10.0)) == [(SYMBOLS[5], "recent")]
    assert made.wanted == (SYMBOLS[5],)


def test_a_multiple_of_few_trades_is_no_evidence():
    made = selector()
    assert not fired(made, rise(SYMBOLS[80], 6.0)), "0.15 usual trades, one traded"
    assert fired(made, rise(SYMBOLS[80], 6.0, 3_000.0))


def test_a_rise_of_a_symbol_with_a_slot_is_ignored():
    made = selector()
    fired(made, rise(SYMBOLS[5], 10.0))
    assert not made.evaluate_rise(rise(SYMBOLS[5], 10.0, begun_s=SWEEP_S + 90), (SWEEP_S + 150) * NS_PER_S)


def test_a_rise_that_is_older_than_the_known_volume_is_ignored():
    made = selector()
    assert not made.evaluate_rise(rise(SYMBOLS[5], 50.0, begun_s=SWEEP_S - 100), (SWEEP_S + 1) * NS_PER_S)


def test_a_risen_symbol_without_a_slot_waits_for_one():
    made = selector()
    made.evaluate_rise(rise(SYMBOLS[5], 20.0), (SWEEP_S + 60) * NS_PER_S)
    made.evaluate_rise(rise(SYMBOLS[6], 8.0, 200.0), (SWEEP_S + 200) * NS_PER_S)
    assert made.wanted == (SYMBOLS[5],)
    assert made.waiting == {SYMBOLS[6]}
    made.evaluate_slots((SWEEP_S + 460) * NS_PER_S)  # the first one's life is over
    assert made.wanted == (SYMBOLS[6],)


def test_an_answer_of_a_symbol_that_no_sweep_had_is_left_out():
    day = Day()
    day.sweep(0)
    day.sweep(SWEEP_S)
    assert day.attention.answered("STRANGER", 5.0, (SWEEP_S + 10) * NS_PER_S) is None
    request = day.attention.next_request(len(SYMBOLS) + 1, frozenset())
    assert set(request.symbols) == set(SYMBOLS)
