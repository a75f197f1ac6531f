"""The groups of trades (`observer.store.tables.TRADE_GROUPS`): the writer finds or makes those of new rows, and readers
ask for those of a line's day.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select

from bus.events import Trade
from observer.store.lines import lines_of
from observer.store.rows import Row as EventRow
from observer.store.rows import Value
from observer.store.tables import EVENT_TABLES, GROUP_COLUMNS, PART_BITS, TRADE_GROUPS, TRADE_ROWS
from observer.store.transaction import Transaction

_GROUPS_KEPT: Final = 100_000  # some 30 MB; a day of 2,500 lines has some 20,000
_AT_ONCE: Final = 500  # in one statement

_Key = tuple[Value, ...]

_COLUMNS: Final = [column.name for column in EVENT_TABLES[Trade].columns]
_KEY_COLUMNS: Final = ("stream", "part", *GROUP_COLUMNS)
_GAP: Final = _COLUMNS.index("gap_id")
_texts_of: Final = itemgetter(*(_COLUMNS.index(name) for name in GROUP_COLUMNS))
_own_values: Final = itemgetter(*(_COLUMNS.index(name) for name in TRADE_ROWS.columns.keys()[1:]))
_SYMBOL: Final = _KEY_COLUMNS.index("symbol")
_LAST_ID: Final = select(func.max(TRADE_GROUPS.c.id)).where(TRADE_GROUPS.c.id > 0)  # a search, also in SQLite
_DAY: Final = _KEY_COLUMNS.index("session_date")
_PART: Final = _KEY_COLUMNS.index("part")


class TradeGroups:
    """The ids of groups by their columns, as far as the writer's rows needed them.

    What a transaction adds is valid once it is committed: `begin` it, and `keep` it after the commit; whatever ends it
    otherwise, the next `begin` forgets all. After a savepoint that is undone, `forget`.
    """

    def __init__(self) -> None:
        self._ids: dict[_Key, int] = {}
        self._asked: set[tuple[Value, Value, Value]] = set()  # symbol, day and part: their groups are all in `_ids`
        self._is_uncertain = False

    def begin(self) -> None:
        if self._is_uncertain or len(self._ids) > _GROUPS_KEPT:
            self.forget()

    def keep(self) -> None:
        self._is_uncertain = False

    def forget(self) -> None:
        self._ids.clear()
        self._asked.clear()
        self._is_uncertain = False

    def packed(self, begun: Transaction, rows: Sequence[EventRow]) -> list[EventRow]:
        """Rows of trades as rows of TRADE_ROWS; raises as `packing`."""
        return list(chain.from_iterable(self.packing(begun, rows)))

    def packing(self, begun: Transaction, rows: Sequence[EventRow]) -> Iterator[Iterator[EventRow]]:
        """Rows of trades as rows of TRADE_ROWS, made while they are read: so the server stores the first ones while the
        last ones are made. Read each part to its end before you take the next one: in front of a part this makes the
        groups that the database does not have. There are at most two parts.

        Raises:
            One of the insertion's refusals: a group's text cannot be stored.
        """
        done = 0

        def of_known_groups() -> Iterator[EventRow]:
            nonlocal done
            for number, row in enumerate(islice(rows, done, None), done):
                if (group := self._ids.get(_key_of(row))) is None:
                    done = number
                    return
                yield (group, *_own_values(row))
            done = len(rows)

        while done < len(rows):
            if _key_of(rows[done]) not in self._ids:
                keys = dict.fromkeys(map(_key_of, islice(rows, done, None)))
                self._add(begun.connection, [key for key in keys if key not in self._ids])
            yield of_known_groups()

    def _add(self, connection: Connection, missing: Sequence[_Key]) -> None:
        self._is_uncertain = True
        asked = {(key[_SYMBOL], key[_DAY], key[_PART]) for key in missing} - self._asked
        for day in {day for _, day, _ in asked}:
            symbols = sorted({str(symbol) for symbol, of_day, _ in asked if of_day == day})
            parts = {part for _, of_day, part in asked if of_day == day}
            for first in range(0, len(symbols), _AT_ONCE):
                portion = symbols[first : first + _AT_ONCE]
                self._ids |= {_key(row): row.id for row in groups_of(connection, portion, str(day), parts)}
        self._asked |= asked
        new = [key for key in missing if key not in self._ids]
        if new:
            first_id = int(connection.scalar(_LAST_ID) or 0) + 1
            ids = {key: first_id + number for number, key in enumerate(new)}
            values = [{"id": ids[key], **dict(zip(_KEY_COLUMNS, key, strict=True))} for key in new]
            connection.execute(insert(TRADE_GROUPS), values)
            self._ids |= ids


def _key_of(row: tuple[Any, ...]) -> _Key:
    """The key of a trade's group. Streamed trades have a group for each part of their event stream."""
    return (row[0], row[1] >> PART_BITS if row[_GAP] is None else 0, *_texts_of(row))


