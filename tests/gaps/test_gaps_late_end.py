"""The volume at a track's stop, for a day that is ended later: exact, or at least not below the true one."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from observer.gaps.late_end import volume_at, volume_before, volumes_after
from tests.reach import reaches
from tests.selection.builders import seen

S = 1_000_000_000
STOP_NS = 50 * S


class Row(msgspec.Struct, frozen=True):
    """A row of time-and-sales."""

    exchange_time_ns: int
    volume: float
    cumulative_volume: float
    symbol: str = "005930"
    price: float = 1.0
    bid: float | None = None
    ask: float | None = None
    venue: str = ""


class Minute(msgspec.Struct, frozen=True):
    """A minute's bar."""

    start_ns: int
    volume: float
    symbol: str = "005930"
    open: float = 1.0
    high: float = 1.0
    low: float = 1.0
    close: float = 1.0
    venue: str = ""


@st.composite
def days(draw):
    """A day's trades in their order, at whole seconds around the stop."""
    seconds = sorted(draw(st.lists(st.integers(0, 100), max_size=12)))
    volumes = draw(st.lists(st.integers(1, 9), min_size=len(seconds), max_size=len(seconds)))
    total, rows = 0, []
    for second, volume in zip(seconds, volumes, strict=True):
        total += volume
        rows.append(Row(second * S, float(volume), float(total)))
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
    bars = [Minute(row.exchange_time_ns // (10 * S) * 10 * S, row.volume) for row in day if data.draw(st.booleans())]
    united = [Minute(at_ns, sum(b.volume for b in bars if b.start_ns == at_ns)) for at_ns in {b.start_ns for b in bars}]
    at_stop = end_of([row for row in day if row.exchange_time_ns < STOP_NS])
    assert volume_before(united, STOP_NS, end_of(day)) >= at_stop
    reach.count("minutes_on_both_sides", 0 < sum(b.start_ns < STOP_NS for b in united) < len(united))


def test_with_all_minutes_the_volume_before_the_stop_is_exact():
    assert volume_before([Minute(40 * S, 3.0), Minute(STOP_NS, 4.0), Minute(60 * S, 5.0)], STOP_NS, 20.0) == 11.0


def test_a_minute_that_a_page_repeats_counts_once():
    assert volume_before([Minute(60 * S, 5.0), Minute(60 * S, 5.0)], STOP_NS, 20.0) == 15.0


def test_a_sweep_that_may_have_begun_before_the_stop_bounds_nothing():
    """The sweep at the stop is the third; the fourth may have sent its first request by then."""
    times = {3: STOP_NS - 1, 4: STOP_NS, 5: STOP_NS + 10, 6: STOP_NS + 20}
    swept = [
        seen("005930", sweep, session_date="", sweep=sweep, receive_time_ns=at_ns) for sweep, at_ns in times.items()
    ]
    assert volumes_after(swept, STOP_NS) == {"005930": (5, STOP_NS + 10)}
