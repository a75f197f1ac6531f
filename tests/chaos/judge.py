"""Checks that a database holds exactly the appended events: `python tests/chaos/judge.py URL OUTBOXES`.

An independent program. It reads the outbox files by their documented format (bus/journal.py and bus/outbox.py state
it; this file states it a second time, on purpose), and queries the database with the sqlite3 or psql shell. It imports
nothing of Observer and uses no counter of the writer.

Prints one JSON object. Exit status 0: nothing lost, doubled, changed, out of order; 1: something is; 2: cannot judge.
"""

import argparse
import csv
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

MAGIC = b"OBSJRNL1"
FRAME = struct.Struct("<II")  # length, CRC-32
BATCH = struct.Struct("<16sQIH")  # stream, first sequence, count, schema version
Rows = Sequence[Sequence[str]]

# --- the outboxes --------------------------------------------------------------------------------------------


def records(path: Path) -> Iterator[bytes]:
    """The payloads of a journal up to its last whole record, without the label."""
    data = path.read_bytes()
    if data[: len(MAGIC)] != MAGIC:
        return
    offset, is_label = len(MAGIC), True
    while offset + FRAME.size <= len(data):
        length, checksum = FRAME.unpack_from(data, offset)
        payload = data[offset + FRAME.size : offset + FRAME.size + length]
        if len(payload) < length or zlib.crc32(payload) != checksum:
            return
        if not is_label:
            yield payload
        offset, is_label = offset + FRAME.size + length, False


def appended(outbox: Path) -> dict[str, int]:
    """The number of the last event that each stream of an outbox ever got."""
    marks: dict[str, int] = {}
    finished = outbox / "finished"
    if finished.exists():
        marks |= _marks(finished)
    for path in outbox.glob("*.journal"):
        stream, _, number = path.stem.partition("-")
        last_sequence = int(number) - 1
        for payload in records(path):
            _stream, first, count, _version = BATCH.unpack_from(payload)
            last_sequence = first + count - 1
        marks[stream] = max(marks.get(stream, 0), last_sequence)
    return marks


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
        "WHERE column_name = 'sequence' AND table_schema = current_schema() ORDER BY 1"
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
    "copies": "SELECT count(*) - count(DISTINCT symbol || '/' || cumulative_trades) FROM trades",
    "out_of_order": "SELECT count(*) FROM (SELECT exchange_time_ns < lag(exchange_time_ns) OVER "
    "(PARTITION BY provider ORDER BY stream, sequence) AS back FROM trades) t WHERE back",
    "quarantined": "SELECT count(*) FROM quarantine",
}


def faults(outboxes: Mapping[str, int], ledgers: Mapping[str, int], stored: Rows) -> dict[str, int]:
    """Error counts by name; all zero when the database is correct."""
    distinct = {uid: int(numbers) for uid, _producer, _mark, _rows, numbers, _first, _last in stored}
    return {
        "lost": sum(max(0, mark - distinct.get(stream, 0)) for stream, mark in outboxes.items()),
        "lost_of_ledger": sum(max(0, mark - distinct.get(stream, 0)) for stream, mark in ledgers.items()),
        "duplicated": sum(int(rows) - int(numbers) for _u, _p, _m, rows, numbers, _f, _l in stored),
        "holes": sum(int(last) - int(first) + 1 - int(numbers) for _u, _p, _m, _r, numbers, first, last in stored),
        "invented": sum(max(0, int(last) - outboxes.get(uid, 0)) for uid, _p, _m, _r, _n, _f, last in stored),
        "wrong_marks": sum(mark != last for _u, _p, mark, _r, _n, _f, last in stored),
    }


def finding(url: str, folder: Path, ledgers: Path, *, stamped: bool) -> dict[str, object]:
    """All counts and the errors."""
    outboxes = {stream: mark for outbox in folder.iterdir() for stream, mark in appended(outbox).items()}
    positions = " UNION ALL ".join(f'SELECT stream, sequence FROM "{table}"' for table in event_tables(url))
    stored = ask(url, STREAMS.format(positions=positions))
    found = faults(outboxes, noted(ledgers), stored)
    if stamped:
        found |= {name: int(ask(url, statement)[0][0]) for name, statement in STAMPED.items()}
    return {
        "streams": len(outboxes),
        "appended": sum(outboxes.values()),
        "stored": sum(int(row[3]) for row in stored),
        "faults": found,
        "whole": not any(found.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="sqlite:///FILE or postgresql://...")
    parser.add_argument("outboxes", type=Path, help="the folder with an outbox for each producer")
    parser.add_argument("--ledgers", type=Path, default=Path("/nonexistent"), help="the producers' own notes")
    parser.add_argument("--stamped", action="store_true", help="events say where they belong: look at each")
    arguments = parser.parse_args()
    reported = finding(arguments.url, arguments.outboxes, arguments.ledgers, stamped=arguments.stamped)
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if reported["whole"] else 1


if __name__ == "__main__":
    sys.exit(main())
