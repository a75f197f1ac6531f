"""The generic decoder of KIS's answers: a table of an answer's fields, and the structs that it makes of a body. Pure.

All values of a body are strings, perhaps blank or padded; an output documented as a list can be a single object or
missing (docs/kis.md#rest-envelope). A `Record` decodes only the fields of its table, so new fields of KIS change
nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, get_type_hints

import msgspec

from observer.base.errors import MalformedError
from observer.brokers.kis import values, venues

T = TypeVar("T", bound=msgspec.Struct)

_GIVEN: Final = "@"  # in a table: a value of the query, not of the body
_GIVEN_ATTRIBUTE: Final = "given_"

# Of one field, or of alternatives: the first of them that is neither blank nor zero.
_OF_ONE: Final[Mapping[str, Callable[[str], object]]] = {
    "text": values.text,
    "amount": values.amount,
    "number": values.number,
    "price": values.price,
    "whole": values.whole,
    "hundred_millions": values.hundred_millions,
    "day": values.day,
    "certain_day": values.certain_day,
    "yes": values.yes,
    "yes_or_no": values.yes_or_no,
    "venue": venues.venue_named,
    "none": lambda _: None,  # KIS gives none
}
# Of several fields together: a number and its sign code, for example.
_OF_SEVERAL: Final[Mapping[str, Callable[..., object]]] = {
    "signed": values.signed,
    "change": values.change,
    "moment": values.read_moment,
    "base_price": values.base_price,
    "quoted_line": venues.quoted_line,
    "quoted_venue": venues.quoted_venue,
}


class Field(msgspec.Struct, frozen=True):
    """One line of a table: the attribute, how it is read, and KIS's fields (or `@` and a parameter) that are read."""

    attribute: str
    rule: str
    names: tuple[str, ...]

    @property
    def function(self) -> Callable[..., object]:
        """The function of the rule."""
        return _OF_ONE.get(self.rule) or _OF_SEVERAL[self.rule]

    @property
    def read(self) -> Callable[[Any], object]:
        """What makes the attribute of the field's text, or of a tuple of the texts of several fields."""
        if len(self.names) == 1:
            return self.function
        if self.rule in _OF_SEVERAL:
            function = self.function
            return lambda texts: function(*texts)
        return partial(_first, self.function)


def _first(read: Callable[[str], object], texts: Sequence[str]) -> object:
    value: object = None
    for text in texts:
        value = read(text)
        if value:
            break
    return value


def _field(line: str) -> Field:
    attribute, rule, *names = line.split()
    return Field(attribute, rule, tuple(names))


