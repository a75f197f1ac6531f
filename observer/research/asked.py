"""A question for a relation, and one day of it as a maker sees it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from observer.research.lazy import pl
from observer.research.relation import Make

if TYPE_CHECKING:
    from observer.research.arguments import Span
    from observer.research.days import DayRelations

Part = tuple[str, Sequence[str] | None]
"""A day, and the ids of the asked lines; None for all."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question.

    Attributes:
        parts: its days, each with lines.
        symbols: the asked symbols, stocks' or lines'; None for all.
        span: the asked days; None for a query in SQL, which finds rows or none.
        known_ns: leave out what was stored later.
        options: the relation's further parameters.
    """

    parts: Sequence[Part] = ()
    symbols: Sequence[str] | None = None
    span: "Span | None" = None
    known_ns: int | None = None
    options: Any = None

    @property
    def days(self) -> Sequence[str]:
        """The days of the parts."""
        return [day for day, _ in self.parts]


class Day(msgspec.Struct, frozen=True):
    """One day of a question; `lines` are the ids of the asked lines, None for all."""

    relations: "DayRelations"
    day: str
    lines: Sequence[str] | None
    known_ns: int | None

    @property
    def zone(self) -> str:
        """The IANA name of the zone of all times."""
        return self.relations.zone

    def stored(self, kind: str) -> "pl.LazyFrame":
        """The stored rows of a kind, as far as they were known."""
        return self.relations.known(kind, self.day, self.known_ns, self.lines)

    def shaped(self, rows: "pl.LazyFrame", row: type[msgspec.Struct], **made: "str | pl.Expr") -> "pl.LazyFrame":
        """The rows with the columns of a relation's row (`shaping.shaped`)."""
        from observer.research.shaping import shaped

        return shaped(rows, row, self.zone, **made)


def by_day(make_one: Callable[[Day], "pl.LazyFrame"], *small: str) -> Make:
    """Makes each day by itself. Rows of the `small` kinds are read together for several days."""

    def make(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
        lines = dict(asked.parts)
        days = relations.rows.each_day(asked.days, *small)
        return pl.concat([make_one(Day(relations, day, lines[day], asked.known_ns)) for day in days])

    return make


def by_judged_day(make_one: Callable[[Day], "pl.LazyFrame"]) -> Make:
    """As `by_day`, for what has the completeness of its symbols beside it."""

    def make(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
        lines = dict(asked.parts)
        days = relations.judged(asked.days, asked.known_ns)
        return pl.concat([make_one(Day(relations, day, lines[day], asked.known_ns)) for day in days])

    return make


def stored(kind: str, row: type[msgspec.Struct], *order: str, **made: str) -> Make:
    """Makes a row of each stored row of a kind, in this order; `made` as for `shaping.shaped`."""

    def of_day(day: Day) -> "pl.LazyFrame":
        return day.shaped(day.stored(kind).sort(*order, "stream", "sequence"), row, **made)

    return by_day(of_day, kind)
