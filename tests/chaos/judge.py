"""Checks that a database holds exactly the appended events: `python tests/chaos/judge.py URL OUTBOXES`.

An independent program. It reads the files of outboxes and archives by their documented format (bus/journal.py,
bus/outbox.py and bus/archive.py state it; this file states it a second time, on purpose), and queries the database with
the sqlite3 or psql shell. It imports nothing of Observer and uses no counter of the writer.

An event counts as lost unless it is stored or stated in the table `delivery_losses`; a stated loss is a fault if a file
still holds the event.

Prints one JSON object. Exit status 0: nothing lost, doubled, changed, out of order; 1: something is; 2: cannot judge.
"""

import argparse
import contextlib
import csv
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import zstandard

FRAME = struct.Struct("<II")  # length, CRC-32
BATCH = struct.Struct("<16sQIH")  # stream, first sequence, count, schema version
PROGRESS = struct.Struct("<QQI")  # ordinal, last sequence, CRC-32 of both as text
ZSTD = b"\x28\xb5\x2f\xfd"  # the beginning of a frame
Rows = Sequence[Sequence[str]]

# --- the outboxes --------------------------------------------------------------------------------------------


def content(path: Path) -> bytes:
    """A segment; of a compressed one every frame that can be read, wherever it begins."""
    data = path.read_bytes()
    if path.suffix != ".zst":
        return data
    parts, begin = [], data.find(ZSTD)
    while begin >= 0:
        with contextlib.suppress(zstandard.ZstdError):
            parts.append(zstandard.ZstdDecompressor().decompressobj().decompress(data[begin:]))
        begin = data.find(ZSTD, begin + 1)
    return b"".join(parts)


def batches(path: Path) -> Iterator[tuple[int, int]]:
    """First and last number of each whole batch of a segment, wherever it stands in the file."""
    stream, data = path.name[:32], content(path)
    begin = data.find(bytes.fromhex(stream))
    while begin >= 0:
        end = begin + 1
        if begin >= FRAME.size:
            length, checksum = FRAME.unpack_from(data, begin - FRAME.size)
            payload = data[begin : begin + length]
            if len(payload) == length >= BATCH.size and zlib.crc32(payload) == checksum:
                _stream, first, count, _version = BATCH.unpack_from(payload)
                yield first, first + count - 1
                end = begin + length
        begin = data.find(bytes.fromhex(stream), end)


def segments(outbox: Path) -> Iterator[Path]:
    """All files that can hold events, of the archive too."""
    for folder in (outbox, outbox / "archive"):
        yield from folder.glob("[0-9a-f]*.journal*")


def appended(outbox: Path) -> dict[str, int]:
    """The number of the last event that each stream of an outbox ever got, by its notes and its segments."""
    marks: dict[str, int] = {}
    finished = outbox / "finished"
    for line in finished.read_bytes().splitlines(keepends=True) if finished.exists() else ():
        match line.split():
            case [stream, last, checksum] if zlib.crc32(b"%s %s" % (stream, last)) == int(checksum, 16):
                marks[stream.decode()] = int(last)
    for path in outbox.glob("*.progress"):
        data = path.read_bytes()
        if len(data) == PROGRESS.size:
            ordinal, last_sequence, checksum = PROGRESS.unpack(data)
            if zlib.crc32(b"%d %d" % (ordinal, last_sequence)) == checksum:
                marks[path.stem] = max(marks.get(path.stem, 0), last_sequence)
    for path in outbox.glob("[0-9a-f]*.journal"):
        marks[path.name[:32]] = max(marks.get(path.name[:32], 0), max((last for _, last in batches(path)), default=0))
    return marks


def deliverable(outbox: Path, streams: AbstractSet[str]) -> dict[str, list[tuple[int, int]]]:
    """By stream, the ranges of numbers that the files still hold."""
    held: dict[str, list[tuple[int, int]]] = {}
    for path in segments(outbox):
        if path.name[:32] in streams:
            held.setdefault(path.name[:32], []).extend(batches(path))
    return held


def noted(ledgers: Path) -> dict[str, int]:
    """The number of the last event that each producer itself wrote down as published."""
    marks: dict[str, int] = {}
    for path in ledgers.iterdir() if ledgers.is_dir() else ():
        marks |= _marks(path)
    return marks


