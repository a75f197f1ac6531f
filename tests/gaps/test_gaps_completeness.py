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


@pytest.mark.parametrize(("day", "held"), [("part", 87.0), ("unknown", 87.0), ("whole", 90.0)])
def test_of_the_market_shares_that_only_conflated_rows_have_are_not_stored_one_by_one(day, held):
    share = held_of_market({"005930": taped("complete")}, [slotted(day, conflated=3.0)])
    assert share.volume == pytest.approx(held / 100.0)


@pytest.mark.parametrize(
    ("tape", "slots", "has_minute_bars", "expected"),
    [
        ("complete", slotted(conflated=3.0), False, "seconds"),
        ("spans", slotted(conflated=3.0), False, "spans"),
        ("complete", slotted("whole", conflated=3.0), False, "complete"),  # all were fetched trade by trade
        ("snapshots", None, True, "minute_bars"),  # fetched after the report
        ("spans", None, True, "spans"),
        (None, None, False, "snapshots"),
        (None, None, True, "minute_bars"),
        (None, slotted(), False, "spans"),
        (None, slotted("whole"), False, "complete"),
        (None, slotted("whole", 0.0), False, "complete"),  # nothing traded
        (None, slotted("unknown", 0.0), True, "minute_bars"),
    ],
)
def test_a_line_is_judged_by_the_tape_its_slots_and_its_minute_bars(tape, slots, has_minute_bars, expected):
    assert completeness(tape and taped(tape), slots, has_minute_bars=has_minute_bars) == expected


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
