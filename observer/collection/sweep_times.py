"""When Track A sweeps which venues' lines, by the sessions that it collects. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from bus.events import MarketSession
from observer.base.units import NS_PER_S
from observer.calendar.phases import DayPlan
from observer.calendar.sessions import DaySessions, SessionName, Window

CLOSING_SWEEP_S: Final = 90.0  # market seconds after the close: the auction is over, and nothing else has begun

_SESSION_OF_RECORDS: Final[Mapping[SessionName, MarketSession]] = {
    "pre": "pre",
    "opening_auction": "regular",
    "regular": "regular",
    "closing_auction": "regular",
    "closing_price": "after",
    "single_price": "after",
    "after": "after",
}


class Sweep(msgspec.Struct, frozen=True):
    """One sweep of a day: its number from 1, its begin (UTC ns), and the venues whose lines it asks."""

    number: int
    begins_ns: int
    venues: frozenset[str]


def sweeps_of(plan: DayPlan, windows: Sequence[Window], interval_ns: int, main_venue: str) -> Sequence[Sweep]:
    """The sweeps of a day.

    One at each interval from Track A's start to its stop, of the venues that Track A collects then. One of the main
    venue after its regular hours. One of each venue that is collected to the end of its day, after the last report of a
    trade. The last two kinds are the source of the next morning's daily bars.

    Args:
        plan: the day.
        windows: what Track A collects of the universe's venues.
        interval_ns: between two sweeps.
        main_venue: the venue of the plan's regular hours.
    """
    found: defaultdict[int, set[str]] = defaultdict(set)
    for moment_ns in range(plan.track_a_start_ns, plan.track_a_stop_ns + 1, interval_ns):
        found[moment_ns] |= open_venues(windows, moment_ns)
    found[plan.closes_ns + round(CLOSING_SWEEP_S * NS_PER_S)].add(main_venue)
    for venue, moment_ns in _ends(plan.sessions, windows):
        found[moment_ns].add(venue)
    asked = ((moment_ns, frozenset(venues)) for moment_ns, venues in sorted(found.items()) if venues)
    return [Sweep(number, *sweep) for number, sweep in enumerate(asked, start=1)]


def open_venues(windows: Sequence[Window], now_ns: int) -> frozenset[str]:
    """The venues that are collected at a moment; the end of a window belongs to it, as its last trades are due then."""
    return frozenset(each.venue for each in windows if each.from_ns <= now_ns <= each.to_ns)


def session_of(sessions: DaySessions, venue: str, now_ns: int) -> MarketSession:
    """The session that a record of this moment belongs to; "closed" between a venue's sessions."""
    found = sessions.session_at(venue, now_ns)
    return "closed" if found is None else _SESSION_OF_RECORDS[found]


def _ends(sessions: DaySessions, windows: Sequence[Window]) -> Iterator[tuple[str, int]]:
    """The venues that are collected until their last close, each with the moment when its last trades are reported."""
    for venue in {window.venue for window in windows}:
        held = sessions.of(venue)
        stop_ns = max(window.to_ns for window in windows if window.venue == venue)
        if held and stop_ns >= held[-1].closes_ns:
            yield venue, held[-1].reported_until_ns
