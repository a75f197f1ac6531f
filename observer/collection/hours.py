"""The day's hours by venue, as the screen of trades and the slots take them."""

from collections.abc import Iterable, Sequence

from observer.base.lines import line_of
from observer.calendar.phases import DayPlan
from observer.calendar.sessions import Window
from observer.gaps.plausibility import TradingHours
from observer.selection.settings import VenueWindow


def hours_of(plan: DayPlan) -> TradingHours:
    """The hours of the day's trades. A venue without a regular session opens with its first session."""
    by_venue = {each.venue: _hours(plan, each) for each in plan.trading}
    main = by_venue.pop(plan.venue, None)
    if main is None:
        return TradingHours(plan.day.isoformat(), plan.trades_from_ns, plan.trades_to_ns, plan.opens_ns)
    return TradingHours(main.session_date, main.from_ns, main.to_ns, main.opens_ns, by_venue)


def slot_windows(plan: DayPlan, line_ids: Iterable[str], keep_over_pause_ns: int = 0) -> tuple[VenueWindow, ...]:
    """When lines of each venue may hold slots, by the venue in their ids: a line whose venue Track B does not collect
    may hold none. None where all these lines are of the main venue. A pause of at most `keep_over_pause_ns` between a
    close and the venue's next opening ends no window: in it, lines hold slots that no line outranks.
    """
    if not any(line_of(line_id).venue for line_id in line_ids):
        return ()
    found: list[VenueWindow] = []
    for each in sorted(plan.windows, key=lambda each: (each.venue, each.from_ns)):
        venue = "" if each.venue == plan.venue else each.venue
        if found and found[-1].venue == venue and each.from_ns - found[-1].to_ns <= keep_over_pause_ns:
            found[-1] = VenueWindow(venue, found[-1].from_ns, each.to_ns)
        else:
            found.append(VenueWindow(venue, each.from_ns, each.to_ns))
    return tuple(found)


def openings_of(plan: DayPlan) -> dict[str, tuple[int, ...]]:
    """When each venue begins to trade (UTC ns), by the venue in the ids of lines. An auction begins without a trade."""
    found: dict[str, tuple[int, ...]] = {}
    for each in plan.sessions.sessions:
        if each.name not in ("opening_auction", "closing_auction"):
            venue = "" if each.venue == plan.venue else each.venue
            found[venue] = (*found.get(venue, ()), each.opens_ns)
    return found


def slot_stop(windows: Sequence[VenueWindow], line_id: str, held_ns: int, stop_ns: int) -> int:
    """When the line's slot, held at `held_ns`, ends at the latest (UTC ns): with the window of its venue, and with
    Track B's stop. Without windows at the stop.
    """
    venue = line_of(line_id).venue
    begun = [each.to_ns for each in windows if each.venue == venue and each.from_ns <= held_ns]
    return min(max(begun, default=stop_ns), stop_ns)


def _hours(plan: DayPlan, trading: Window) -> TradingHours:
    regular = plan.sessions.regular_hours(trading.venue)
    opens_ns = trading.from_ns if regular is None else regular[0]
    return TradingHours(plan.day.isoformat(), trading.from_ns, trading.to_ns, opens_ns)
