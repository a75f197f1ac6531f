"""Writes the journal of the schema version of today: one event of each kind, every field with a value."""

import types
from pathlib import Path
from typing import Literal, get_args, get_origin

import msgspec

from bus.codec import pack
from bus.events import EVENT_TYPES, SCHEMA_VERSION, Fact, kind_of
from bus.journal import JournalWriter

FOLDER = Path(__file__).parent
STREAM = "0123456789abcdef0123456789abcdef"


def example(event_type: type[Fact]) -> Fact:
    """An event with something else in each field, so that none can be taken for another."""
    fields = msgspec.structs.fields(event_type)
    return event_type(*(_value(field.name, field.type, place) for place, field in enumerate(fields)))


def _value(name: str, annotation: object, place: int) -> object:
    """Of `int | None` an int, of a `Literal` its last."""
    kind = get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation
    if get_origin(kind) is Literal:
        return get_args(kind)[-1]
    values: dict[object, object] = {
        int: 1_795_000_000_000_000_000 + place,
        float: 70_000.5 + place,
        str: f"삼성 {name}",
        bool: place % 2 == 0,
        bytes: b"\x00\xff" + bytes([place]),
    }
    return values[kind]


def keep() -> None:
    """Write both files; fails where they are already."""
    events = [example(event_type) for event_type in EVENT_TYPES]
    journal = JournalWriter(FOLDER / f"version-{SCHEMA_VERSION}.journal", f"outbox kept {STREAM}")
    journal.append(pack(STREAM, 1, events[:1]))
    journal.append(pack(STREAM, 2, events[1:]))
    journal.close()
    with (FOLDER / f"version-{SCHEMA_VERSION}.jsonl").open("x") as file:
        for sequence, event in enumerate(events, 1):
            fields = msgspec.structs.asdict(event)
            line = {"stream": STREAM, "sequence": sequence, "kind": kind_of(type(event)), "event": fields}
            file.write(msgspec.json.encode(line).decode() + "\n")


if __name__ == "__main__":
    keep()
