"""The arguments of the research API as values: days, moments, symbols and intervals. Pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from observer.base.errors import ConfigError
from observer.base.local_time import local_datetime, local_ns
from observer.base.units import NS_PER_MINUTE, NS_PER_S

When = str | date | datetime
"""A day or a moment: "2026-11-18", "20261118", "2026-11-18 10:00:00", a date or a datetime; without a zone it is local
time of the market.
"""

Symbols = str | Iterable[str] | None
"""One symbol, several, or None for all."""

EARLIEST, LATEST = date(1900, 1, 1), date(2200, 1, 1)
"""No data are from before or after these days; nanoseconds of 64 bits reach them."""

_INTERVAL: Final = re.compile(r"(\d+)\s*(s|sec|m|min|h)")
_UNIT_NS: Final = {
    "s": NS_PER_S,
    "sec": NS_PER_S,
    "m": NS_PER_MINUTE,
    "min": NS_PER_MINUTE,
    "h": 60 * NS_PER_MINUTE,
}
_DAY_NS: Final = 24 * 60 * NS_PER_MINUTE
_ONE_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(msgspec.Struct, frozen=True):
    """A day, and a moment of it in UTC nanoseconds; None for the day itself."""

    day: date
    at_ns: int | None = None


class Span(msgspec.Struct, frozen=True):
    """The days from `first` to `last`, both included, and the moments [from_ns, to_ns) within them; None: unbounded.
    `is_open`: no end was given.
    """

    first: date
    last: date
    from_ns: int | None = None
    to_ns: int | None = None
    is_open: bool = False

    def __str__(self) -> str:
        return self.first.isoformat() if self.first == self.last else f"{self.first} to {self.last}"


def moment_of(when: When) -> Moment:
    """The day, or the moment, that an argument names.

    Raises:
        ConfigError: it names none.
    """
    if isinstance(when, datetime):
        return _moment(when)
    if isinstance(when, date):
        return Moment(when)
    text = str(when).strip()
    try:
        return Moment(date.fromisoformat(text))
    except ValueError:
        pass
    try:
        return _moment(datetime.fromisoformat(text))
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is neither a day such as 2026-11-18 nor a moment such as 2026-11-18 10:00"
        ) from error


def at_ns(when: When, *, end_of_day: bool = False) -> int:
    """The moment in UTC nanoseconds; of a day its begin, or its end.

    Raises:
        ConfigError: the argument names neither a day nor a moment.
    """
    moment = moment_of(when)
    if moment.at_ns is not None:
        return moment.at_ns
    return local_ns(moment.day + _ONE_DAY) if end_of_day else local_ns(moment.day)


def span_of(start: When | None, end: When | None) -> Span:
    """The span from `start` to `end`, a day included whole and a moment excluded; without an end the day of `start`,
    from its moment on if it has one.

    Raises:
        ConfigError: the arguments name no span.
    """
    first = moment_of(str(start) if start is None else start)
    if end is None:
        return Span(first.day, first.day, first.at_ns, is_open=True)
    last = moment_of(end)
    is_earlier = first.at_ns is not None and last.at_ns is not None and last.at_ns < first.at_ns
    if last.day < first.day or is_earlier:
        raise ConfigError(f"{end} is before {start}: give the earlier one first")
    return Span(first.day, last.day, first.at_ns, last.at_ns)


def begin_of(span: Span) -> int:
    """The first moment of a span in UTC nanoseconds."""
    return local_ns(span.first) if span.from_ns is None else span.from_ns


def end_of(span: Span) -> int:
    """The end of a span in UTC nanoseconds: of a moment alone that moment."""
    if span.is_open and span.from_ns is not None:
        return span.from_ns
    return local_ns(span.last + _ONE_DAY) if span.to_ns is None else span.to_ns


def symbols_of(symbols: Symbols) -> Sequence[str] | None:
    """The symbols, each once, in their order; None for all.

    Raises:
        ConfigError: there is none, or one is no text.
    """
    if symbols is None:
        return None
    named = [symbols] if isinstance(symbols, str) else list(symbols) if isinstance(symbols, Iterable) else []
    if not named or not all(isinstance(each, str) and each.strip() for each in named):
        raise ConfigError(f"{symbols!r} is no symbol: give a text such as 'ABC', a list of them, or None for all")
    return list(dict.fromkeys(each.strip() for each in named))


def symbol_of(symbol: str) -> str:
    """The one symbol that an argument names.

    Raises:
        ConfigError: it is no text, or empty.
    """
    if not isinstance(symbol, str) or not symbol.strip():
        raise ConfigError(f"{symbol!r} is no symbol: give a text such as 'ABC'")
    return symbol.strip()


def path_of(path: str | Path, wanted: str) -> Path:
    """The path that an argument names.

    Raises:
        ConfigError: it is no path; `wanted` says what is.
    """
    if not isinstance(path, str | Path):
        raise ConfigError(f"{path!r} is no path: give {wanted}")
    return Path(path).expanduser()


def interval_ns(interval: str | timedelta) -> int:
    """An interval such as "30s", "5m" or "1h" in nanoseconds; it divides a day.

    Raises:
        ConfigError: it is no interval.
    """
    if isinstance(interval, timedelta):
        found = int(interval.total_seconds()) * NS_PER_S
    else:
        parts = _INTERVAL.fullmatch(str(interval).strip().lower())
        found = int(parts[1]) * _UNIT_NS[parts[2]] if parts else 0
    if found <= 0 or _DAY_NS % found:
        raise ConfigError(
            f"{interval!r} is no interval of bars: give one that divides a day, such as 30s, 1m, 5m or 1h"
        )
    return found


def _moment(when: datetime) -> Moment:
    if when.tzinfo is None:
        seconds_ns = local_ns(when.date(), when.hour, when.minute, when.second)
        return Moment(when.date(), seconds_ns + when.microsecond * 1000)
    exact = when - _EPOCH
    at = (exact.days * 86_400 + exact.seconds) * NS_PER_S + exact.microseconds * 1000
    return Moment(local_datetime(at).date(), at)
