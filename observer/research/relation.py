"""What a relation states: its row, how it is made, and what each door needs to know of it."""

import re
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    import polars as pl

    from observer.research.asked import Asked
    from observer.research.days import DayRelations

Make = Callable[["DayRelations", "Asked"], "pl.LazyFrame"]
"""Makes the rows of a question from stored rows."""

Span = Literal["days", "history", "since", "now"]
"""Which days a relation has: stored sessions; any days of its rows; all time, or since a day; now, or as of a day."""

Symbols = Literal["streamed", "swept", "fetched", "stored", "no"]
"""Of which symbols a day has rows: streamed ones (with a slot or of the tape), those of sweeps, those with fetched
bars, those of its universe or slots; or of none.
"""

_SENTENCE: Final = re.compile(r"^\s+(\w+): (.*(?:\n\s{12,}\S.*)*)", re.MULTILINE)


class Relation(msgspec.Struct, frozen=True):
    """A thing that a person can ask for.

    Attributes:
        name: a plural noun: the name in each door.
        row: the struct of a row; its docstring has the meaning of the relation and of each column.
        make: gives the rows of a question.
        kinds: the stored kinds that the rows are made of.
        each: the kinds whose stored rows of a day are its rows, one each; empty where more makes a row.
        key: the column of these whose values are its rows, one each; empty where each stored row is one.
        shown: the columns that a terminal shows first; empty for all.
        counted: the columns whose words the headline counts.
        span: the days that can be asked for.
        symbols: the symbols that can be asked for.
        options: the struct of further parameters; None without any.
        needs_symbol: rows of all symbols are too many for one answer over HTTP.
    """

    name: str
    row: type[msgspec.Struct]
    make: Make
    kinds: Sequence[str] = ()
    each: Sequence[str] = ()
    key: str = ""
    shown: Sequence[str] = ()
    counted: Sequence[str] = ()
    span: Span = "days"
    symbols: Symbols = "stored"
    options: type[msgspec.Struct] | None = None
    needs_symbol: bool = False

    @property
    def meaning(self) -> str:
        """The relation in one paragraph."""
        return meaning_of(self.row)


class Column(msgspec.Struct, frozen=True):
    """A column, or a parameter: its type without null, whether null may stand there, and its meaning."""

    name: str
    type: Any
    is_optional: bool
    sentence: str


@cache
def columns_of(row: type[msgspec.Struct]) -> Sequence[Column]:
    """The columns of a row, or the parameters of a struct of options, in their order."""
    hints, sentences = typing.get_type_hints(row), _sentences(row)
    found = []
    for name in row.__struct_fields__:
        alternatives = [each for each in typing.get_args(hints[name]) if each is not type(None)]
        is_optional = type(None) in typing.get_args(hints[name])
        kind = alternatives[0] if is_optional else hints[name]
        found.append(Column(name, kind, is_optional, sentences.get(name, "")))
    return found


def meaning_of(row: type[msgspec.Struct]) -> str:
    """What the docstring of a row says before its columns."""
    return " ".join((row.__doc__ or "").partition("Attributes:")[0].split())


def _sentences(row: type[msgspec.Struct]) -> Mapping[str, str]:
    """Those of the row, and of the structs whose columns it has."""
    stated = [(each.__doc__ or "").partition("Attributes:\n")[2] for each in row.__mro__]
    return {name: " ".join(text.split()) for part in stated for name, text in _SENTENCE.findall(part)}


def is_moment(column: Column) -> bool:
    """Whether the column has moments."""
    return column.type is datetime


def is_day(column: Column) -> bool:
    """Whether the column has days."""
    return column.type is date
