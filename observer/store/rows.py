"""Events to rows and back. Values in, values out: no database, no clock.

A row is a tuple in the order of its table's columns: the stream's number, the event's number in the stream, then the
event's fields. Nothing here knows one kind of event from another, but for the projections at the end. A field that is a
document is one JSON text in its row: this is the only place that encodes and decodes it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import astuple

from bus.delivery import Delivered
from bus.events import EVENT_TYPES, Event, Fact, ListingChanged, Poison, SlotAssigned, SlotReleased, is_document
from observer.reference.etf.model import Etf
from observer.reference.listings.model import Listing

Value = str | int | float | bool | bytes | None
Row = tuple[Value, ...]
Position = tuple[int, int]  # the stream's number, and the event's number in the stream

_POSITION_COLUMNS: Final = 2
_REASON_CHARACTERS_MAX: Final = 500
CONTENT_BYTES_MAX: Final = 4_096  # of an event in quarantine: most have some hundred; the outbox's archive has it whole
QUARANTINE_BYTES_MAX: Final = 64_000_000  # of the contents of a day


def _document_columns(event_type: type[Fact]) -> Mapping[int, msgspec.json.Decoder[object]]:
    """The decoders of the event's documents, by their column."""
    fields = enumerate(msgspec.structs.fields(event_type), _POSITION_COLUMNS)
    return {column: msgspec.json.Decoder(field.type) for column, field in fields if is_document(field.type)}


_DOCUMENTS: Final[Mapping[type[Fact], Mapping[int, msgspec.json.Decoder[object]]]] = {
    event_type: found for event_type in EVENT_TYPES if (found := _document_columns(event_type))
}

_ETF_SOURCES: Final = msgspec.json.Decoder(dict[str, str])

FactT = TypeVar("FactT", bound=Fact)


class Group(msgspec.Struct, frozen=True):
    """The content of one transaction: rows by the kind of event, and the rows of undecodable events."""

    rows: Mapping[type[Event], Sequence[Row]]
    poison: Sequence[Row]


def group_rows(batches: Sequence[Delivered], stream_ids: Mapping[str, int]) -> Group:
    """Sort the events of the batches by kind; within a kind they stay in the order in which they came."""
    rows: dict[type[Event], list[Row]] = {}
    poison: list[Row] = []
    for batch in batches:
        stream_id = stream_ids[batch.stream]
        for sequence, event in enumerate(batch.events, batch.first_sequence):
            if isinstance(event, Poison):
                poison.append((stream_id, sequence, *_quarantined(event.reason, event.content)))
            else:
                rows.setdefault(type(event), []).append((stream_id, sequence, *astuple(event)))
    for event_type, found in rows.items():
        if event_type in _DOCUMENTS:  # here, not above: trades must not pay for it
            rows[event_type] = [_with_documents_as_text(row, event_type) for row in found]
    return Group(rows, poison)


def _with_documents_as_text(row: Row, event_type: type[Fact]) -> Row:
    documents = _DOCUMENTS[event_type]
    return tuple(document_text(value) if column in documents else value for column, value in enumerate(row))


def document_text(document: object) -> str:
    return msgspec.json.encode(document).decode()


def event_of(event_type: type[FactT], row: Sequence[Value]) -> FactT:
    """The event that a whole row of its table holds."""
    if (documents := _DOCUMENTS.get(event_type)) is None:
        return event_type(*row[_POSITION_COLUMNS:])
    values: list[object] = list(row)
    for column, decoder in documents.items():
        values[column] = decoder.decode(str(values[column]))
    return event_type(*values[_POSITION_COLUMNS:])


def position_of(row: Sequence[Value]) -> Position:
    stream_id, sequence = row[:_POSITION_COLUMNS]
    assert isinstance(stream_id, int)
    assert isinstance(sequence, int)
    return stream_id, sequence


