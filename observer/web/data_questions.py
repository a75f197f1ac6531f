"""What the data part of the HTTP API asks the stored data: each question with its parts, its rows and their identity.

A question is answered part by part: a day of several, or all at once. So a page reads the days that it shows. Nothing
here imports the extra `research` before a question is asked.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import msgspec

from observer.base.errors import ConfigError, NoDataError

if TYPE_CHECKING:
    import polars as pl

    from observer.research.arguments import Span
    from observer.research.store import Store

DAYS_MAX: Final = 366
"""The stored days that one question may span."""

_FIRST, _LAST = date(1900, 1, 1), date(2200, 1, 1)  # nanoseconds of 64 bits reach them
_ALL: Final = "all"  # the part of a question that has one
_OF_COLLECTED: Final = ("slot_assignments", "tape_reports", "tape_pages", "universe_members")
_OF_WORDS: Final = ("quality", "tape_reports", "universe_members", "slot_assignments", "recovered_minute_bars")


class Question(Protocol):
    """What can be asked. `is_fixed`: an open store gives the same answer again."""

    is_fixed: ClassVar[bool]

    def identity(self, store: "Store") -> str:
        """A text that is another one when the answer is."""

    def parts(self, store: "Store") -> Sequence[str]:
        """The parts of the answer in their order; at least one."""

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """The rows of a part.

        Raises:
            NotCollected: the part was not collected; another one may have been.
            NoDataError: there is no answer at all.
        """

    def require_collected(self, store: "Store") -> None:
        """Raise the error for an answer without any collected part."""


class _Question(msgspec.Struct, frozen=True, kw_only=True):
    """What most questions have. `kinds` are the stored kinds that the answer is made of."""

    kinds: ClassVar[Sequence[str]] = ()
    is_fixed: ClassVar[bool] = True

    def identity(self, store: "Store") -> str:
        """That of all rows."""
        return store.rows.digest

    def require_collected(self, store: "Store") -> None:
        """Nothing: all of it is collected."""


class _Whole(_Question, frozen=True, kw_only=True):
    """A question with one part."""

    def parts(self, store: "Store") -> Sequence[str]:  # noqa: ARG002 - of other questions
        """One."""
        return (_ALL,)


class _OfListings(_Whole, frozen=True, kw_only=True):
    is_fixed: ClassVar[bool] = False

    def identity(self, store: "Store") -> str:
        """Changes of listings are only added."""
        database = store.rows.database
        return f"{store.rows.market} {database.count_listing_changes() if database is not None else store.rows.digest}"


class Listings(_OfListings, frozen=True, kw_only=True):
    """The instruments that are listed, at the end of a day or now."""

    as_of: str | None = None
    kind: str | None = None
    exchange: str | None = None

    def read(self, store: "Store", part: str) -> "pl.DataFrame":  # noqa: ARG002 - of other questions
        """The instruments by exchange and symbol."""
        found = store.instruments(None if self.as_of is None else _near(_day(self.as_of)), self.kind).collect()
        if self.exchange is None:
            return found
        of_exchange = found.filter(exchange=self.exchange)
        if of_exchange.is_empty() and self.kind is None:
            there = ", ".join(found["exchange"].unique().sort()) or "none"
            raise NoDataError(f"no instrument of {self.exchange} is stored: the exchanges are {there}")
        return of_exchange


class Lifetime(_OfListings, frozen=True, kw_only=True):
    """Whether a symbol was listed on a day."""

    symbol: str
    on: str

    def read(self, store: "Store", part: str) -> "pl.DataFrame":  # noqa: ARG002 - of other questions
        """One row."""
        from observer.research.listings import frame_of

        return frame_of(store.listed(self.symbol, _day(self.on)))


class NewListings(_OfListings, frozen=True, kw_only=True):
    """The listings that appeared since a day."""

    since: str

    def read(self, store: "Store", part: str) -> "pl.DataFrame":  # noqa: ARG002 - of other questions
        """The instruments as their files first showed them, by exchange and symbol."""
        from observer.base.local_time import local_ns
        from observer.research.listings import instruments

        everything = store.instruments()  # raises where no file was ever read
        database = store.rows.database
        assert database is not None
        since_ns = local_ns(_near(_day(self.since)))
        changes = database.listing_changes(local_ns(_LAST))
        new = [each for each in changes if each.change == "new" and each.changed_ns >= since_ns]
        return instruments(new, None, str(everything.collect_schema()["changed"].time_zone))  # type: ignore[attr-defined]


class _OfDays(_Question, frozen=True, kw_only=True):
    """A question about each stored day of a span; `start` and `end` are days or moments."""

    start: str
    end: str | None = None

    def identity(self, store: "Store") -> str:
        """That of the days' rows."""
        return store.rows.identity(self.kinds, self.parts(store))

    def parts(self, store: "Store") -> Sequence[str]:
        """The stored days."""
        from observer.research.errors import unknown_day

        span = span_of_texts(self.start, self.end)
        days = [day for day in store.rows.days if span.first.isoformat() <= day <= span.last.isoformat()]
        if not days:
            raise unknown_day(str(span), store.rows.days)
        if len(days) > DAYS_MAX:
            raise ConfigError(f"{span} has {len(days)} stored days: ask for at most {DAYS_MAX} at once")
        return days


