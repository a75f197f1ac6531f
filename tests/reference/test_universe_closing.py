"""The day's bar from the day's own last snapshot."""

from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import DailyBar
from observer.reference.universe.closing import DayEnd, closing_bars, day_ends, sessions_held
from tests.day_plans import day_plan
from tests.selection.test_selection_base_price import SNAPSHOT

CLOSES_NS = 1_795_000_000_000_000_000
S = 1_000_000_000
WINDOW_NS = (CLOSES_NS + 60 * S, CLOSES_NS + 600 * S)
ENDS_NS = CLOSES_NS + 9_000 * S
ENDS = {
    "KRX": DayEnd(WINDOW_NS, ENDS_NS, "regular", "regular+after"),
    "NXT": DayEnd(None, ENDS_NS, "", "pre+regular+after"),
}


def at(second, **changes):
    """A snapshot so many seconds after the close."""
    return msgspec.structs.replace(SNAPSHOT, receive_time_ns=CLOSES_NS + round(second * S), **changes)


def bars(*snapshots):
    return dict(closing_bars(snapshots, SNAPSHOT.session_date, ENDS, "KRX"))


def test_a_snapshot_after_the_closing_auction_is_the_daily_bar():
    found = bars(at(90, open=9_900.0, high=10_100.0, low=9_800.0, cumulative_volume=77.0, cumulative_value=770_000.0))
    assert found == {
        "005930": DailyBar(
            *("kis", "005930", "2026-11-18", 9_900.0, 10_100.0, 9_800.0, 10_000.0, 77.0, 770_000.0, "sweep"),
            *("KRX", "regular"),
        )
    }


@pytest.mark.parametrize("second", [-600.0, 0.0, 59.9, 600.0, 3_600.0])
def test_a_snapshot_before_the_end_of_the_auction_or_after_hours_is_not_the_daily_bar(second):
    assert bars(at(second)) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"price": None, "cumulative_volume": 0.0},
        {"session_date": "2026-11-17"},
        {"open": None},
        {"high": None},
        {"low": None},
        {"cumulative_volume": 0.0},
        {"low": 10_001.0},
    ],
)
def test_without_a_trade_or_of_another_day_there_is_no_bar(changes):
    assert bars(at(90, **changes)) == {}


@given(st.lists(st.tuples(st.floats(-100, 700), st.sampled_from("ABC")), max_size=12), st.randoms())
def test_the_last_snapshot_in_the_window_counts_in_whatever_order_they_come(seen, rng):
    snapshots = [at(second, symbol=symbol, cumulative_volume=1.0 + second + 100) for second, symbol in seen]
    rng.shuffle(snapshots)
    from_ns, to_ns = WINDOW_NS
    inside = [snapshot for snapshot in snapshots if from_ns <= snapshot.receive_time_ns < to_ns]
    found = bars(*snapshots)
    assert set(found) == {snapshot.symbol for snapshot in inside}
    for symbol, bar in found.items():
        assert bar.volume == max(each.cumulative_volume for each in inside if each.symbol == symbol)


def test_a_day_that_was_swept_to_its_end_has_the_whole_volume_and_the_prices_of_the_closing_auction():
    last = at(9_000, price=10_500.0, high=10_600.0, cumulative_volume=100.0, cumulative_value=1_000_000.0)
    [bar] = bars(at(90, cumulative_volume=77.0), last).values()
    assert (bar.close, bar.high, bar.volume, bar.value) == (SNAPSHOT.price, SNAPSHOT.high, 100.0, 1_000_000.0)
    assert bar.sessions == "regular+after"


def test_without_a_snapshot_of_the_closing_auction_s_end_the_whole_volume_alone_is_no_bar():
    assert bars(at(9_000, cumulative_volume=100.0)) == {}


def test_a_line_of_a_venue_without_a_closing_auction_has_the_bar_of_its_whole_day_and_no_other():
    line = "005930.NXT"
    assert bars(at(90, symbol=line, cumulative_volume=77.0)) == {}
    found = bars(at(90, symbol=line, cumulative_volume=77.0), at(9_000, symbol=line, cumulative_volume=100.0))
    assert (found[line].volume, found[line].venue, found[line].sessions) == (100.0, "NXT", "pre+regular+after")


def test_the_two_lines_of_a_stock_have_bars_of_their_own():
    found = bars(at(90), at(9_000, symbol="005930.NXT", cumulative_volume=3.0))
    assert {line: bar.volume for line, bar in found.items()} == {
        "005930": SNAPSHOT.cumulative_volume,
        "005930.NXT": 3.0,
    }


@pytest.mark.parametrize(
    ("day", "main", "further"),
    [
        (date(2026, 11, 18), "regular+after", "pre+regular+after"),
        (date(2026, 11, 19), "regular+after", "regular+after"),  # an exam day: NXT has no pre-market
        (date(2026, 9, 11), "regular", "pre+regular+after"),  # the last session before the KRX's after-market
        (date(2025, 3, 3), "regular", ""),  # before NXT
    ],
)
def test_a_days_volume_holds_the_sessions_that_the_venue_had_that_day(day, main, further):
    sessions = day_plan(day).sessions
    assert sessions_held(sessions, "KRX") == main
    assert sessions_held(sessions, "NXT") == further


def test_until_the_after_market_the_volume_holds_the_regular_session():
    sessions = day_plan(date(2026, 11, 18)).sessions
    end = day_ends(sessions)["KRX"]
    assert end.closing_ns == day_plan(date(2026, 11, 18)).closing_window_ns
    assert (end.regular, end.whole) == ("regular", "regular+after")
    assert day_ends(sessions)["NXT"].closing_ns is None
