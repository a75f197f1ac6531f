"""When a demo's day was a success, and what "unaltered" means."""

from dataclasses import dataclass

import msgspec
import pytest

from bus.events import Trade
from observer.demo.summary import (
    DemoSummary,
    GapCounts,
    ListingCounts,
    SlotCounts,
    VenueCounts,
    is_unaltered,
    summary_rows,
)
from observer.simulator.market.market import OfferedTrade
from tests.builders import trade

SECOND_NS = 1_795_000_000_000_000_000

GOOD = DemoSummary(
    universe=43,
    sweeps=40,
    snapshots=1720,
    trades=99_512,
    trades_recovered=170,
    trades_offered=99_512,
    triggers={"volume_surge": 4},
    slots=SlotCounts(41, 0, 41, 0),
    gaps=GapCounts(65, 65, 2, 0),
    listings=ListingCounts(1, 0),
    symbols_with_slot=44,
    quality_reports=44,
    overstated=0,
    events_published=103_020,
    events_stored=103_020,
    duplicates=0,
    redelivered=84,
    quarantined=0,
    restarts=0,
    processes={"track-a": "STOPPED", "track-b": "STOPPED"},
    market_digest="d442021e0f493cb5fa50c68f8bc9e1dc",
    wall_s=122.5,
    database="sqlite:///demo/data/observer.db",
    interrupted=False,
)


def but(**changes):
    return msgspec.structs.replace(GOOD, **changes)


def test_a_day_on_which_all_agrees_is_a_success():
    assert GOOD.succeeded


@pytest.mark.parametrize(
    "changes",
    [
        {"restarts": 7},
        {"redelivered": 5000},
        {"gaps": GapCounts(65, 60, 2, 5)},
        {"slots": SlotCounts(41, 3, 41, 12)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_day_with_restarts_redeliveries_and_gaps_is_a_success(changes):
    assert but(**changes).succeeded


@pytest.mark.parametrize(
    "changes",
    [
        {"events_stored": 103_019},
        {"events_stored": 103_021},
        {"duplicates": 1},
        {"trades_offered": 99_511},
        {"trades": 0, "trades_offered": 0},
        {"sweeps": 0},
        {"universe": 0},
        {"quality_reports": 0},
        {"quality_reports": 43},
        {"quality_reports": 0, "symbols_with_slot": 0},
        {"overstated": 1},
        {"overstated": None},
        {"interrupted": True},
        {"processes": {"track-a": "STOPPED", "track-b": "FATAL"}},
        {"processes": {"track-a": "STOPPED", "track-b": "BACKOFF"}},
    ],
    ids=str,
)
def test_a_day_with_any_discrepancy_is_a_failure(changes):
    assert not but(**changes).succeeded


def test_the_table_compares_the_published_with_the_stored_events():
    assert dict(summary_rows(but(events_stored=103_019)))["events published / stored"] == "103,020 / 103,019"


@dataclass(frozen=True)
class Pair:
    stored: Trade
    offered: OfferedTrade


def pair(**stored):
    """A trade as it was offered half a second after a whole second, and as it is stored, but for the changes."""
    offered = OfferedTrade(
        "005930", "2026-11-18", "151640", SECOND_NS + 500_000_000, 70_000, 3, 30, 4, 6, "buy", "KRX", "regular"
    )
    same = trade(
        exchange_time_ns=SECOND_NS, price=70_000.0, volume=3.0, cumulative_volume=30.0, cumulative_trades=10, side="buy"
    )
    return Pair(msgspec.structs.replace(same, **stored), offered)


def unaltered(both):
    return is_unaltered(both.stored, both.offered)


def test_a_streamed_trade_agrees_in_all_that_the_wire_shows():
    assert unaltered(pair())


@pytest.mark.parametrize(
    "change",
    [
        {"price": 70_100.0},
        {"volume": 4.0},
        {"exchange_time_ns": SECOND_NS + 1_000_000_000},
        {"cumulative_trades": 11},
        {"side": "sell"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_streamed_trade_that_differs_is_altered(change):
    assert not unaltered(pair(**change))


def test_a_recovered_trade_need_not_know_count_and_side():
    assert unaltered(pair(gap_id="a", cumulative_trades=None, side="sell"))


def test_a_recovered_trade_of_another_price_is_altered():
    assert not unaltered(pair(gap_id="a", cumulative_trades=None, price=70_100.0))


def test_the_table_compares_the_volume_of_each_of_two_venues_with_what_is_stored_of_it():
    both = but(
        by_session={"NXT": {"pre": 12, "regular": 1_067}, "KRX": {"regular": 2_000, "closing_auction": 1}},
        venues={
            "KRX": VenueCounts(8_000.0, 1_000_000.0, 0.031, 6_000.0, 4_000.0),
            "NXT": VenueCounts(2_000.0, 500_000.0, 0.333, 500.0, 400.0),
        },
    )
    rows = dict(summary_rows(both))
    assert rows["KRX"] == "8,000 shares, 3% outside regular hours"
    assert rows["NXT (50% of KRX's value)"] == "2,000 shares, 33% outside regular hours"
    assert rows["KRX in slots / stored"] == "6,000 (75%) / 4,000 (50%)"
    assert rows["NXT in slots / stored"] == "500 (25%) / 400 (20%)"
    assert rows["KRX trades stored"] == "regular 2,000, auction 1"
    assert rows["NXT trades stored"] == "pre 12, regular 1,067"


def test_the_table_of_two_venues_has_24_lines_on_80_columns_and_that_of_one_venue_no_line_of_a_venue():
    whole = VenueCounts(2_345_678_901.0, 9e12, 0.031, 1_234_567_890.0, 1_234_567_890.0)
    sessions = {"regular": 359_950, "closing_auction": 48_100, "after": 110_800}
    both = but(by_session={"KRX": sessions, "NXT": sessions}, venues={"KRX": whole, "NXT": whole})
    alone = but(by_session={"KRX": sessions}, venues={"KRX": whole})
    assert len(summary_rows(both)) + 1 == 24
    labels, texts = zip(*summary_rows(both), strict=True)
    assert max(map(len, labels)) + 2 + max(map(len, texts)) <= 80
    assert len(summary_rows(alone)) == len(summary_rows(GOOD))
