"""One committed event as one line: for people, or as JSON. Pure."""

from typing import Final

import msgspec

from bus.events import Event
from observer.cli.tables import display_width
from observer.local_time import local_datetime
from observer.text import shown
from observer.units import plain

_SYMBOL: Final = "symbol"
_NS: Final = "_ns"
# The moment of an event: the first of these fields that it has, else its first moment. A begin stands in its fields.
_MOMENTS: Final = ("exchange_time_ns", "receive_time_ns", "completed_ns", "ended_ns", "to_ns")
_KIND_WIDTH: Final = 20
_SYMBOL_WIDTH: Final = 10
_VALUE_BYTES_MAX: Final = 300
_CUT: Final = " ..."


def symbol_of(event: Event) -> str | None:
    """The id of the line that the event is about; None if it is about none."""
    found = getattr(event, _SYMBOL, None)
    return found if isinstance(found, str) else None


def json_line(table: str, event: Event) -> str:
    """The event as one JSON object: its table and its fields."""
    return msgspec.json.encode({"kind": table, "event": msgspec.structs.asdict(event)}).decode()


def event_line(table: str, event: Event, width: int | None = None) -> str:
    """The event's moment, table, symbol and other fields that have a value. Fields beyond the width are left out, which
    " ..." says; None for all.
    """
    fields = {name: value for name, value in msgspec.structs.asdict(event).items() if value not in (None, "")}
    moment = next((name for name in (*_MOMENTS, *fields) if name in fields and name.endswith(_NS)), "")
    when = f"{local_datetime(fields.pop(moment)):%H:%M:%S.%f}"[:-3] if moment else ""
    symbol = str(fields.pop(_SYMBOL, ""))
    line = f"{when:<12} {table:<{_KIND_WIDTH}} {shown(symbol):<{_SYMBOL_WIDTH}}".rstrip()
    for name, value in fields.items():
        field = f" {name.removesuffix(_NS)}={_text(name, value)}"
        if width is not None and display_width(line) + display_width(field) + len(_CUT) > width:
            return line + _CUT if display_width(line) + len(_CUT) <= width else line
        line += field
    return line


def _text(name: str, value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith(_NS):
            return f"{local_datetime(value):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
        case float():
            return str(plain(value))
        case str():
            text = shown(value, _VALUE_BYTES_MAX)
            return f'"{text}"' if " " in text else text
        case int():
            return str(value)
        case _:
            return shown(msgspec.json.encode(value).decode(), _VALUE_BYTES_MAX)
