"""The completeness of a line's day, and the share of the market that is stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import QualityJudged, TapeJudged
from observer.cli.tape_progress import held_of_market
from observer.gaps.completeness import HeldShare, LineHeld, completeness, held_share


def taped(quality):
    return TapeJudged("kis", "005930", "2026-11-18", 1, quality, 100.0, 90.0, 9, (), (), "KRX")


def slotted(day="part", streamed=50.0, conflated=0.0):
    figures = (60.0, 5, streamed, 0.0, conflated, 0.0, 0, 0)
    return QualityJudged("kis", "005930", "2026-11-18", 1, "complete", "", *figures, day)


@pytest.mark.parametrize("quality", ["complete", "seconds", "spans", "minute_bars", "snapshots"])
@pytest.mark.parametrize("slots", [None, slotted(), slotted("whole"), slotted("unknown", 0.0)])
def test_the_tape_s_report_counts_with_a_slot_or_without_one(quality, slots):
    assert completeness(taped(quality), slots, has_minute_bars=False) == quality


def test_shares_that_only_conflated_rows_have_are_not_stored_trade_by_trade():
    assert completeness(taped("complete"), slotted(conflated=3.0), has_minute_bars=False) == "seconds"
    assert completeness(taped("spans"), slotted(conflated=3.0), has_minute_bars=False) == "spans"


def test_a_line_whose_conflated_shares_were_all_fetched_trade_by_trade_is_whole():
    assert completeness(taped("complete"), slotted("whole", conflated=3.0), has_minute_bars=False) == "complete"


@pytest.mark.parametrize(("day", "held"), [("part", 87.0), ("unknown", 87.0), ("whole", 90.0)])
def test_of_the_market_shares_that_only_conflated_rows_have_are_not_stored_one_by_one(day, held):
    share = held_of_market({"005930": taped("complete")}, [slotted(day, conflated=3.0)])
    assert share.volume == pytest.approx(held / 100.0)


def test_minute_bars_that_were_fetched_after_the_report_count():
    assert completeness(taped("snapshots"), None, has_minute_bars=True) == "minute_bars"
    assert completeness(taped("spans"), None, has_minute_bars=True) == "spans"


@pytest.mark.parametrize(
    ("slots", "has_minute_bars", "expected"),
    [
        (None, False, "snapshots"),
        (None, True, "minute_bars"),
        (slotted(), False, "spans"),
        (slotted("whole"), False, "complete"),
        (slotted("whole", 0.0), False, "complete"),  # nothing traded
        (slotted("unknown", 0.0), True, "minute_bars"),
    ],
)
def test_a_line_that_the_tape_does_not_cover_is_judged_by_its_slots(slots, has_minute_bars, expected):
    assert completeness(None, slots, has_minute_bars=has_minute_bars) == expected


def test_missing_trades_have_the_size_of_the_line_s_or_of_all():
    lines = [LineHeld(100.0, 50.0, 5), LineHeld(100.0, 100.0, 10), LineHeld(60.0, 0.0, 0)]
    assert held_share(lines) == HeldShare(150 / 260, 15 / (15 + 5 + 6))


def test_a_market_without_a_trade_has_no_share_and_one_without_a_stored_trade_has_nothing():
    assert held_share([LineHeld(0.0, 0.0, 0)]) == HeldShare(None, None)
    assert held_share([LineHeld(9.0, 0.0, 0)]) == HeldShare(0.0, 0.0)


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 30)), min_size=1), st.data())
def test_of_a_market_with_trades_of_one_size_both_shares_are_the_stored_part(lines, data):
    found = []
    for trades, _ in lines:
        held = data.draw(st.integers(0, trades))
        found.append(LineHeld(10.0 * trades, 10.0 * held, held))
    part = sum(each.held_trades for each in found) / sum(trades for trades, _ in lines)
    share = held_share(found)
    assert share.volume == pytest.approx(part)
    assert share.trades == pytest.approx(part)
