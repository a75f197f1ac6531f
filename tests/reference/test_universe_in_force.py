"""A universe stands in for that of a later day for a limited number of weekdays."""

from datetime import date

import pytest

from observer.collection.settings import TrackASettings
from observer.reference.universe.in_force import oldest_fallback


@pytest.mark.parametrize(
    ("day", "weekdays_max", "oldest"),
    [
        (date(2026, 11, 18), 1, date(2026, 11, 17)),
        (date(2026, 11, 16), 1, date(2026, 11, 13)),  # a Monday's is that of Friday
        (date(2026, 11, 18), 7, date(2026, 11, 9)),
    ],
)
def test_weekends_do_not_count(day, weekdays_max, oldest):
    assert oldest_fallback(day, weekdays_max) == oldest


def test_by_default_the_last_session_before_the_longest_closure_counts_and_one_of_half_a_year_ago_does_not():
    reopened, closed = date(2017, 10, 10), date(2017, 9, 29)
    default = TrackASettings().universe_weekdays_max
    assert oldest_fallback(reopened, default) <= closed
    assert oldest_fallback(date(2026, 11, 18), default) > date(2026, 5, 8)