class Record(Generic[T]):
    """One kind of answer: the struct it becomes, and a table with a line for each attribute: its name, how it is read
    (a function of `values`), and KIS's fields. An attribute with a default may have no line.

    `result`       the struct, or the name of one that only KIS fills, which is made of the table
    `block`        the output that is read
    `one`          the answer holds one row
    `key`          a field, or alternatives; a row in which all of them are blank is left out
    `required`     an attribute; a row in which it is None is left out
    `order`        an attribute: KIS writes newest first, the result is oldest first by it
    `rows_max`     the last so many rows are kept
    `body_fields`  texts beside the outputs (the keys of the next page)
    """

    def __init__(
        self,
        result: type[T] | str,
        table: str,
        *,
        block: str = "output",
        one: bool = False,
        key: str | Sequence[str] = (),
        required: str = "",
        order: str = "",
        rows_max: int = 0,
        body_fields: Sequence[str] = (),
    ) -> None:
        self.fields = [_field(line) for line in table.strip().splitlines()]
        self.result: type[T] = _struct_of(result, self.fields) if isinstance(result, str) else result
        self.one = one
        self.order = order
        self.required = required
        self._block = block
        self._key = (key,) if isinstance(key, str) else key
        self._rows_max = rows_max
        self._body_fields = body_fields
        names = {name for field in self.fields for name in field.names}
        self.given = frozenset(name.removeprefix(_GIVEN) for name in names if name.startswith(_GIVEN))
        """The parameters of the query that the table takes: rows do not repeat them."""
        self._plan = [(field, field.read, attrgetter(*map(_attribute, field.names))) for field in self.fields]

    @cached_property
    def row_type(self) -> type[msgspec.Struct]:
        """The type of one row: the fields of the table, and what is given."""
        names = dict.fromkeys([*self._key, *(name for field in self.fields for name in field.names)])
        texts: list[tuple[str, Any, Any]] = [(name, str, "") for name in names if not name.startswith(_GIVEN)]
        given: list[tuple[str, Any, Any]] = [(_attribute(f"{_GIVEN}{name}"), Any, None) for name in self.given]
        return msgspec.defstruct(f"{self.result.__name__}Row", [*texts, *given])

    @cached_property
    def body_type(self) -> type[msgspec.Struct]:
        """The type of a whole answer; every part of it may be missing."""
        rows: Any = list[self.row_type] | self.row_type | None  # type: ignore[name-defined]  # made at run time
        texts: list[tuple[str, Any, Any]] = [(name, str, "") for name in self._body_fields]
        return msgspec.defstruct(f"{self.result.__name__}Body", [(self._block, rows, None), *texts])

    def read(self, body: msgspec.Struct, given: Mapping[str, object]) -> list[T]:
        """The structs of a decoded body. `given` are the values of `self.given`.

        Raises:
            MalformedError: a field cannot be read; says which.
        """
        rows = self._rows(body)
        found = self.read_rows(rows[:1] if self.one else rows, given)
        if self.order:
            found.reverse()  # the sort keeps it where several rows have one time
            found.sort(key=attrgetter(self.order))
        return found[-self._rows_max :]

    def read_apart(
        self, body: msgspec.Struct, given: Mapping[str, object]
    ) -> tuple[list[T], list[tuple[int, MalformedError, msgspec.Struct]]]:
        """As `read`, of an answer with several rows; those that cannot be read stand apart, each with its number in the
        answer, from 0, and its error.
        """
        found: list[T] = []
        unreadable: list[tuple[int, MalformedError, msgspec.Struct]] = []
        for number, row in enumerate(self._rows(body)):
            try:
                found += self.read_rows([row], given)
            except MalformedError as error:
                unreadable.append((number, error, row))
        return sorted(found, key=attrgetter(self.order)), unreadable

    def read_rows(self, rows: Sequence[Any], given: Mapping[str, object]) -> list[T]:
        """As `read`, of the rows of one output. The rows of a quote are hot."""
        constants = [(_attribute(f"{_GIVEN}{name}"), given[name]) for name in self.given]
        found: list[T] = []
        for row in rows:
            if self._key and not any(getattr(row, name).strip() for name in self._key):
                continue
            for name, value in constants:
                setattr(row, name, value)
            values_of: dict[str, object] = {}
            try:
                for field, read, take in self._plan:
                    values_of[field.attribute] = read(take(row))
            except MalformedError as error:
                raise MalformedError(f"{', '.join(field.names)}: {error}") from error
            if not self.required or values_of[self.required] is not None:
                found.append(self.result(**values_of))
        return found

    def _rows(self, body: msgspec.Struct) -> Sequence[Any]:
        output = getattr(body, self._block)
        if output is None:
            return ()
        return output if isinstance(output, list) else (output,)


def content_of(row: msgspec.Struct) -> bytes:
    """The fields of an answer's row that the table names, as JSON."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__ if not name.startswith(_GIVEN_ATTRIBUTE)}
    return msgspec.json.encode(fields)


def _struct_of(name: str, fields: Sequence[Field]) -> Any:
    types = [(field.attribute, get_type_hints(field.function)["return"]) for field in fields]
    return msgspec.defstruct(name, types, frozen=True, kw_only=True)


def _attribute(name: str) -> str:
    """The attribute of a row that holds a field, or what was given for the whole answer."""
    return name.replace(_GIVEN, _GIVEN_ATTRIBUTE)
