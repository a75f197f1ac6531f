"""Pages of minute bars become whole days: each bar once, whatever the host does at the begin of a day."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from observer.base.local_time import local_datetime, local_ns
from observer.base.units import NS_PER_MINUTE
from observer.brokers.broker import Bar
from observer.brokers.domestic import UnreadableRow
from observer.brokers.kis.minute_days import EMPTY_DAYS_MAX, MinuteDays

FIRST = date(2026, 11, 2)
DAYS = [FIRST + timedelta(days=number) for number in range(8)]
Minutes = Mapping[date, Sequence[int]]


def bars_of(day, minutes):
    """Bars with the day's value after each minute, as a host states it."""
    found, value = [], 0.0
    for minute in sorted(minutes):
        value += minute
        start_ns = local_ns(day, 9) + minute * NS_PER_MINUTE
        found.append(Bar("005930", start_ns, 1.0, 2.0, 0.5, 1.5, float(minute + 1), value))
    return found


class Host:
    """A host with these minutes; it may go on with earlier days where a day has no more bars."""

    def __init__(self, minutes, rows_per_page, *, goes_on):
        self.bars = [bar for day in sorted(minutes) for bar in bars_of(day, minutes[day])]
        self.rows_per_page = rows_per_page
        self.goes_on = goes_on
        self.asked = []

    def page(self, until_ns):
        self.asked.append(until_ns)
        day = local_datetime(until_ns).date()
        found = [bar for bar in self.bars if bar.start_ns <= until_ns]
        if not self.goes_on:
            found = [bar for bar in found if local_datetime(bar.start_ns).date() == day]
        return found[-self.rows_per_page :]


def walked(host, days):
    walk = MinuteDays(days, host.rows_per_page)
    found = []
    while (until_ns := walk.until_ns) is not None:
        assert len(host.asked) < 1_000
        found += walk.take(host.page(until_ns))
    return found


minutes_of_days = st.dictionaries(
    st.sampled_from(DAYS), st.lists(st.integers(0, 40), min_size=1, max_size=25, unique=True), min_size=1
)


@given(minutes_of_days, st.integers(1, 12), st.booleans(), st.data())
def test_each_wanted_day_is_whole_and_no_moment_is_asked_for_twice(minutes, rows_per_page, goes_on, data):
    wanted = data.draw(st.lists(st.sampled_from(sorted(minutes)), min_size=1, unique=True))
    host = Host(minutes, rows_per_page, goes_on=goes_on)
    found = walked(host, wanted)
    assert [each.day for each in found] == sorted(wanted, reverse=True)
    for each in found:
        assert [bar.start_ns for bar in each.bars] == [bar.start_ns for bar in bars_of(each.day, minutes[each.day])]
        assert [bar.value for bar in each.bars] == sorted(minutes[each.day])
    assert len(set(host.asked)) == len(host.asked) == sum(each.calls for each in found)


@given(minutes_of_days, st.integers(2, 12))
def test_days_that_follow_each_other_share_their_pages(minutes, rows_per_page):
    host = Host(minutes, rows_per_page, goes_on=True)
    walked(host, list(minutes))
    assert len(host.asked) <= sum(map(len, minutes.values())) // rows_per_page + 1


def test_no_day_before_what_the_host_keeps_is_asked_for():
    for goes_on in (True, False):
        host = Host({DAYS[-1]: [1, 2, 3]}, 5, goes_on=goes_on)
        found = walked(host, DAYS)
        assert [len(each.bars) for each in found] == [3] + [0] * EMPTY_DAYS_MAX
        assert len(host.asked) == 1 + EMPTY_DAYS_MAX


def test_a_day_without_bars_between_others_costs_no_call():
    host = Host({DAYS[0]: [1], DAYS[2]: [2]}, 5, goes_on=True)
    assert [len(each.bars) for each in walked(host, DAYS[:3])] == [1, 0, 1]
    assert len(host.asked) == 1


def test_a_row_that_cannot_be_read_costs_that_row_alone():
    walk = MinuteDays(DAYS[:2], 4)
    bad = UnreadableRow("volume", b"{}")
    assert not walk.take(bars_of(DAYS[1], [1, 2, 3]), [bad]), "a full page: the day may have more"
    [whole] = walk.take([])
    assert (len(whole.bars), whole.unreadable, whole.calls) == (3, (bad,), 2)
    [other] = walk.take(bars_of(DAYS[0], [7]))
    assert (other.day, other.unreadable, other.calls) == (DAYS[0], (), 1)


def test_a_page_of_nothing_but_unreadable_rows_does_not_hold_up_earlier_days():
    walk = MinuteDays(DAYS[:2], 1)
    [whole] = walk.take([], [UnreadableRow("volume", b"{}")])
    assert (whole.day, len(whole.unreadable)) == (DAYS[1], 1)
    assert walk.until_ns is not None
    assert whole.calls == 1
