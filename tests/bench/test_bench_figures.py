"""The inputs of the benchmark figures: the published trades, and the spread of durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.codec import Batch, decode_events, pack, unpack
from observer.brokers.kis.frames import parse_trades
from tests.bench.frames import made_frames
from tests.bench.latency import spread
from tests.bench.trades import SYMBOLS, lots, trade


@given(count=st.integers(0, 300), size=st.integers(1, 100))
def test_lots_hold_each_trade_once_and_in_order(count, size):
    cut = list(lots(count, size))
    assert [each for lot in cut for each in lot] == [trade(number) for number in range(1, count + 1)]
    assert all(len(lot) == size for lot in cut[:-1])


def test_the_trades_rotate_through_the_symbols_of_a_full_set_of_slots():
    assert len(SYMBOLS) == 41
    assert {trade(number).symbol for number in range(1, 42)} == set(SYMBOLS)


def test_each_trade_has_its_own_cumulative_volume_in_its_symbols_day():
    made = [trade(number) for number in range(1, 1000)]
    assert len({(each.symbol, each.cumulative_volume) for each in made}) == len(made)


def test_trades_travel_as_they_are():
    made = [trade(number) for number in range(1, 50)]
    batch: Batch = unpack(pack("aa" * 16, 1, made))
    assert decode_events(batch) == made


def test_a_spread_reports_percentiles_and_the_maximum_in_milliseconds():
    reported = spread([number * 1_000_000 for number in range(1, 1001)])
    assert (reported.count, reported.p50_ms, reported.p99_ms, reported.max_ms) == (1000, 501.0, 991.0, 1000.0)


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_the_parts_of_a_spread_never_change_their_order(spans_ns):
    reported = spread(spans_ns)
    assert (
        min(spans_ns) / 1e6
        <= reported.p50_ms
        <= reported.p99_ms
        <= reported.max_ms
        == pytest.approx(max(spans_ns) / 1e6)
    )


@pytest.mark.parametrize("size", [1, 2, 20])
def test_every_made_up_frame_is_read_whole_and_its_trades_follow_on_each_other(size):
    totals: dict[str, float] = {}
    for frame in made_frames(size, 50):
        assert frame.count(b"^") == 47 * size - 1
        trades, _, broken = parse_trades(frame, 0)
        assert (len(trades), broken) == (size, None)
        for each in trades:
            assert totals.get(each.symbol, each.cumulative_volume - each.volume) + each.volume == each.cumulative_volume
            totals[each.symbol] = each.cumulative_volume