class Quality(_OfDays, frozen=True, kw_only=True):
    """The quality reports."""

    kinds: ClassVar[Sequence[str]] = (*_OF_WORDS, "bar_fetches")

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """Those of a day by symbol."""
        return store.quality(part).collect()


class Gaps(_OfDays, frozen=True, kw_only=True):
    """The gaps with their outcomes."""

    kinds: ClassVar[Sequence[str]] = ("gaps", "gap_recoveries", "gap_losses")

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """Those of a day by detection."""
        return store.gaps(part).collect()


class Slots(_OfDays, frozen=True, kw_only=True):
    """The times in which symbols had slots."""

    kinds: ClassVar[Sequence[str]] = ("slot_assignments", "slot_releases", "universe_members")

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """Those of a day by begin."""
        return store.slots(part).collect()


class Triggers(_OfDays, frozen=True, kw_only=True):
    """The triggers."""

    kinds: ClassVar[Sequence[str]] = ("triggers", "trigger_ends", "universe_members", "slot_assignments")

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """Those of a day by time."""
        return store.triggers(part).collect()


class Universe(_OfDays, frozen=True, kw_only=True):
    """The universe of a day, which is `start`."""

    kinds: ClassVar[Sequence[str]] = ("universes", "universe_members")

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """Its members by rank."""
        return store.universe(part).collect()


class Trades(_OfDays, frozen=True, kw_only=True):
    """The trades of a symbol on a day, which is `start`."""

    kinds: ClassVar[Sequence[str]] = ("trades", *_OF_COLLECTED, *_OF_WORDS, "bar_fetches")
    symbol: str

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """The trades of each line in the order of the day's volume."""
        return store.trades(self.symbol, part).collect()


class Bars(_OfDays, frozen=True, kw_only=True):
    """The bars of a symbol."""

    kinds: ClassVar[Sequence[str]] = (
        "trades",
        "conflated_trades",
        "recovered_minute_bars",
        "reconciliations",
        *_OF_COLLECTED,
    )
    symbol: str
    interval: str = "1m"
    adjusted: bool = False

    def identity(self, store: "Store") -> str:
        """That of the days' rows, and of what the bars are adjusted by."""
        own = super().identity(store)
        return f"{own} {store.rows.identity(('share_adjustments',), store.rows.days)}" if self.adjusted else own

    def read(self, store: "Store", part: str) -> "pl.DataFrame":
        """The bars of a day by time: from the first moment, and until the last one, where these are of the day."""
        span = span_of_texts(self.start, self.end)
        start, end = part, None
        if span.from_ns is not None and span.first.isoformat() == part:
            start = moment_text_of(self.start)
        if span.to_ns is not None and span.last.isoformat() == part and self.end is not None:
            end = moment_text_of(self.end)
        return store.bars(self.symbol, start, end, interval=self.interval, adjusted=self.adjusted).collect()

    def require_collected(self, store: "Store") -> None:
        """Raises what a question for the trades of the span does."""
        span = span_of_texts(self.start, self.end)
        store.trades(self.symbol, span.first, span.last)


class _OfHistory(_Whole, frozen=True, kw_only=True):
    """A question about a symbol's days, which may lie before the first stored session."""

    symbol: str
    start: str
    end: str | None = None


class Daily(_OfHistory, frozen=True, kw_only=True):
    """The daily bars of a symbol."""

    adjusted: bool = False

    def read(self, store: "Store", part: str) -> "pl.DataFrame":  # noqa: ARG002 - of other questions
        """The bars by day."""
        span = span_of_texts(self.start, self.end)
        return store.daily(self.symbol, span.first, span.last, adjusted=self.adjusted).collect()


class EtfPremium(_OfHistory, frozen=True, kw_only=True):
    """Close, net asset value and premium of an ETF."""

    def read(self, store: "Store", part: str) -> "pl.DataFrame":  # noqa: ARG002 - of other questions
        """The values by day."""
        span = span_of_texts(self.start, self.end)
        return store.etf_premium(self.symbol, span.first, span.last).collect()


def moment_text_of(text: str) -> str:
    """The day or moment as it was meant: in a URL, a plus sign that was not encoded arrives as a blank."""
    head, _, offset = text.strip().rpartition(" ")
    is_offset = "T" in head.upper() and len(offset) == len("09:00")
    return (f"{head}+{offset}" if is_offset else text).upper()


def span_of_texts(start: str, end: str | None) -> "Span":
    """The span of two days or moments.

    Raises:
        ConfigError: one of them is neither.
        NoDataError: no day can be between them.
    """
    from observer.research.arguments import span_of

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


def _day(text: str) -> date:
    """The day.

    Raises:
        ConfigError: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text} is no day: give one such as 2026-11-18") from error


def _near(day: date) -> date:
    """The day; one that no data can be of is the nearest that nanoseconds can name."""
    return min(max(day, _FIRST), _LAST)
