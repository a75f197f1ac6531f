"""Hypothesis strategies for facts."""

from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from bus.events import EVENT_TYPES, Document, Event, Fact

INTEGERS = st.integers(-(2**63), 2**63 - 1)  # what the bus and both databases can carry
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
BY_TYPE = {
    int: INTEGERS,
    str: TEXT,
    float: NUMBERS,
    int | None: st.none() | INTEGERS,
    str | None: st.none() | TEXT,
    float | None: st.none() | NUMBERS,
}


@cache
def events_of(event_type: type[Fact | Document]) -> st.SearchStrategy[Event]:
    """Any event of this type that both databases can store."""
    hints = get_type_hints(event_type)
    return st.builds(event_type, **{name: _values_of(hints[name]) for name in event_type.__struct_fields__})


def _values_of(annotation: object) -> st.SearchStrategy[object]:
    """Any value of a field's type that both databases can store, inside of documents too."""
    if annotation in BY_TYPE:
        return BY_TYPE[annotation]
    if annotation == dict[str, Any]:
        return st.dictionaries(TEXT, NUMBERS | TEXT | st.booleans(), max_size=3)
    if isinstance(annotation, UnionType):
        return st.one_of([_values_of(each) for each in get_args(annotation)])
    if get_origin(annotation) is tuple:
        return st.lists(_values_of(get_args(annotation)[0]), max_size=3).map(tuple)
    if isinstance(annotation, type) and issubclass(annotation, Document):
        return events_of(annotation)
    return st.from_type(annotation)


@cache
def events() -> st.SearchStrategy[Event]:
    """Any event."""
    return st.one_of([events_of(event_type) for event_type in EVENT_TYPES])


def json_values(keys: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    """Any JSON value whose objects have such keys; its texts are often numbers, dates and blanks."""
    texts = st.sampled_from(["", " ", "0", "-1.5", " 007 ", "20260203", "090000", "250000", "Y", "9" * 400]) | st.text()
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=8), max_leaves=20
    )
