"""Checks a day's database against the bytes that the processes published and the trades that the market had:
`python -m tests.chaos.outside_judge URL SEGMENTS OFFERED LEDGER`.

It knows the documented formats alone (bus/DESIGN.md: journal, batch, MessagePack; the columns of docs/data.md), states
them a second time, and asks by sqlite3 and psycopg. It imports nothing of Observer and uses none of its counters.

SEGMENTS: while the day runs, `Linker` gives every segment of every outbox a second name at its creation. So its bytes
outlive delivery, archive, compression and removal. OFFERED and LEDGER: the market's trades and the simulator's
registrations (tests/chaos/ledger_judge.py).

*the rows*: each published event is one row whose columns are its fields; each row is a published event.
*the trades*: each stored trade is the market's, once. While a slot streams (from its first registration over which the
broker sent something to its release, up to Track B's stop), each share that was traded is stored as streamed, or lies
in a gap; each recovered trade lies in its gap.

Prints one JSON object. Exit status 0: nothing wrong; 1: something is.
"""

import argparse
import contextlib
import csv
import json
import os
import sqlite3
import struct
import sys
import threading
import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import psycopg

from tests.chaos.shares import Shares, common, united, volume, without

MAGIC: Final = b"OBSJRNL1"
FRAME: Final = struct.Struct("<II")  # length, CRC-32
BATCH: Final = struct.Struct("<16sQIH")  # stream, first sequence, count, schema version
LOOK_S: Final = 0.02  # a segment lives as long as its process at least
WHOLE_S, MINUTE_NS = 10**9, 60 * 10**9

Position = tuple[str, int]  # the stream's 32 digits, and the number in it
Tape = dict[int, tuple[int, int, int]]  # a line's trades: by the day's volume after it price, volume and time


class Linker:
    """Gives each new segment of the outboxes a second name, `PRODUCER/NAME` in `folder`, until the end of the block."""

    def __init__(self, outboxes: Path, folder: Path) -> None:
        self._outboxes = outboxes
        self._folder = folder
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(LOOK_S):
            for path in self._outboxes.glob("*/[0-9a-f]*.journal"):
                linked = self._folder / path.parent.name / path.name
                linked.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError, FileNotFoundError):
                    os.link(path, linked)


# --- what was published --------------------------------------------------------------------------------------


def payloads(content: bytes) -> Iterator[bytes]:
    """The whole records of a journal; a kill can leave half a record at the end."""
    assert content.startswith(MAGIC), content[:16]
    begin = len(MAGIC)
    is_label = True
    while begin + FRAME.size <= len(content):
        length, checksum = FRAME.unpack_from(content, begin)
        payload = content[begin + FRAME.size : begin + FRAME.size + length]
        if len(payload) < length or zlib.crc32(payload) != checksum:
            return
        if not is_label:
            yield payload
        is_label, begin = False, begin + FRAME.size + length


def published(segments: Path) -> dict[Position, Sequence[Any]]:
    """Each published event: its kind and its fields."""
    events: dict[Position, Sequence[Any]] = {}
    for path in segments.rglob("*.journal"):
        for payload in payloads(path.read_bytes()):
            stream, first, count, _version = BATCH.unpack_from(payload)
            batch = msgspec.msgpack.decode(payload[BATCH.size :])
            assert len(batch) == count
            events |= {(stream.hex(), number): event for number, event in enumerate(batch, first)}
    return events


# --- what is stored ------------------------------------------------------------------------------------------


class Database:
    """The rows of a database, by its own driver."""

    def __init__(self, url: str) -> None:
        self._is_file = url.startswith("sqlite:///")
        self._connection: Any = (
            sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
            if self._is_file
            else psycopg.connect(url.replace("+psycopg", ""))
        )

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(statement).fetchall())

    def event_relations(self) -> Sequence[str]:
        """The tables and views whose rows begin with the position of an event."""
        column = (
            "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE c.name = '{}' AND c.cid = {}"
            if self._is_file
            else "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema() "
            "AND column_name = '{}' AND ordinal_position = {} + 1"
        )
        both = f"{column.format('stream', 0)} INTERSECT {column.format('sequence', 1)}"
        return [name for (name,) in self.ask(both) if name != "quarantine"]

    def close(self) -> None:
        self._connection.close()


