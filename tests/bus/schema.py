"""A digest of the schema of all events: kinds, fields, types and defaults, nested documents included, in order.

Print the current digest:

    .venv/bin/python -m tests.bus.schema
"""

import hashlib
from typing import Literal, get_args, get_origin

import msgspec

from bus.events import EVENT_TYPES

Described = str | list["Described"]


def schema_digest(types: tuple[type, ...] = EVENT_TYPES) -> str:
    """The digest changes whenever the stored or sent form of an event can change."""
    return hashlib.sha256(msgspec.json.encode([_described(each) for each in types])).hexdigest()


def _described(annotation: object) -> Described:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        fields = msgspec.structs.fields(annotation)
        own = [[field.name, _described(field.type), _default(field)] for field in fields]
        return [str(annotation.__struct_config__.tag), *own]
    if get_origin(annotation) is Literal or not get_args(annotation):
        return str(annotation)
    return [str(get_origin(annotation)), *(_described(each) for each in get_args(annotation))]


def _default(field: msgspec.structs.FieldInfo) -> str:
    return "" if field.required else repr(field.default)


if __name__ == "__main__":
    print(schema_digest())  # noqa: T201 - a command
