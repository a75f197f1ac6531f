"""The generic decoder of KIS's answers: a typed field table, and the structs it makes of a body. Pure.

All values of a body are strings, perhaps blank or padded; an output documented as a list can be a single object or
missing (docs/kis.md#rest-envelope). A `Record` decodes only the fields its rules name, so new fields of KIS change
nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, wraps
from inspect import Parameter, signature
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, TypeVar, get_type_hints

import msgspec

from observer.base.errors import MalformedError

T = TypeVar("T", bound=msgspec.Struct)

_GIVEN: Final = "@"  # in a rule's names: a value of the query, not of the body
_GIVEN_ATTRIBUTE: Final = "given_"


class Rule(msgspec.Struct, frozen=True):
    """The rule for one attribute: a function of `values`, and KIS's fields (or `@` and a parameter) as arguments."""

    read: Callable[..., object]
    names: tuple[str, ...]


class Nested(msgspec.Struct, frozen=True):
    """An attribute that holds the rows of another block of the body, as a tuple."""

    block: str
    record: "Record[Any]"


def either(read: Callable[[str], object]) -> Callable[..., Rule]:
    """Rules for one field, or for alternatives: the first of them that is neither blank nor zero."""

    @wraps(read)
    def first(*texts: str) -> object:
        value: object = None
        for text in texts:
            value = read(text)
            if value:
                break
        return value

    return lambda *names: Rule(read if len(names) == 1 else first, names)


def together(read: Callable[..., object]) -> Callable[..., Rule]:
    """Rules for values that take several fields at once, a number and its sign code for example."""
    return lambda *names: Rule(read, names)


