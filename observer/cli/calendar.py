"""`observer calendar`: the sessions of days, from the reviewed files and the calendar packages."""

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from observer.base.errors import ConfigError, NoDataError
from observer.base.local_time import local_datetime
from observer.calendar.checks import ExplainedDay, explained, time_of
from observer.calendar.day_file import CalendarFiles
from observer.calendar.process import trading_days_apart
from observer.cli.context import SettingsOption, market_time_ns
from observer.cli.frame import Answer
from observer.cli.options import Option
from observer.cli.tables import Table
from observer.system.config import session_file

_USUAL_SPAN: Final = dt.timedelta(days=6)
_SPAN_MAX: Final = dt.timedelta(days=3660)  # ten years: the packages take a second for each
_COLUMNS: Final = ("date", "venue", "session", "opens", "closes", "kinds", "why", "doubt")


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a day: local times HH:MM or HH:MM:SS, `closes` exclusive. `doubt`: what no source says."""

    venue: str
    session: str
    opens: str
    closes: str
    kinds: Sequence[str]
    doubt: str


class DayRow(msgspec.Struct, frozen=True, kw_only=True):
    """A day of `observer calendar sessions --json`. `shift` names the special day; `why` says what is unusual."""

    day: str
    trades: bool
    shift: str
    why: str
    sessions: Sequence[SessionRow]


def parsed_date(text: str) -> dt.date:
    """A date such as 2026-11-18 or 20261118.

    Raises:
        ConfigError: the text is none.
    """
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a date such as 2026-11-18 or 20261118") from error


def sessions(
    begin: Annotated[
        dt.date | None, Option("--from", metavar="DATE", parser=parsed_date, help="The first day; default: today.")
    ] = None,
    end: Annotated[
        dt.date | None,
        Option("--to", metavar="DATE", parser=parsed_date, help="The last day; default: six days later."),
    ] = None,
    unusual: Annotated[bool, Option(help="Show only days with unusual sessions.")] = False,
    venue: Annotated[str | None, Option(help="Show one venue only, such as NXT.")] = None,
    *,
    settings: SettingsOption,
) -> Answer:
    """Show the sessions of days by venue, and why they are unusual.

    Unusual is a special day such as an exam day, the first day of other rules, and a day on which the sources
    contradict each other. The hours are those of the file that [run] sessions names.
    """
    first = begin or local_datetime(market_time_ns(settings.run)).date()
    last = end or first + _USUAL_SPAN
    if not first <= last <= first + _SPAN_MAX:
        raise ConfigError(f"--to {last} must not be before --from {first}, nor more than ten years after it")
    venues = {rule.venue for rule in settings.sessions.session}
    if venue is not None and venue not in venues:
        raise ConfigError(f"--venue {venue}: unknown; there are {', '.join(sorted(venues))}")
    files = CalendarFiles(Path(settings.run.trading_days), session_file(settings.run))
    days = explained(settings.sessions, asyncio.run(trading_days_apart(files, first, last)))
    rows = [_row(each, venue) for each in days if each.why or not unusual]
    if not rows:
        raise NoDataError(f"no day from {first} to {last} has unusual sessions")
    folded, optional = ("kinds", "why", "doubt"), ("doubt", "kinds")
    return Answer(rows, Table(_COLUMNS, list(_lines(rows)), folded=folded, optional=optional))


def _row(explained_day: ExplainedDay, venue: str | None) -> DayRow:
    shown = explained_day.sessions.sessions if venue is None else explained_day.sessions.of(venue)
    return DayRow(
        day=explained_day.day.day.isoformat(),
        trades=explained_day.day.trades,
        shift=explained_day.sessions.shift,
        why=explained_day.why,
        sessions=[
            SessionRow(
                venue=each.venue,
                session=each.name,
                opens=time_of(each.opens_ns),
                closes=time_of(each.closes_ns),
                kinds=each.kinds,
                doubt=each.doubt,
            )
            for each in shown
        ],
    )


def _lines(rows: Sequence[DayRow]) -> Iterator[Sequence[str]]:
    """A line for each session; the reason stands in the day's first one."""
    for row in rows:
        if not row.sessions:
            yield row.day, "", "none" if row.trades else "closed", "", "", "", row.why, ""
        for number, each in enumerate(row.sessions):
            why = row.why if number == 0 else ""
            kinds = " ".join(each.kinds)
            yield row.day, each.venue, each.session, each.opens, each.closes, kinds, why, each.doubt
