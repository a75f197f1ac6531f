"""The phases of every day of thirty years, by the calendar that the system really uses."""

from datetime import date
from itertools import pairwise

import pytest

from observer.base.local_time import local_ns
from observer.calendar.packages import trading_days
from observer.calendar.phases import next_change, phase_at, plan
from tests.calendar.trading_years import OURS
from tests.day_plans import RULES

FULL_DAY = ["IDLE", "WARMUP", "TRACK_A_ONLY", "FULL_OPERATION", "TRACK_A_CLOSING", "SHUTDOWN", "IDLE"]

pytestmark = pytest.mark.slow  # the packages work out thirty years


def test_the_phases_cover_thirty_years_without_gap_or_overlap():
    days = trading_days(OURS, date(2017, 1, 1), date(2046, 12, 31))
    end_ns = local_ns(date(2017, 1, 1))
    for day in days:
        of_it = plan(day, RULES)
        assert of_it.phases[0].start_ns == end_ns == local_ns(day.day)
        assert all(before.end_ns == after.start_ns for before, after in pairwise(of_it.phases))
        assert all(span.start_ns < span.end_ns for span in of_it.phases)
        assert [span.phase for span in of_it.phases] == (FULL_DAY if day.trades else ["IDLE"])
        end_ns = of_it.phases[-1].end_ns
        for span in of_it.phases:
            assert phase_at(of_it, span.start_ns) == phase_at(of_it, span.end_ns - 1) == span.phase
            assert next_change(of_it, span.start_ns) == span.end_ns
    assert end_ns == local_ns(date(2047, 1, 1))
    assert sum(day.trades for day in days) > 30 * 240
