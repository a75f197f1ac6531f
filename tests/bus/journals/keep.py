"""Writes the journal of the current schema version: one event of each kind, every field with a value."""

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from bus.codec import pack
from bus.events import EVENT_TYPES, SCHEMA_VERSION, Document, Fact, kind_of
from bus.journal import JournalWriter

FOLDER = Path(__file__).parent
STREAM = "0123456789abcdef0123456789abcdef"


def example(event_type: type[Fact | Document]) -> Fact | Document:
    """An event with a distinct value in each field, so that swapped fields are detected."""
    fields = msgspec.structs.fields(event_type)
    return event_type(*(_value(field.name, field.type, index) for index, field in enumerate(fields)))


def _value(name: str, annotation: object, index: int) -> object:
    """A value of the type: an int for `int | None`, the last of a `Literal`, the first of a union of documents."""
    kind = get_args(annotation)[0] if get_origin(annotation) in (types.UnionType, Union) else annotation
    if get_origin(kind) is Literal:
        return get_args(kind)[-1]
    if get_origin(kind) is tuple:
        return (_value(name, get_args(kind)[0], index),)
    if get_origin(kind) is dict:
        return {f"삼성 {name}": _value(name, get_args(kind)[1], index)}
    if isinstance(kind, type) and issubclass(kind, Document):
        return example(kind)
    values: dict[object, object] = {
        int: 1_795_000_000_000_000_000 + index,
        float: 70_000.5 + index,
        str: f"삼성 {name}",
        bool: index % 2 == 0,
        Any: index,
        bytes: b"\x00\xff" + bytes([index]),
    }
    return values[kind]


def examples() -> list[Fact]:
    """One event of each kind."""
    return [example(event_type) for event_type in EVENT_TYPES]


def packed_examples() -> list[bytes]:
    """The batches that the journal holds."""
    events = examples()
    return [pack(STREAM, 1, events[:1]), pack(STREAM, 2, events[1:])]


def keep() -> None:
    """Write both files; fails where they are already."""
    journal = JournalWriter(FOLDER / f"version-{SCHEMA_VERSION}.journal", f"outbox kept {STREAM}")
    for batch in packed_examples():
        journal.append(batch)
    journal.close()
    with (FOLDER / f"version-{SCHEMA_VERSION}.jsonl").open("x") as file:
        for sequence, event in enumerate(examples(), 1):
            fields = msgspec.structs.asdict(event)
            line = {"stream": STREAM, "sequence": sequence, "kind": kind_of(type(event)), "event": fields}
            file.write(msgspec.json.encode(line).decode() + "\n")


if __name__ == "__main__":
    keep()
