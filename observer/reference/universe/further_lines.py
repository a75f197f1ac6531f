"""The lines of the universe's stocks at the venues beside the main one. Pure.

A stock's eligibility and market capitalisation are judged once, at the main venue. A further line has the closes, the
averages and the ranges of its own bars, and ranks after all main lines: free slots, which go to the largest symbols,
are the main lines', as the requirement ranks them. A further line gets a slot by its own evidence: in a universe of
more symbols than twice the slots none fills a free slot, also while the main venue is closed.
"""

from collections.abc import Mapping, Sequence

import msgspec

from bus.events import UniverseMember
from observer.base.lines import line_id, venue_of
from observer.reference.universe.eligibility import NO_HISTORY, History, Universe


def lines_at(
    members: Sequence[UniverseMember], trading: Mapping[str, frozenset[str]], main_venue: str
) -> Mapping[str, UniverseMember]:
    """The further lines, by venue and then in the order of the main lines, each with its stock's main line.

    `trading` are the stocks that trade at each further venue.
    """
    return {
        line_id(member.symbol, venue, main_venue): member
        for venue, stocks in trading.items()
        for member in members
        if member.symbol in stocks
    }


def with_further_lines(
    universe: Universe, lines: Mapping[str, UniverseMember], histories: Mapping[str, History], main_venue: str
) -> Universe:
    """The universe with these lines of its stocks. A line without a bar of the previous session is compared with the
    close of its stock's main line.
    """
    further = [
        _member(rank, line, main, histories.get(line, NO_HISTORY), main_venue)
        for rank, (line, main) in enumerate(lines.items(), start=len(universe.members) + 1)
    ]
    members = (*universe.members, *further)
    return msgspec.structs.replace(
        universe, members=members, built=msgspec.structs.replace(universe.built, symbols=len(members))
    )


def _member(rank: int, line: str, main: UniverseMember, history: History, main_venue: str) -> UniverseMember:
    close = history.previous_close
    return msgspec.structs.replace(
        main,
        rank=rank,
        symbol=line,
        previous_close=main.previous_close if close is None else close,
        average_volume_20d=history.average_volume_20d,
        average_true_range_14d=history.average_true_range_14d,
        close_is_base=close is None,
        average_volume_days=history.volume_days,
        average_true_range_days=history.true_range_days,
        days_from_sweeps=history.days_from_sweeps,
        venue=venue_of(line, main_venue),
        average_sessions=history.average_sessions,
    )
