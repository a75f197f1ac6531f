"""The day's hours by venue, as the screen of trades and the slots take them."""

from collections.abc import Iterable

from observer.calendar.phases import DayPlan
from observer.calendar.sessions import Window
from observer.gaps.plausibility import TradingHours
from observer.lines import line_of
from observer.selection.settings import VenueWindow


def hours_of(plan: DayPlan) -> TradingHours:
    """The hours of the day's trades. A venue without a regular session opens with its first session."""
    by_venue = {each.venue: _hours(plan, each) for each in plan.trading}
    main = by_venue.pop(plan.venue, None)
    if main is None:
        return TradingHours(plan.day.isoformat(), plan.trades_from_ns, plan.trades_to_ns, plan.opens_ns)
    return TradingHours(main.session_date, main.from_ns, main.to_ns, main.opens_ns, by_venue)


def slot_windows(plan: DayPlan, line_ids: Iterable[str]) -> tuple[VenueWindow, ...]:
    """When lines of each venue may hold slots, by the venue in their ids: a line whose venue Track B does not collect
    may hold none. None where all these lines are of the main venue.
    """
    if not any(line_of(line_id).venue for line_id in line_ids):
        return ()
    named = ((each, "" if each.venue == plan.venue else each.venue) for each in plan.windows)
    return tuple(VenueWindow(venue, each.from_ns, each.to_ns) for each, venue in named)


def _hours(plan: DayPlan, trading: Window) -> TradingHours:
    regular = plan.sessions.regular_hours(trading.venue)
    opens_ns = trading.from_ns if regular is None else regular[0]
    return TradingHours(plan.day.isoformat(), trading.from_ns, trading.to_ns, opens_ns)
