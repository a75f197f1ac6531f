"""What the data part of the HTTP API asks the stored data: a relation, part by part, with the identity of its rows.

A question is answered part by part: a day of several, or all at once. So a page reads the days that it shows. Nothing
here imports polars before a question is asked.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from observer.base.errors import ConfigError, NoDataError
from observer.research.arguments import EARLIEST, LATEST, Span, span_of
from observer.research.catalogue import RELATIONS

if TYPE_CHECKING:
    import polars as pl

    from observer.research.store import Store

DAYS_MAX: Final = 366
"""The stored days that one question may span."""

_ALL: Final = "all"  # the part of a question that has one
_ADJUSTED: Final = "share_adjustments"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question for a relation; days and moments are texts."""

    relation: str
    day: str | None = None
    end: str | None = None
    symbol: str | None = None
    known_at: str | None = None
    options: Mapping[str, Any] = {}

    def identity(self, store: "Store") -> str:
        """A text that is another one when the answer is."""
        relation, rows = RELATIONS[self.relation], store.rows
        if relation.span != "days":
            return rows.digest
        own = rows.identity([kind for kind in relation.kinds if kind != _ADJUSTED], self.parts(store))
        return f"{own} {rows.identity([_ADJUSTED], rows.days)}" if self.options.get("adjusted") else own

    def parts(self, store: "Store") -> Sequence[str]:
        """The parts of the answer in their order: the stored days, or one.

        Raises:
            NoDataError, ConfigError: no day is stored, or too many are.
        """
        from observer.research.errors import unknown_day

        if RELATIONS[self.relation].span != "days" or self.day is None:
            return (_ALL,)
        span = _span(self.day, self.end)
        days = [day for day in store.rows.days if span.first.isoformat() <= day <= span.last.isoformat()]
        if not days:
            raise unknown_day(str(span), store.rows.days)
        if len(days) > DAYS_MAX:
            raise ConfigError(f"{span} has {len(days)} stored days: ask for at most {DAYS_MAX} at once")
        return days

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """The rows of a part: of a day from the first moment, and until the last one, where these are of the day.

        Raises:
            NotCollected: the part was not collected; another one may have been.
            NoDataError: there is no answer at all.
        """
        begin, end = self.day, self.end
        if part != _ALL and begin is not None:
            span = _span(begin, end)
            begin = begin if span.from_ns is not None and span.first.isoformat() == part else part
            end = end if span.to_ns is not None and span.last.isoformat() == part else None
        return self._asked(store, begin, end).collect()

    def require_collected(self, store: "Store") -> None:
        """Raise the error for an answer without any collected part."""
        self._asked(store, self.day, self.end)

    def _asked(self, store: "Store", begin: str | None, end: str | None) -> "pl.LazyFrame":
        first, last, known = map(_near, (begin, end, self.known_at))
        if first is not None or last is not None:
            _span(first or EARLIEST.isoformat(), last)
        return store.relation(self.relation, first, last, symbols=self.symbol, known_at=known, **self.options)


def moment_text_of(text: str) -> str:
    """The day or moment as it was meant: in a URL, a plus sign that was not encoded arrives as a blank."""
    head, _, offset = text.strip().rpartition(" ")
    is_offset = "T" in head.upper() and len(offset) == len("09:00")
    return (f"{head}+{offset}" if is_offset else text).upper()


def _span(start: str, end: str | None) -> Span:
    """The span of two days or moments.

    Raises:
        ConfigError: one of them is neither.
        NoDataError: no day can be between them.
    """
    begin, until = moment_text_of(start), None if end is None else moment_text_of(end)
    try:
        return span_of(begin, until)
    except (ConfigError, OverflowError) as error:
        if all(_is_day_or_moment(text) for text in (begin, until) if text is not None):
            raise NoDataError(
                f"nothing is from {start} to {end}: give days of a market, the earlier one first"
            ) from error
        raise


def _is_day_or_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _near(text: str | None) -> str | None:
    """The day or moment as it was meant; a day that no data can be of as the nearest that nanoseconds can name."""
    if text is None:
        return None
    meant = moment_text_of(text)
    try:
        return min(max(date.fromisoformat(meant), EARLIEST), LATEST).isoformat()
    except ValueError:
        return meant
