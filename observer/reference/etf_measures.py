"""Premium and tracking error of a fund over its last sessions. Pure.

*Premium* (괴리율): 100 x (close - NAV) / NAV, averaged with its sign over the sessions (requirement 002 calls this the
"tracking error"; it is not). *Tracking error* (추적오차): the standard deviation of the difference between the NAV's
daily returns and the returns aimed at (the index's times the fund's multiple), scaled to a year and in percent.
"""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from statistics import fmean, stdev
from typing import Final

import msgspec

from bus.events import FundMeasured, FundNavDay

WINDOWS: Final = (20, 60, 120, 250)  # sessions; requirement 002, phase 3
SESSIONS_PER_YEAR: Final = 250
_WINDOW_DAYS: Final = 380  # calendar days that hold 251 sessions: one more for the first return
_OVERLAP: Final = timedelta(days=7)  # fetched again: the last NAVs of a day are settled after its close


class NavSpan(msgspec.Struct, frozen=True):
    """Days to ask for, both included."""

    first: date
    last: date


def measure(symbol: str, days: Sequence[FundNavDay], leverage: float, session_date: str, now_ns: int) -> FundMeasured:
    """The fund's measures from its days, oldest first, each once."""
    premiums = [premium for day in days if (premium := premium_percent(day)) is not None]
    differences = _return_differences(days, leverage)
    means = [_mean(premiums, window) for window in WINDOWS]
    errors = [_tracking_error(differences, window) for window in WINDOWS]
    return FundMeasured(symbol, session_date, now_ns, len(premiums), *means, *errors)


def premium_percent(day: FundNavDay) -> float | None:
    """How far the close was from the NAV; what the source states where it gives no NAV."""
    if day.nav is None or day.nav <= 0:
        return day.premium_percent
    return 100 * (day.close - day.nav) / day.nav


def _mean(values: Sequence[float], window: int) -> float | None:
    return fmean(values[-window:]) if len(values) >= window else None


def _return_differences(days: Sequence[FundNavDay], leverage: float) -> list[float]:
    """NAV's return less the return aimed at, of every day whose own and previous NAV and index are known."""
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


def span_to_ask(measured_on: date | None, listed_on: date | None, last: date) -> NavSpan | None:
    """The days to ask for up to `last`: all that the longest window needs for a fund that was never measured, for
    another what came since, with some days again. None when there is nothing yet.
    """
    first = window_begin(last)
    for bound in (listed_on, None if measured_on is None else measured_on - _OVERLAP):
        first = first if bound is None else max(first, bound)
    return NavSpan(first, last) if first <= last else None


def rest_of(span: NavSpan, oldest: date) -> NavSpan | None:
    """What is still to be asked for when `oldest` is the oldest day that came: a broker gives so many days a call.

    None when the span's first day is reached. A week without a session is a long holiday, not a hole.
    """
    if oldest - span.first <= _OVERLAP:
        return None
    return NavSpan(span.first, oldest - timedelta(days=1))


def window_begin(last: date) -> date:
    """The first day that the longest window up to `last` can need."""
    return last - timedelta(days=_WINDOW_DAYS)
