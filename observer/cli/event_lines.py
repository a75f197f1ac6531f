"""One committed event as one line: for people, or as JSON. Pure."""

from datetime import datetime
from typing import Final

import msgspec

from bus.events import Event
from observer.base.local_time import local_datetime
from observer.base.text import shown
from observer.base.units import plain
from observer.cli.tables import display_width

_SYMBOL: Final = "symbol"
_NS: Final = "_ns"
# The moment of an event: the first of these fields that it has, else its first moment. A begin stands in its fields.
_MOMENTS: Final = ("exchange_time_ns", "receive_time_ns", "completed_ns", "ended_ns", "to_ns")
_LEFT_OUT: Final = ("provider", "session_date")  # one system has few brokers and one day
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
    """The event's moment, table, symbol and other fields that have a value, without broker and day. Fields beyond the
    width are left out, which " ..." says; None for all.
    """
    fields = {name: value for name, value in msgspec.structs.asdict(event).items() if value not in (None, "")}
    for name in _LEFT_OUT:
        fields.pop(name, None)
    moment = next((name for name in (*_MOMENTS, *fields) if name in fields and name.endswith(_NS)), "")
    when = local_datetime(fields.pop(moment)) if moment else None
    symbol = fields.pop(_SYMBOL, None)
    line = f"{'' if when is None else _clock(when):<12} {table:<{_KIND_WIDTH}}"
    line += "" if symbol is None else f" {shown(str(symbol)):<{_SYMBOL_WIDTH}}"
    for name, value in fields.items():
        field = f" {name.removesuffix(_NS)}={_text(name, value, when)}"
        if width is not None and display_width(line) + display_width(field) + len(_CUT) > width:
            return line + _CUT if display_width(line) + len(_CUT) <= width else line.rstrip()
        line += field
    return line.rstrip()


def _text(name: str, value: object, beside: datetime | None) -> str:
    """The value; a moment without its date where that is the day of the one beside it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith(_NS):
            moment = local_datetime(value)
            is_same_day = beside is not None and moment.date() == beside.date()
            return _clock(moment) if is_same_day else f"{moment:%Y-%m-%dT}{_clock(moment)}"
        case float():
            return str(plain(value)) if value.is_integer() else f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"
        case str():
            text = shown(value, _VALUE_BYTES_MAX)
            return f'"{text}"' if " " in text else text
        case int():
            return str(value)
        case _:
            return shown(msgspec.json.encode(value).decode(), _VALUE_BYTES_MAX)


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S.%f}"[:-3]
