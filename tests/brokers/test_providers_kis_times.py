"""KIS's dates and times are Korean, and the arithmetic agrees with the calendar."""

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.local_time import local_ns
from observer.brokers.kis.times import date_text_of, hour_text_of, midnight_ns, moment_ns, parse_date
from observer.calendar.venues import KRX

seconds = st.integers(157_766_400, 4_102_444_800)  # 1975 to 2100


def texts_of(second):
    moment = datetime.fromtimestamp(second, KRX.zone)
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


@given(seconds)
def test_the_time_of_a_date_and_a_time_text_matches_the_calendar(second):
    assert moment_ns(*texts_of(second)) == second * 10**9


@given(seconds, st.integers(0, 10**9 - 1))
def test_a_moment_has_one_date_and_one_time_whatever_its_fraction(second, fraction_ns):
    exact_ns = second * 10**9 + fraction_ns
    assert (date_text_of(exact_ns), hour_text_of(exact_ns)) == texts_of(second)


def test_midnight_agrees_with_the_clock():
    assert midnight_ns("20261120") == local_ns(date(2026, 11, 20))


@pytest.mark.parametrize("text", ["", "2026112", "202611200", "20261320", "20260230", "2026-1-1", "２０２６１１２０"])
def test_an_invalid_date_is_refused(text):
    with pytest.raises(ValueError):
        parse_date(text)


@pytest.mark.parametrize("text", ["", "9", "0900", "240000", "096000", "090060", "09:0:0", " 90000"])
def test_an_invalid_time_of_day_is_refused(text):
    with pytest.raises(ValueError):
        moment_ns("20261120", text)


@pytest.mark.parametrize("text", ["99991231", "22620101", "00010101", "18991231"])
def test_a_day_outside_the_nanosecond_range_is_refused(text):
    with pytest.raises(ValueError, match="too far"):
        midnight_ns(text)