class Record(Generic[T]):
    """One kind of answer: the struct it becomes, and a rule for each of its attributes.

    The rules stand in the struct's annotations, or in `fields` where the struct belongs to all brokers.

    `blocks`       the outputs read
    `one`          the answer holds one row, merged of all blocks; otherwise the rows of the first block
    `key`          fields; a row in which all of them are blank is left out
    `required`     an attribute; a row in which it is None is left out
    `keep`         whether a struct is kept
    `order`        an attribute: KIS writes newest first, the result is oldest first by it
    `index`        the attribute that takes the row's number, from 1, where KIS left it blank
    `rows_max`     the last so many rows are kept
    `body_fields`  texts beside the outputs (the keys of the next page)
    """

    def __init__(
        self,
        result: type[T],
        fields: Mapping[str, Rule] | None = None,
        *,
        blocks: Sequence[str] = ("output",),
        one: bool = False,
        key: Sequence[str] = (),
        required: str = "",
        keep: Callable[[T], object] | None = None,
        order: str = "",
        index: str = "",
        rows_max: int | None = None,
        body_fields: Sequence[str] = (),
    ) -> None:
        self.result = result
        self.one = one
        self.order = order
        self._fields = fields
        self._blocks = blocks
        self._key = key
        self._required = required
        self._keep = keep
        self._index = index
        self._rows_max = rows_max
        self._body_fields = body_fields

    @cached_property
    def rules(self) -> Mapping[str, Rule]:
        """The rule of each attribute in the struct's order; those with a default may have none and keep it."""
        fields = self._fields if self._fields is not None else dict(self._annotated(Rule))
        given = {name: Rule(_itself, (f"{_GIVEN}{name}",)) for name in self.nested}
        rules = {**fields, **given}
        return {name: rules[name] for name in self.result.__struct_fields__ if name in rules}

    @cached_property
    def nested(self) -> Mapping[str, Nested]:
        """The attributes that hold rows of another block."""
        return {} if self._fields is not None else dict(self._annotated(Nested))

    @cached_property
    def given(self) -> frozenset[str]:
        """The parameters of the query that the rules take: rows do not repeat them."""
        names = {name for rule in self.rules.values() for name in rule.names}
        return frozenset(name[1:] for name in names if name.startswith(_GIVEN)) - self.nested.keys()

    @cached_property
    def body_type(self) -> type[msgspec.Struct]:
        """The type of a whole answer; every part of it may be missing."""
        outputs: list[tuple[str, Any, Any]] = [(block, _rows_of(self.row_type), None) for block in self._blocks]
        outputs += [(each.block, _rows_of(each.record.row_type), None) for each in self.nested.values()]
        texts: list[tuple[str, Any, Any]] = [(name, str, "") for name in self._body_fields]
        return msgspec.defstruct(f"{self.result.__name__}Body", [*outputs, *texts])

    def read(self, body: msgspec.Struct, given: Mapping[str, object]) -> list[T]:
        """The structs of a decoded body. `given` are the values of `self.given`.

        Raises:
            MalformedError: a field cannot be read; says which.
        """
        if self.nested:
            within = {name: each.record.read_rows(_rows(body, each.block), given) for name, each in self.nested.items()}
            given = {**given, **{name: tuple(rows) for name, rows in within.items()}}
        found = self.read_rows([self._merged(body)] if self.one else _rows(body, self._blocks[0]), given)
        if self.order:
            found.reverse()  # the sort keeps it where several rows have one time
            found.sort(key=attrgetter(self.order))
        if self._index:
            found = [_placed(each, self._index, number) for number, each in enumerate(found, start=1)]
        return found if self._rows_max is None else found[-self._rows_max :]

    def read_apart(
        self, body: msgspec.Struct, given: Mapping[str, object]
    ) -> tuple[list[T], list[tuple[int, MalformedError, msgspec.Struct]]]:
        """As `read`, of an answer with several rows; those that cannot be read stand apart, each with its number in the
        answer, from 0, and its error.
        """
        found: list[T] = []
        unreadable: list[tuple[int, MalformedError, msgspec.Struct]] = []
        for number, row in enumerate(_rows(body, self._blocks[0])):
            try:
                found += self.read_rows([row], given)
            except MalformedError as error:
                unreadable.append((number, error, row))
        return sorted(found, key=attrgetter(self.order)), unreadable

    def read_rows(self, rows: Sequence[Any], given: Mapping[str, object]) -> list[T]:
        """As `read`, of the rows of one output."""
        keys, reads, texts, composed, arranged, make, required = self._plan
        constants = [(_attribute(f"{_GIVEN}{name}"), given[name]) for name in (*self.given, *self.nested)]
        found: list[T] = []
        for row in rows:
            if keys is not None and not "".join(keys(row)).strip():
                continue
            for name, value in constants:
                setattr(row, name, value)
            try:
                values = [read(text) for read, text in zip(reads, texts(row), strict=False)]
                for read, several in composed:
                    values.append(read(*several(row)))
            except MalformedError as error:
                raise self._named(error, row) from error
            values = arranged(values)
            if required is not None and values[required] is None:
                continue
            result = make(*values)
            if self._keep is None or self._keep(result):
                found.append(result)
        return found

    @cached_property
    def _plan(self) -> Any:
        """The reader of a row for `read_rows`. The rows of a quote are hot: most fields go through one `attrgetter`."""
        simple = [name for name, rule in self.rules.items() if len(rule.names) == 1]
        several = [name for name, rule in self.rules.items() if len(rule.names) > 1]
        read_order = [*simple, *several]
        return (
            _getter(self._key) if self._key else None,
            [self.rules[name].read for name in simple],
            _getter([self.rules[name].names[0] for name in simple]),
            [(self.rules[name].read, _getter(self.rules[name].names)) for name in several],
            itemgetter(*(read_order.index(name) for name in self.rules)),
            self._make(),
            list(self.rules).index(self._required) if self._required else None,
        )

    def _make(self) -> Callable[..., T]:
        kinds = {parameter.kind for parameter in signature(self.result).parameters.values()}
        names = tuple(self.rules)
        if Parameter.KEYWORD_ONLY not in kinds and names == self.result.__struct_fields__[: len(names)]:
            return self.result
        return lambda *values: self.result(**dict(zip(names, values, strict=True)))

    @cached_property
    def row_type(self) -> type[msgspec.Struct]:
        """The type of one row: the fields that the rules name, and what is given."""
        names = dict.fromkeys([*self._key, *(name for rule in self.rules.values() for name in rule.names)])
        fields: list[tuple[str, Any, Any]] = [
            (_attribute(name), Any if name.startswith(_GIVEN) else str, None if name.startswith(_GIVEN) else "")
            for name in names
        ]
        return msgspec.defstruct(f"{self.result.__name__}Row", fields)

    def _merged(self, body: msgspec.Struct) -> msgspec.Struct:
        """The one row; of several blocks each field that is not blank, and a blank row where none came."""
        first = [next(iter(_rows(body, block)), None) for block in self._blocks]
        merged = next((row for row in first if row is not None), None) or self.row_type()
        for row in first:
            for name in self.row_type.__struct_fields__ if row is not None and row is not merged else ():
                setattr(merged, name, getattr(merged, name) or getattr(row, name))
        return merged

    def _named(self, error: MalformedError, row: msgspec.Struct) -> MalformedError:
        """The error with the fields that it is about."""
        for rule in self.rules.values():
            try:
                rule.read(*(getattr(row, _attribute(name)) for name in rule.names))
            except MalformedError:
                return MalformedError(f"{', '.join(rule.names)}: {error}")
        return error

    def _annotated(self, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        for name, hint in get_type_hints(self.result, include_extras=True).items():
            yield from ((name, each) for each in getattr(hint, "__metadata__", ()) if isinstance(each, kind))


def content_of(row: msgspec.Struct) -> bytes:
    """The fields of an answer's row that the rules name, as JSON."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__ if not name.startswith(_GIVEN_ATTRIBUTE)}
    return msgspec.json.encode(fields)


def _attribute(name: str) -> str:
    """The attribute of a row that holds a field, or what was given for the whole answer."""
    return name.replace(_GIVEN, _GIVEN_ATTRIBUTE)


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Takes these fields out of a row: a tuple also of one, which may then have more members than there are names."""
    attributes = [_attribute(name) for name in names]
    return attrgetter(*attributes) if len(attributes) > 1 else attrgetter(*attributes, *attributes)


def _rows_of(row_type: type[msgspec.Struct]) -> Any:
    return list[row_type] | row_type | None  # type: ignore[valid-type]  # made at run time


def _rows(body: msgspec.Struct, block: str) -> Sequence[Any]:
    output = getattr(body, block)
    if output is None:
        return ()
    return output if isinstance(output, list) else (output,)


def _placed(row: T, attribute: str, number: int) -> T:
    return row if getattr(row, attribute) else msgspec.structs.replace(row, **{attribute: number})


def _itself(value: object) -> object:
    return value