def wrong_rows(events: Mapping[Position, Sequence[Any]], database: Database) -> dict[str, int]:
    """How the rows differ from the published events. A kind of event is in one table."""
    uids = dict(database.ask("SELECT id, uid FROM streams"))
    found = dict.fromkeys(("lost", "doubled", "altered", "unpublished"), 0)
    stored: set[Position] = set()
    tables: dict[str, str] = {}
    for table in database.event_relations():
        for stream, sequence, *values in database.ask(f'SELECT * FROM "{table}"'):
            position = uids.get(stream, ""), sequence
            event = events.get(position)
            if position in stored:
                found["doubled"] += 1
            elif event is None:
                found["unpublished"] += 1
            elif not _is_same(event[1:], values) or tables.setdefault(event[0], table) != table:
                found["altered"] += 1
            stored.add(position)
    found["lost"] = sum(position not in stored for position in events)
    found["quarantined"] = database.ask("SELECT count(*) FROM quarantine")[0][0]
    return found


def _is_same(fields: Sequence[Any], values: Sequence[Any]) -> bool:
    """Whether the columns have the event's fields; a field that is a document is JSON text."""
    return len(fields) == len(values) and all(
        (json.loads(value) if isinstance(field, list | dict) else value) == field
        for field, value in zip(fields, values, strict=True)
    )


# --- what the market traded ----------------------------------------------------------------------------------


def line_id(symbol: str, venue: str) -> str:
    return symbol if venue == "KRX" else f"{symbol}.{venue}"


def read_tapes(offered: Path) -> dict[str, Tape]:
    tapes: defaultdict[str, Tape] = defaultdict(dict)
    with offered.open(newline="") as file:
        for row in csv.DictReader(file):
            trade = int(row["price"]), int(row["volume"]), int(row["exchange_time_ns"])
            tapes[line_id(row["symbol"], row["venue"])][int(row["cumulative_volume"])] = trade
    return tapes


TRADES = "SELECT symbol, cumulative_volume, price, volume, exchange_time_ns, gap_id FROM trades"
CONFLATED = "SELECT symbol, cumulative_volume - volume, cumulative_volume FROM conflated_trades"
GAPS = "SELECT symbol, after_volume, before_volume, gap_id FROM gaps"
SLOTS = "SELECT symbol, assigned_ns, 1 FROM slot_assignments UNION ALL SELECT symbol, released_ns, 0 FROM slot_releases"
STOP = "SELECT max(changed_ns) FROM phases WHERE previous = 'FULL_OPERATION'"  # planned for a full minute