def _key(group: Row[Any]) -> _Key:
    return tuple(getattr(group, name) for name in _KEY_COLUMNS)


def groups_of(
    connection: Connection, symbols: Sequence[str], session_date: str, parts: Collection[Value] | None = None
) -> Sequence[Row[Any]]:
    """The groups of these symbols' trades of a day, by id; of all parts of the event streams, or of these."""
    groups = TRADE_GROUPS.c
    of_day = select(TRADE_GROUPS).where(groups.symbol.in_(symbols), groups.session_date == session_date)
    if parts is not None:
        of_day = of_day.where(groups.part.in_(parts))
    return connection.execute(of_day.order_by(groups.id)).all()


def last_groups(groups: Iterable[Row[Any]]) -> Mapping[int, str]:
    """Out of a day's groups those of the last part of the event streams that brought streamed trades of a symbol: the
    symbol by the group's id.
    """
    last: dict[str, list[Row[Any]]] = {}
    for group in sorted((each for each in groups if each.gap_id is None), key=lambda each: (each.stream, each.part)):
        of_symbol = last.setdefault(group.symbol, [])
        if of_symbol and (of_symbol[0].stream, of_symbol[0].part) != (group.stream, group.part):
            of_symbol.clear()
        of_symbol.append(group)
    return {group.id: group.symbol for of_symbol in last.values() for group in of_symbol}


def rows_of_groups(connection: Connection, groups: Collection[int]) -> Iterator[Row[Any]]:
    """The rows of these groups, in no order."""
    ids = sorted(groups)
    for first in range(0, len(ids), _AT_ONCE):
        of_groups = TRADE_ROWS.c.group_id.in_(ids[first : first + _AT_ONCE])
        yield from connection.execute(select(TRADE_ROWS).where(of_groups))


def totals_of_groups(connection: Connection, groups: Collection[int]) -> Iterator[tuple[int, float, int]]:
    """Id, last cumulative volume and last number of trades of each group that knows them: both only rise on a day."""
    rows, ids = TRADE_ROWS.c, sorted(groups)
    totals = select(rows.group_id, func.max(rows.cumulative_volume), func.max(rows.cumulative_trades))
    for first in range(0, len(ids), _AT_ONCE):
        known = rows.group_id.in_(ids[first : first + _AT_ONCE]), rows.cumulative_trades > 0
        yield from connection.execute(totals.where(*known).group_by(rows.group_id))


def remove_empty(connection: Connection, session_date: str) -> None:
    """Remove the day's groups without a row."""
    groups = TRADE_GROUPS.c
    of_day = (groups.symbol.in_(lines_of(connection, TRADE_GROUPS)), groups.session_date == session_date)
    has_rows = select(1).where(TRADE_ROWS.c.group_id == groups.id).correlate(TRADE_GROUPS).exists()
    connection.execute(delete(TRADE_GROUPS).where(*of_day, ~has_rows))
