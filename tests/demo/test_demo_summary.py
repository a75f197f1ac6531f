"""When a demo's day was a success, and what "unaltered" means."""

from dataclasses import dataclass

import msgspec
import pytest

from bus.events import Trade
from observer.demo.summary import DemoSummary, GapCounts, ListingCounts, SlotCounts, is_unaltered, summary_rows
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


def but(**changes: object) -> DemoSummary:
    return msgspec.structs.replace(GOOD, **changes)


def test_a_day_on_which_all_agrees_is_a_success() -> None:
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
def test_a_day_with_restarts_redeliveries_and_gaps_is_a_success(changes: dict[str, object]) -> None:
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
        {"interrupted": True},
        {"processes": {"track-a": "STOPPED", "track-b": "FATAL"}},
        {"processes": {"track-a": "STOPPED", "track-b": "BACKOFF"}},
    ],
    ids=str,
)
def test_a_day_with_any_discrepancy_is_a_failure(changes: dict[str, object]) -> None:
    assert not but(**changes).succeeded


def test_the_table_compares_the_published_with_the_stored_events() -> None:
    assert dict(summary_rows(but(events_stored=103_019)))["events published / stored"] == "103,020 / 103,019"


@dataclass(frozen=True)
class Pair:
    stored: Trade
    offered: OfferedTrade


def pair(**stored: object) -> Pair:
    """A trade as it was offered half a second after a whole second, and as it is stored, but for the changes."""
    offered = OfferedTrade(
        "005930", "2026-11-18", "151640", SECOND_NS + 500_000_000, 70_000, 3, 30, 4, 6, "buy", "KRX", "regular"
    )
    same = trade(
        exchange_time_ns=SECOND_NS, price=70_000.0, volume=3.0, cumulative_volume=30.0, cumulative_trades=10, side="buy"
    )
    return Pair(msgspec.structs.replace(same, **stored), offered)


def unaltered(both: Pair) -> bool:
    return is_unaltered(both.stored, both.offered)


def test_a_streamed_trade_agrees_in_all_that_the_wire_shows() -> None:
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
def test_a_streamed_trade_that_differs_is_altered(change: dict[str, object]) -> None:
    assert not unaltered(pair(**change))


def test_a_recovered_trade_need_not_know_count_and_side() -> None:
    assert unaltered(pair(gap_id="a", cumulative_trades=None, side="sell"))


def test_a_recovered_trade_of_another_price_is_altered() -> None:
    assert not unaltered(pair(gap_id="a", cumulative_trades=None, price=70_100.0))


def test_the_table_has_a_row_for_each_of_two_venues_and_none_for_one() -> None:
    both = but(
        by_session={"NXT": {"pre": 12, "regular": 1_067}, "KRX": {"regular": 2_000, "closing_auction": 1}},
        volumes={"KRX": 750.0, "NXT": 250.0},
    )
    rows = dict(summary_rows(both))
    assert rows["KRX (75% of the shares)"] == "trades: regular 2,000, closing auction 1"
    assert rows["NXT (25% of the shares)"] == "trades: pre 12, regular 1,067"
    assert len(summary_rows(both)) == len(summary_rows(GOOD)) + 2 <= 24