def wrong_trades(
    tapes: Mapping[str, Tape],
    ledger: Sequence[Mapping[str, Any]],
    database: Database,
    unexplained: list[tuple[str, int, int, int]],
) -> dict[str, int]:
    """Trades that differ from the market's, and shares of the slots that nothing explains: these also as line, volume
    before and after, and the time of the last of their trades.
    """
    found = dict.fromkeys(("unlike_the_market", "stored_twice", "recovered_outside", "unexplained_shares"), 0)
    held: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for symbol, start, end in database.ask(CONFLATED):
        held[symbol].append((int(start), int(end)))
    gaps: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    of_gap: dict[str, tuple[int, int]] = {}
    for symbol, start, end, gap_id in database.ask(GAPS):
        of_gap[gap_id] = int(start), int(end)
        gaps[symbol].append(of_gap[gap_id])
    seen: set[tuple[str, int]] = set()
    for symbol, total, price, shares, time_ns, gap_id in database.ask(TRADES):
        twin = tapes[symbol].get(int(total))
        found["unlike_the_market"] += twin is None or (price, shares, time_ns) != (
            *twin[:2],
            twin[2] // WHOLE_S * WHOLE_S,
        )
        found["stored_twice"] += (symbol, total) in seen
        seen.add((symbol, total))
        span = int(total - shares), int(total)
        if gap_id is None:
            held[symbol].append(span)
        else:
            found["recovered_outside"] += not common([span], [of_gap.get(gap_id, (0, 0))])
    [(stop_ns,)] = database.ask(STOP)
    for symbol, slots in slots_of(database, stop_ns // MINUTE_NS * MINUTE_NS if stop_ns else sys.maxsize).items():
        own = [each for each in ledger if line_id(each["symbol"], each["view"]) == symbol and each["spans"]]
        left = without(without(streamed(tapes[symbol], slots, own), united(held[symbol])), united(gaps[symbol]))
        found["unexplained_shares"] += volume(left)
        unexplained += [(symbol, start, end, tapes[symbol][end][2]) for start, end in left]
    return found


def slots_of(database: Database, stop_ns: int) -> Mapping[str, Sequence[tuple[int, int]]]:
    """The times in which each line had a slot, a slot that moved being one, up to Track B's stop."""
    slots: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    open_since: dict[str, int] = {}
    # At one moment a move releases and assigns: the assignment after the release goes on with the slot.
    for symbol, at_ns, begins in sorted(database.ask(SLOTS)):
        if begins and symbol not in open_since:
            ends_now = bool(slots[symbol]) and slots[symbol][-1][1] == at_ns
            open_since[symbol] = slots[symbol].pop()[0] if ends_now else at_ns
        elif not begins and symbol in open_since:
            slots[symbol].append((open_since.pop(symbol), at_ns))
    for symbol, since_ns in open_since.items():
        slots[symbol].append((since_ns, stop_ns))
    return {symbol: [(since, min(until, stop_ns)) for since, until in spans] for symbol, spans in slots.items()}


def streamed(tape: Tape, slots: Sequence[tuple[int, int]], ledger: Sequence[Mapping[str, Any]]) -> Shares:
    """The shares of a line that its slots should have brought: from the first registration of each, or one that was
    made since the slot before and goes on, to its end.
    """
    totals = sorted(tape)
    times = [tape[total][2] for total in totals]
    parts, before_ns = [], 0
    for since_ns, until_ns in slots:
        begins_ns = [
            max(each["acknowledged_ns"], since_ns)
            for each in ledger
            if before_ns <= each["acknowledged_ns"] < until_ns and (each["ended_ns"] or sys.maxsize) > since_ns
        ]
        if begins_ns:
            counts = bisect_right(times, min(begins_ns)), bisect_right(times, until_ns)
            parts.append(tuple(totals[count - 1] if count else 0 for count in counts))
        before_ns = until_ns
    return united((start, end) for start, end in parts)


def finding(url: str, segments: Path, offered: Path, ledger: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All that is wrong, and how much was compared."""
    events = published(segments)
    unexplained: list[tuple[str, int, int, int]] = []
    with contextlib.closing(Database(url)) as database:
        wrong = wrong_rows(events, database) | wrong_trades(read_tapes(offered), ledger, database, unexplained)
        trades, gaps = (database.ask(f"SELECT count(*) FROM {table}")[0][0] for table in ("trades", "gaps"))
    compared = {"events": len(events), "trades": trades, "gaps": gaps}
    return {"whole": not any(wrong.values()), "wrong": wrong, **compared, "unexplained": unexplained}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="sqlite:///FILE or postgresql://...")
    for name in ("segments", "offered", "ledger"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    ledger = json.loads(arguments.ledger.read_text())
    reported = finding(arguments.url, arguments.segments, arguments.offered, ledger)
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if reported["whole"] else 1


if __name__ == "__main__":
    sys.exit(main())
