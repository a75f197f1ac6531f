"""The schema: one table for each kind of event, and the store's own tables. No statements live here.

The kinds, their names and indexes: `observer.store.kinds`. An event's columns are the fields of its struct in
`bus.events`; nothing is stated twice. In front of them stand
`stream` and `sequence`, the event's place in its producer's stream, which are the primary key: one event is one row, a
doubled row is impossible, and a shell query finds missing ranges. A schema change is a change in `bus.events` or here,
and a migration with the next `schema.SCHEMA_REVISION`.

A field that is a struct or a union of structs is one text column of JSON, with the tag of the union as `kind`; SQL
reads it with `step ->> '$.kind'` (SQLite) or `step::jsonb ->> 'kind'` (PostgreSQL). `observer.store.rows` encodes and
decodes it, and nothing else does.

There are no foreign keys: the writer puts a stream and its rows there in one transaction, and a check for each row
would cost the hot path and find nothing.
"""

import types
from collections.abc import Mapping
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec
from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from bus import events
from bus.events import EVENT_TYPES, Fact, is_document
from observer.reference.etf.model import Etf
from observer.reference.listings.model import Listing
from observer.store.kinds import BY_EVENT

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

_COLUMN_TYPES: Final[Mapping[object, TypeEngine[Any]]] = {
    int: BigInteger(),
    float: Double().with_variant(REAL(), "sqlite"),
    str: Text(),
    Literal: Text(),
    bool: Boolean(),
    bytes: LargeBinary(),
}


def _columns(struct: type[msgspec.Struct]) -> list[Column[object]]:
    return [_column(field.name, field.type) for field in msgspec.structs.fields(struct)]


def _column(name: str, annotation: object) -> Column[object]:
    """The column of a field: `int | None` is nullable, a `Literal` and a document are text."""
    is_union = get_origin(annotation) in (types.UnionType, Union)  # `Literal[...] | None` is a Union
    alternatives = get_args(annotation) if is_union else (annotation,)
    if is_document(annotation):
        return Column(name, Text(), nullable=types.NoneType in alternatives)
    (plain,) = (alternative for alternative in alternatives if alternative is not types.NoneType)
    return Column(name, _COLUMN_TYPES[get_origin(plain) or plain], nullable=types.NoneType in alternatives)


def _position() -> tuple[Column[int], Column[int]]:
    """The event's position: its stream (`streams.id`), and its number in the stream."""
    return (
        Column("stream", Integer, primary_key=True, autoincrement=False),
        Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    )


def _event_table(event_type: type[Fact]) -> Table:
    kind = BY_EVENT[event_type]
    metadata = _VIEWS if event_type is events.Trade else METADATA
    table = Table(kind.name, metadata, *_position(), *_columns(event_type), sqlite_with_rowid=False)
    for columns in kind.indexes:
        Index(None, *(table.c[column] for column in columns))
    return table


# Every stream that ever delivered, how far it is committed, and how many of its events came more than once. `id` is
# what the rows carry for the stream's 32 hexadecimal digits.
STREAMS: Final = Table(
    "streams",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("producer", Text, nullable=False),
    Column("high_water_mark", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
)

# The instance that the database belongs to: one row, with the brokers it collects from, separated by commas; a random
# id of the database, which its copies share; and the system that writes it, NULL after an orderly end
# (`observer.store.systems`).
OWNER: Final = Table(
    "owner",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("market", Text, nullable=False),
    Column("providers", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("database_id", Text, nullable=False),
    Column("host", Text, nullable=True),
    Column("machine", Text, nullable=True),
    Column("pid", Integer, nullable=True),
    Column("pid_started", BigInteger, nullable=True),
    Column("runtime", Text, nullable=True),
    Column("place", Text, nullable=True),
    Column("started_ns", BigInteger, nullable=True),
    Column("heartbeat_ns", BigInteger, nullable=True),
)

# Events that could not be decoded or that the database refused; each still has its one row, here instead of there.
QUARANTINE: Final = Table(
    "quarantine",
    METADATA,
    *_position(),
    Column("reason", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Numbers of a stream that exist in no outbox and no archive any more: the only events that are appended and not stored.
DELIVERY_LOSSES: Final = Table(
    "delivery_losses",
    METADATA,
    Column("stream", Integer, primary_key=True, autoincrement=False),
    Column("first_sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("noted_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# A row for the creation of the database, and a row for each return to an earlier state (`bus.delivery`).
DATABASE_EPOCHS: Final = Table(
    "database_epochs",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("epoch", Text, nullable=False, unique=True),
    Column("began_ns", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)

# `trades` is a view with the columns of a trade (`observer.store.views`): a row of it is a row of TRADE_ROWS with what
# its group has, the texts. So a text is stored once for some hundred or thousand trades of a line's day. The index of
# the view is that of the groups.
_VIEWS: Final = MetaData()

EVENT_TABLES: Final[Mapping[type[Fact], Table]] = {event_type: _event_table(event_type) for event_type in EVENT_TYPES}

GROUP_COLUMNS: Final = (
    "provider", "symbol", "session_date", "venue", "session", "side", "side_inferred", "gap_id",
)  # fmt: skip
"""The columns of a trade that its group has."""
PART_BITS: Final = 15
"""A group of streamed trades has those of one part of an event stream, 32,768 numbers. So the last trades of a line are
found by its last groups, and the index of the rows needs the group alone: 7 bytes a row in PostgreSQL, not 33."""

TRADE_GROUPS: Final = Table(
    "trade_groups",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("stream", Integer, nullable=False),
    Column("part", BigInteger, nullable=False),  # 0 of recovered trades
    *(column for column in _columns(events.Trade) if column.name in GROUP_COLUMNS),
)
Index(None, *(TRADE_GROUPS.c[name] for name in BY_EVENT[events.Trade].indexes[0]))

# The columns of 4 bytes stand together: PostgreSQL aligns one of 8 bytes.
TRADE_ROWS: Final = Table(
    "trade_rows",
    METADATA,
    Column("group_id", Integer, nullable=False),
    *_position(),
    *(column for column in _columns(events.Trade) if column.name not in GROUP_COLUMNS),
    sqlite_with_rowid=False,
)
Index(None, TRADE_ROWS.c.group_id)

ROW_TABLES: Final[Mapping[type[Fact], Table]] = {**EVENT_TABLES, events.Trade: TRADE_ROWS}
"""By the kind of event the table that has a row for each event, by position."""


def table_of_lines(table: Table) -> Table:
    """The table whose index has the symbols and days of a table of events: of trades that of their groups."""
    return TRADE_GROUPS if table is EVENT_TABLES[events.Trade] else table


# The current listings: a projection of the listings' changes and values, kept by the writer in the same transaction.
# `first_seen_as` is the first change of the listing: "initial" (in its exchange's first file: `first_seen_ns` is the
# time of the installation) or "new" (it appeared then).
LISTINGS: Final = Table(
    "listings",
    METADATA,
    *_columns(Listing),
    Column("first_seen_ns", BigInteger, nullable=False),
    Column("first_seen_as", Text, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Column("valued_ns", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    PrimaryKeyConstraint("exchange", "symbol"),
    sqlite_with_rowid=False,
)

# The known ETFs: a projection of the facts about ETFs, kept by the writer likewise.
ETFS: Final = Table("etfs", METADATA, *_columns(Etf), PrimaryKeyConstraint("symbol"), sqlite_with_rowid=False)