def refused_row(event_type: type[Event], row: Row, reason: str) -> Row:
    """The quarantine's row for a row that the database refused. The content is the event as the bus encodes it, or its
    text where it cannot even be encoded (a lone surrogate, a number beyond 64 bits).
    """
    from bus.codec import encode_event  # its decoders take 30 ms to make, and a reader needs none

    event = event_of(event_type, row)
    try:
        content = encode_event(event)
    except (UnicodeEncodeError, OverflowError):
        content = repr(event).encode("utf-8", "backslashreplace")
    return (*position_of(row), *_quarantined(reason, content))


def _quarantined(reason: str, content: bytes) -> tuple[str, bytes]:
    """Reason and content of a row of the quarantine. Of a long content, the row has the beginning, and the reason the
    length.
    """
    if len(content) <= CONTENT_BYTES_MAX:
        return _storable(reason), content
    length = f"the first {CONTENT_BYTES_MAX:,} of {len(content):,} bytes"
    return f"{_storable(reason)} ({length})", content[:CONTENT_BYTES_MAX]


def within_bound(rows: Sequence[Row], used_bytes: int, bytes_max: int) -> tuple[list[Row], int]:
    """The rows of the quarantine, and the bytes of the day's rows with them. Beyond the bound an event still has its
    row, with its reason and without its content.
    """
    kept: list[Row] = []
    for stream, sequence, reason, content in rows:
        assert isinstance(reason, str)
        assert isinstance(content, bytes)
        if used_bytes + len(content) > bytes_max:
            full = f"{reason} ({len(content):,} bytes are not kept: the day's quarantine is full)"
            kept.append((stream, sequence, full, b""))
        else:
            kept.append((stream, sequence, reason, content))
            used_bytes += len(content)
    return kept, used_bytes


def _storable(text: str) -> str:
    """Text that every database takes: no NUL, no lone surrogates, of bounded length."""
    encodable = text[:_REASON_CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode("utf-8")
    return encodable.replace("\x00", "\\x00")


# --- projections ---------------------------------------------------------------------------------------------


_HELD_ON: Final = frozenset({"kept", "moved", "moved_home"})  # reasons of `observer.selection.allocation`


def slots_in_use(assignments: Sequence[Sequence[Value]], releases: Sequence[Sequence[Value]]) -> Sequence[SlotAssigned]:
    """The assignments in force by slot, from the rows of both tables in any order.

    A slot belongs to the symbol of its last assignment until that symbol is released from it. Sequence numbers order
    events of one moment. A symbol that moves to another slot counts from its first assignment.
    """
    changes: list[tuple[int, Position, SlotAssigned | SlotReleased]] = []
    for row in assignments:
        assigned = event_of(SlotAssigned, row)
        changes.append((assigned.assigned_ns, position_of(row), assigned))
    for row in releases:
        released = event_of(SlotReleased, row)
        changes.append((released.released_ns, position_of(row), released))
    in_use: dict[str, SlotAssigned] = {}
    since_ns: dict[str, int] = {}
    for _moment_ns, _position, change in sorted(changes, key=lambda change: change[:2]):
        if isinstance(change, SlotAssigned):
            if change.reason not in _HELD_ON:
                since_ns.pop(change.symbol, None)
            held_since_ns = since_ns.setdefault(change.symbol, change.assigned_ns)
            in_use[change.slot] = msgspec.structs.replace(change, assigned_ns=held_since_ns)
        elif change.slot in in_use and in_use[change.slot].symbol == change.symbol:
            del in_use[change.slot]
    return [in_use[slot] for slot in sorted(in_use)]


def listing_of(event: ListingChanged) -> Listing:
    return Listing(**{name: getattr(event, name) for name in Listing.__struct_fields__})


def listing_row(event: ListingChanged) -> Row:
    """The row of the table of listings: the state, first seen and as what, changed, valued, active. First seen counts
    only for a key that is not there yet.
    """
    moment_ns = event.changed_ns
    return (*astuple(listing_of(event)), moment_ns, event.change, moment_ns, moment_ns, event.change != "removed")


def etf_of(row: Mapping[str, Any]) -> Etf:
    """The ETF of a row of the table of ETFs, by column."""
    return Etf(**{**row, "sources": _ETF_SOURCES.decode(row["sources"])})
