"""The volume at a track's stop, for a day that is ended later: exact, or at least not below the true one."""

from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.broker import Bar, PastTrade
from observer.gaps.recovery import volume_at, volume_before, volumes_after
from tests.reach import reaches
from tests.selection.builders import seen

S = 1_000_000_000
STOP_NS = 50 * S


def minute(start_ns, volume):
    return Bar("005930", start_ns, 1.0, 1.0, 1.0, 1.0, volume, 0.0)


@st.composite
def days(draw):
    """A day's trades in their order, at whole seconds around the stop."""
    seconds = sorted(draw(st.lists(st.integers(0, 100), max_size=12)))
    volumes = draw(st.lists(st.integers(1, 9), min_size=len(seconds), max_size=len(seconds)))
    total, rows = 0, []
    for second, volume in zip(seconds, volumes, strict=True):
        total += volume
        rows.append(PastTrade("005930", second * S, 1.0, float(volume), float(total), None, None))
    return rows


def end_of(rows):
    return rows[-1].cumulative_volume if rows else 0.0


@reaches(trades_on_both_sides=13)
@given(days(), st.data())
def test_all_trades_prove_the_volume_at_the_stop(reach, day, data):
    known = data.draw(st.sampled_from([0.0, *(row.cumulative_volume for row in day)]))
    at_stop = end_of([row for row in day if row.exchange_time_ns < STOP_NS])
    assert volume_at(day, STOP_NS, known, end_of(day)) == max(known, at_stop)
    reach.count("trades_on_both_sides", 0 < at_stop < end_of(day))


@reaches(exact_though_rows_lack=6, exact=4, none=9)
@given(days(), st.data())
def test_whatever_rows_are_lacking_the_answer_is_exact_or_none(reach, day, data):
    known = data.draw(st.sampled_from([0.0, *(row.cumulative_volume for row in day)]))
    rows = [row for row in day if data.draw(st.integers(0, 5))]  # most are there
    at_stop = end_of([row for row in day if row.exchange_time_ns < STOP_NS])
    answer = volume_at(rows, STOP_NS, known, end_of(day))
    assert answer in (None, max(known, at_stop))
    reach.count("none" if answer is None else "exact_though_rows_lack" if len(rows) < len(day) else "exact")


@reaches(minutes_on_both_sides=14)
@given(days(), st.data())
def test_the_minutes_after_the_stop_never_take_away_a_trade_before_it(reach, day, data):
    bars = [minute(row.exchange_time_ns // (10 * S) * 10 * S, row.volume) for row in day if data.draw(st.booleans())]
    united = [minute(at_ns, sum(b.volume for b in bars if b.start_ns == at_ns)) for at_ns in {b.start_ns for b in bars}]
    at_stop = end_of([row for row in day if row.exchange_time_ns < STOP_NS])
    assert volume_before(united, STOP_NS, end_of(day)) >= at_stop
    reach.count("minutes_on_both_sides", 0 < sum(b.start_ns < STOP_NS for b in united) < len(united))


def test_with_all_minutes_the_volume_before_the_stop_is_exact_also_where_a_page_repeats_one():
    bars = [minute(40 * S, 3.0), minute(STOP_NS, 4.0), minute(60 * S, 5.0), minute(60 * S, 5.0)]
    assert volume_before(bars, STOP_NS, 20.0) == 11.0


def test_a_sweep_that_may_have_begun_before_the_stop_bounds_nothing():
    """The sweep at the stop is the third; the fourth may have sent its first request by then."""
    times = {3: STOP_NS - 1, 4: STOP_NS, 5: STOP_NS + 10, 6: STOP_NS + 20}
    swept = [
        seen("005930", sweep, session_date="", sweep=sweep, receive_time_ns=at_ns) for sweep, at_ns in times.items()
    ]
    assert volumes_after(swept, STOP_NS) == {"005930": (5, STOP_NS + 10)}
