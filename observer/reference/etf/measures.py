"""Premium and tracking error of an ETF over its last sessions. Pure.

*Premium* (괴리율): 100 x (close - NAV) / NAV, averaged with its sign over the sessions (the requirement calls this the
"tracking error"; it is not). *Tracking error* (추적오차): the standard deviation of the difference between the NAV's
daily returns and the returns aimed at (the index's times the ETF's multiple), scaled to a year and in percent.
"""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from statistics import fmean, stdev
from typing import Final

import msgspec

from bus.events import EtfMeasured, EtfNavDay

WINDOWS: Final = (20, 60, 120, 250)  # sessions
SESSIONS_PER_YEAR: Final = 250
_WINDOW_DAYS: Final = 380  # calendar days that hold 251 sessions: one more for the first return
_LONGEST_CLOSURE: Final = timedelta(days=11)  # from session to session: Chuseok of 2017
_OVERLAP: Final = timedelta(days=7)  # fetched again: the last NAVs of a day are settled after its close


class NavSpan(msgspec.Struct, frozen=True):
    """Days to ask for, both included."""

    first: date
    last: date


def measure(symbol: str, days: Sequence[EtfNavDay], leverage: float, session_date: str, now_ns: int) -> EtfMeasured:
    """The ETF's measures from its days, oldest first, each once."""
    premiums = [premium for day in days if (premium := premium_percent(day)) is not None]
    differences = _return_differences(days, leverage)
    means = [_mean(premiums, window) for window in WINDOWS]
    errors = [_tracking_error(differences, window) for window in WINDOWS]
    return EtfMeasured(symbol, session_date, now_ns, len(premiums), *means, *errors)


def premium_percent(day: EtfNavDay) -> float | None:
    """The close's distance from the NAV in percent; the source's own figure where it reports no NAV."""
    if day.nav is None or day.nav <= 0:
        return day.premium_percent
    return 100 * (day.close - day.nav) / day.nav


def _mean(values: Sequence[float], window: int) -> float | None:
    return fmean(values[-window:]) if len(values) >= window else None


def _return_differences(days: Sequence[EtfNavDay], leverage: float) -> list[float]:
    """The NAV's return less the target return, for every day with a known NAV, previous NAV and index."""
    differences = []
    for before, day in pairwise(days):
        if before.nav and day.nav and before.index_close and day.index_close:
            aimed_at = leverage * (day.index_close / before.index_close - 1)
            differences.append(day.nav / before.nav - 1 - aimed_at)
    return differences


def _tracking_error(differences: Sequence[float], window: int) -> float | None:
    if len(differences) < window:
        return None
    return 100 * stdev(differences[-window:]) * math.sqrt(SESSIONS_PER_YEAR)


# --- which days to ask for -----------------------------------------------------------------------------------


def spans_to_ask(
    stored: Sequence[date], measured_on: date | None, listed_on: date | None, last: date
) -> tuple[NavSpan, ...]:
    """The days to request up to `last`, newest span first; None when there are none yet.

    For an ETF without measures: the longest window. For another: the days since, with some days again, and the days
    missing before the `stored` ones. Stored measures do not prove stored days: an answer may have been empty.
    """
    begin = window_begin(last) if listed_on is None else max(window_begin(last), listed_on)
    held = sorted(day for day in stored if begin <= day <= last)
    if begin > last or measured_on is None or not held:
        return (NavSpan(begin, last),) if begin <= last else ()
    recent = NavSpan(max(begin, min(measured_on, held[-1]) - _OVERLAP), last)
    unbroken_from = held[-1]
    for day in reversed(held):
        if unbroken_from - day > _LONGEST_CLOSURE:
            break
        unbroken_from = day
    if unbroken_from - begin <= _OVERLAP:
        return (recent,)
    if unbroken_from >= recent.first:
        return (NavSpan(begin, last),)
    return recent, NavSpan(begin, unbroken_from - timedelta(days=1))


def rest_of(span: NavSpan, oldest: date) -> NavSpan | None:
    """The rest of a span after an answer whose oldest day is `oldest`: a broker returns a limited number of days a
    call.

    None when the span's first day is reached. A week without a session is a long holiday, not a gap.
    """
    if oldest - span.first <= _OVERLAP:
        return None
    return NavSpan(span.first, oldest - timedelta(days=1))


def window_begin(last: date) -> date:
    """The first day that the longest window up to `last` can need."""
    return last - timedelta(days=_WINDOW_DAYS)
