"""Sampling and conflation under load; the sums keep every share."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import Trade, TradesConflated
from observer.selection.sampling import RATES_HZ, Conflation, Sampling, SamplingSettings
from tests.builders import trade

SECOND_NS = 1_000_000_000
SETTINGS = SamplingSettings(degrade_above_events=100, recover_below_events=10, calm_s=5.0)


def test_every_trade_is_kept_as_long_as_they_are_stored_in_time():
    sampling = Sampling(SETTINGS)
    assert not sampling.check(100, 0.0)
    assert sampling.rate_hz is None


def test_under_load_the_rate_goes_down_step_by_step_and_no_further():
    sampling = Sampling(SETTINGS)
    rates = []
    for now_s in range(0, 30, 5):
        sampling.check(101, now_s)
        rates.append(sampling.rate_hz)
    assert rates == [1.0, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_a_step_has_time_to_show_its_effect():
    sampling = Sampling(SETTINGS)
    assert sampling.check(101, 0.0)
    assert not sampling.check(101, 4.9)
    assert sampling.check(101, 5.0)


def test_a_lasting_calm_raises_the_rate_step_by_step():
    sampling = Sampling(SETTINGS)
    sampling.check(101, 0.0)
    sampling.check(101, 5.0)
    changes = [(now_s, sampling.rate_hz) for now_s in range(6, 30) if sampling.check(9, now_s)]
    assert changes == [(11, 1.0), (17, None)]


def test_an_interrupted_calm_restarts_its_period():
    sampling = Sampling(SETTINGS)
    sampling.check(101, 0.0)
    for now_s, waiting in ((1.0, 5), (5.9, 10), (6.0, 5), (10.9, 5)):
        assert not sampling.check(waiting, now_s)
    assert sampling.check(5, 11.0)


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(0.1, 9)), max_size=40))
def test_the_rate_moves_one_step_at_a_time_and_stays_in_the_table(checks):
    sampling, now_s = Sampling(SETTINGS), 0.0
    for waiting, elapsed_s in checks:
        now_s += elapsed_s
        before = sampling.step
        assert sampling.check(waiting, now_s) == (sampling.step != before)
        assert abs(sampling.step - before) <= 1
        assert 0 <= sampling.step < len(RATES_HZ)


def test_the_upper_and_lower_bounds_must_differ():
    with pytest.raises(ValueError, match="recover_below_events"):
        SamplingSettings(degrade_above_events=10, recover_below_events=10)


# --- conflation ---


def at(second, price, volume, total):
    return trade(
        1,
        exchange_time_ns=round(second * SECOND_NS),
        price=price,
        volume=volume,
        cumulative_volume=total,
        cumulative_trades=int(total),
    )


def test_a_row_says_how_many_trades_and_how_much_volume_it_stands_for():
    conflation = Conflation()
    for item in (at(0, 10, 1, 1), at(0.2, 12, 2, 3), at(0.9, 9, 3, 6)):
        assert conflation.add(item, 1.0) is None
    row = conflation.add(at(1, 11, 1, 7), 1.0)
    assert (row.trades, row.volume, row.cumulative_volume, row.cumulative_trades) == (3, 6.0, 6.0, 6)
    assert (row.open, row.high, row.low, row.close) == (10, 12, 9, 9)
    assert (row.from_ns, row.to_ns) == (0, round(0.9 * SECOND_NS))


def test_the_only_trade_of_its_span_stays_a_trade():
    conflation, first, second = Conflation(), at(0, 10, 1, 1), at(1, 11, 2, 3)
    assert conflation.add(first, 1.0) is None
    assert conflation.add(second, 1.0) is first
    assert conflation.flush() == [second]


def test_each_step_conflates_trades_that_the_step_before_keeps_apart():
    """Exchange times are whole seconds: a rate above 1 Hz would conflate the same trades as 1 Hz."""
    items = [at(second, 10, 1, second + 1) for second in range(4)]
    lengths = []
    for rate_hz in RATES_HZ[1:]:
        conflation = Conflation()
        rows = [row for item in items if (row := conflation.add(item, rate_hz or 0.0))]
        lengths.append(len([*rows, *conflation.flush()]))
    assert lengths == [4, 2]


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 3 * SECOND_NS), st.integers(1, 9)), max_size=60),
    st.sampled_from([1.0, 0.5]),
)
def test_nothing_is_lost_in_the_sums(ticks, rate_hz):
    conflation = Conflation()
    kept = []
    trades = []
    totals = {"A": 0, "B": 0}
    clocks = {"A": 0, "B": 0}
    for symbol, elapsed_ns, volume in ticks:
        totals[symbol] += volume
        clocks[symbol] += elapsed_ns
        trades.append(
            trade(
                1,
                symbol=symbol,
                exchange_time_ns=clocks[symbol],
                volume=float(volume),
                cumulative_volume=float(totals[symbol]),
            )
        )
    for item in trades:
        row = conflation.add(item, rate_hz)
        kept += [] if row is None else [row]
    kept += conflation.flush()
    assert conflation.flush() == []
    assert {item for item in kept if isinstance(item, Trade)} <= set(trades), "a kept trade is whole"
    for symbol, total in totals.items():
        own = [each for each in kept if each.symbol == symbol]
        assert sum(each.volume for each in own) == total
        assert sum(count(each) for each in own) == sum(item.symbol == symbol for item in trades)
        assert all(count(each) > 1 for each in own if isinstance(each, TradesConflated))
        assert all(chained(before, after) for before, after in itertools.pairwise(own))


def count(kept):
    return kept.trades if isinstance(kept, TradesConflated) else 1


def chained(before, after):
    ends_ns = before.to_ns if isinstance(before, TradesConflated) else before.exchange_time_ns
    begins_ns = after.from_ns if isinstance(after, TradesConflated) else after.exchange_time_ns
    return after.cumulative_volume - after.volume == before.cumulative_volume and ends_ns < begins_ns


def test_a_row_of_conflated_trades_states_their_venue_and_session():
    conflation = Conflation()
    for sequence in (1, 2):
        conflation.add(trade(sequence, symbol="005930.NXT", venue="NXT", session="pre", exchange_time_ns=0), 1.0)
    [row] = conflation.flush(None)
    assert (row.symbol, row.venue, row.session, row.trades) == ("005930.NXT", "NXT", "pre", 2)
