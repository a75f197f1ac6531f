"""The day's bar from the day's own last snapshot."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import DailyBar, Snapshot
from observer.universe.closing import closing_bars
from tests.selection.test_selection_base_price import SNAPSHOT

CLOSES_NS = 1_795_000_000_000_000_000
S = 1_000_000_000
WINDOW_NS = (CLOSES_NS + 60 * S, CLOSES_NS + 600 * S)


def at(second: float, **changes: object) -> Snapshot:
    """A snapshot so many seconds after the close."""
    return msgspec.structs.replace(SNAPSHOT, receive_time_ns=CLOSES_NS + round(second * S), **changes)


def bars(*snapshots: Snapshot) -> dict[str, DailyBar]:
    return dict(closing_bars(snapshots, SNAPSHOT.session_date, WINDOW_NS))


def test_a_snapshot_after_the_closing_auction_is_the_daily_bar() -> None:
    found = bars(at(90, open=9_900.0, high=10_100.0, low=9_800.0, cumulative_volume=77.0, cumulative_value=770_000.0))
    assert found == {
        "005930": DailyBar(
            "kis", "005930", "2026-11-18", 9_900.0, 10_100.0, 9_800.0, 10_000.0, 77.0, 770_000.0, "sweep"
        )
    }


@pytest.mark.parametrize("second", [-600.0, 0.0, 59.9, 600.0, 3_600.0])
def test_a_snapshot_before_the_end_of_the_auction_or_after_hours_is_not_the_daily_bar(second: float) -> None:
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
def test_without_a_trade_or_of_another_day_there_is_no_bar(changes: dict[str, object]) -> None:
    assert bars(at(90, **changes)) == {}


@given(st.lists(st.tuples(st.floats(-100, 700), st.sampled_from("ABC")), max_size=12), st.randoms())
def test_the_last_snapshot_in_the_window_counts_in_whatever_order_they_come(seen, rng) -> None:
    snapshots = [at(second, symbol=symbol, cumulative_volume=1.0 + second + 100) for second, symbol in seen]
    rng.shuffle(snapshots)
    from_ns, to_ns = WINDOW_NS
    inside = [snapshot for snapshot in snapshots if from_ns <= snapshot.receive_time_ns < to_ns]
    found = bars(*snapshots)
    assert set(found) == {snapshot.symbol for snapshot in inside}
    for symbol, bar in found.items():
        assert bar.volume == max(each.cumulative_volume for each in inside if each.symbol == symbol)