def _marks(path: Path) -> dict[str, int]:
    """Lines "stream last-sequence", the later ones count; a kill can leave half a line at the end."""
    whole = [line.split() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {stream: int(last_sequence) for stream, last_sequence in whole}


# --- the database --------------------------------------------------------------------------------------------


def ask(url: str, statement: str) -> Rows:
    """The output of the database's own shell."""
    if url.startswith("sqlite:///"):
        command = ["sqlite3", "-csv", "-cmd", ".timeout 10000", url.removeprefix("sqlite:///"), statement]
    else:
        command = ["psql", "--no-psqlrc", "--csv", "--tuples-only", "-c", statement, url.replace("+psycopg", "")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stderr.strip()}")
    return list(csv.reader(done.stdout.splitlines()))


def event_tables(url: str) -> Sequence[str]:
    """All tables whose rows have a stream and a sequence number."""
    statement = (
        "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'sequence' "
        "WHERE m.type = 'table' ORDER BY 1"
        if url.startswith("sqlite")
        else "SELECT table_name FROM information_schema.columns "
        "WHERE column_name = 'sequence' AND table_schema = current_schema() "
        "AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = current_schema()) ORDER BY 1"
    )
    return [name for [name] in ask(url, statement)]


# Each row of a stream: which, whose, its mark, rows, different numbers, first and last number.
STREAMS = """
    SELECT s.uid, s.producer, s.high_water_mark, count(e.sequence), count(DISTINCT e.sequence),
           coalesce(min(e.sequence), 1), coalesce(max(e.sequence), 0)
    FROM streams s LEFT JOIN ({positions}) e ON e.stream = s.id
    GROUP BY s.uid, s.producer, s.high_water_mark
"""

# The campaign's events say themselves where they belong (tests/chaos/actors.py, `stamped`).
STAMPED = {
    "misplaced": "SELECT count(*) FROM trades JOIN streams ON id = stream "
    "WHERE cumulative_trades <> sequence OR symbol <> uid OR provider <> producer",
    "changed": "SELECT count(*) FROM trades WHERE cumulative_volume <> sequence OR receive_time_ns <> exchange_time_ns "
    "OR session_date <> '2026-11-18' OR price <> 1 OR volume <> 1 OR side <> 'buy' "
    "OR bid IS NOT NULL OR ask IS NOT NULL OR gap_id IS NOT NULL",
    "copies": "SELECT count(*) - count(DISTINCT symbol || '/' || cumulative_trades) FROM trades",
    "out_of_order": "SELECT count(*) FROM (SELECT exchange_time_ns < lag(exchange_time_ns) OVER "
    "(PARTITION BY stream ORDER BY sequence) AS back FROM trades) t WHERE back",
    "quarantined": "SELECT count(*) FROM quarantine",
}
# A producer's streams are stored in the order of their openings.
STREAMS_IN_ORDER = {
    "streams_out_of_order": "SELECT count(*) FROM (SELECT exchange_time_ns < lag(exchange_time_ns) OVER "
    "(PARTITION BY provider ORDER BY stream, sequence) AS back FROM trades) t WHERE back",
}


# Each stated loss: stream, first and last number.
LOSSES = "SELECT s.uid, l.first_sequence, l.last_sequence FROM delivery_losses l JOIN streams s ON s.id = l.stream"

# Events that are stored although they are stated as lost.
BOTH = """
    SELECT count(*) FROM ({positions}) e JOIN delivery_losses l
    ON l.stream = e.stream AND e.sequence BETWEEN l.first_sequence AND l.last_sequence
"""


def faults(outboxes: Mapping[str, int], ledgers: Mapping[str, int], stored: Rows, losses: Rows) -> dict[str, int]:
    """Error counts by name; all zero when the database is correct."""
    stated: dict[str, int] = {}
    ends: dict[str, int] = {}
    for uid, first, last in losses:
        stated[uid] = stated.get(uid, 0) + int(last) - int(first) + 1
        ends[uid] = max(ends.get(uid, 0), int(last))
    known = {row[0]: int(row[4]) + stated.get(row[0], 0) for row in stored}
    end_of = {row[0]: max(int(row[6]), ends.get(row[0], 0)) for row in stored}
    return {
        "lost": sum(max(0, mark - known.get(stream, 0)) for stream, mark in outboxes.items()),
        "lost_of_ledger": sum(max(0, mark - known.get(stream, 0)) for stream, mark in ledgers.items()),
        "duplicated": sum(int(rows) - int(numbers) for _u, _p, _m, rows, numbers, _f, _l in stored),
        "holes": sum(end_of[uid] - count for uid, count in known.items()),
        "invented": sum(max(0, end - outboxes.get(uid, 0)) for uid, end in end_of.items()),
        "wrong_marks": sum(int(mark) != end_of[uid] for uid, _p, mark, _r, _n, _f, _l in stored),
    }


def still_deliverable(folder: Path, losses: Rows) -> int:
    """Events that are stated as lost and that a file still holds."""
    held: dict[str, list[tuple[int, int]]] = {}
    for outbox in folder.iterdir():
        held |= deliverable(outbox, {uid for uid, _, _ in losses})
    return sum(
        max(0, min(int(last), to) - max(int(first), since) + 1)
        for uid, first, last in losses
        for since, to in set(held.get(uid, ()))
    )


def finding(url: str, folder: Path, ledgers: Path, *, stamped: bool, unordered: bool) -> dict[str, object]:
    """All counts and the errors."""
    outboxes = {stream: mark for outbox in folder.iterdir() for stream, mark in appended(outbox).items()}
    positions = " UNION ALL ".join(f'SELECT stream, sequence FROM "{table}"' for table in event_tables(url))
    stored, losses = ask(url, STREAMS.format(positions=positions)), ask(url, LOSSES)
    found = faults(outboxes, noted(ledgers), stored, losses)
    found["stated_and_stored"] = int(ask(url, BOTH.format(positions=positions))[0][0])
    found["stated_and_deliverable"] = still_deliverable(folder, losses)
    if stamped:
        checks = STAMPED if unordered else STAMPED | STREAMS_IN_ORDER
        found |= {name: int(ask(url, statement)[0][0]) for name, statement in checks.items()}
    return {
        "streams": len(outboxes),
        "appended": sum(outboxes.values()),
        "stored": sum(int(row[3]) for row in stored),
        "stated_losses": sum(int(last) - int(first) + 1 for _, first, last in losses),
        "faults": found,
        "whole": not any(found.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="sqlite:///FILE or postgresql://...")
    parser.add_argument("outboxes", type=Path, help="the folder with an outbox for each producer")
    parser.add_argument("--ledgers", type=Path, default=Path("/nonexistent"), help="the producers' own notes")
    parser.add_argument("--stamped", action="store_true", help="events say where they belong: look at each")
    parser.add_argument("--unordered", action="store_true", help="a producer's streams may be stored in any order")
    arguments = parser.parse_args()
    reported = finding(
        arguments.url, arguments.outboxes, arguments.ledgers, stamped=arguments.stamped, unordered=arguments.unordered
    )
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if reported["whole"] else 1


if __name__ == "__main__":
    sys.exit(main())
