"""A day whose stream carries false trades: `python -m tests.chaos.poisoned_day --speed 240 --symbols 200`.

The simulator adds false records of seven kinds to its stream (fault "poison"), also to the first trades, around a cut
of the connection and while REST calls are refused. Two independent records are compared: the simulator's ledger and
list of false records, and the database. The judge uses none of Observer's counters.

Prints one JSON object. Exit status 0: every true trade that was sent while subscribed is stored, but for what the cut
took with it; every false record is in quarantine, none is among the trades; an alert was raised.
"""

import argparse
import contextlib
import itertools
import json
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.fault_day import judged
from tests.chaos.ledger_judge import Tape, read_tapes
from tests.chaos.shares import united, volume, without
from tests.whole.running import JsonObject
from tests.whole.staged import QUICK_SILENCE, StagedDay, staged_day, stopped

# All times KST.
SCRIPT: Sequence[JsonObject] = (
    {"kind": "poison", "at": "09:29", "for_s": 6 * 3600.0, "share": 0.05},
    {"kind": "poison", "at": "12:00", "for_s": 300.0, "share": 0.3},
    {"kind": "stream_cut", "at": "11:00", "for_s": 30.0},
    {"kind": "rest_refused", "at": "13:00", "for_s": 240.0},
)
KINDS = ("volume", "block", "tomorrow", "month_ahead", "midnight", "price", "negative")
ENDS_S = 15 * 3600 + 6 * 60  # Track B stopped at 15:00
ALERT = "implausible_trades"
CUT = "SELECT symbol, after_volume, before_volume FROM gaps WHERE reason = 'reconnect'"

# Of a trade's record (docs/kis.md#trades).
_PLACES = (33, 1, 2, 12, 13)  # date, time, price, volume, the day's volume after it


def changes() -> Mapping[str, JsonObject]:
    """The configuration of the day."""
    simulator = {**QUICK_SILENCE["simulator"], "drops": [], "faults": list(SCRIPT)}
    return {**QUICK_SILENCE, "simulator": simulator}


Key = tuple[str, int, float, float, float]
"""Symbol, UTC nanoseconds, price, volume and the day's volume of a record."""


def finding(forgeries: Sequence[Mapping[str, Any]], database: Path) -> dict[str, Any]:
    """By kind, the false records sent, those not in quarantine (but for what the cut connection took with it) and those
    among the trades; and the alerts.
    """
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        contents = [bytes(row[0]) for row in connection.execute("SELECT content FROM quarantined_inputs")]
        columns = "symbol, exchange_time_ns, price, volume, cumulative_volume"
        trades: set[Key] = set(connection.execute(f"SELECT {columns} FROM trades WHERE gap_id IS NULL"))
        alerts = connection.execute("SELECT count(*) FROM alerts WHERE identity = ?", [ALERT]).fetchone()[0]
        cut = _by_symbol(connection.execute(CUT))
    quarantined = Counter(_of_content(content) for content in contents)
    kinds = ("sent", "not_in_quarantine", "among_trades")
    found: dict[str, Counter[str]] = {name: Counter() for name in kinds}
    for forgery in forgeries:
        kind, key = forgery["kind"], record_of(forgery["frame"])
        found["sent"][kind] += 1
        found["not_in_quarantine"][kind] += not (quarantined[key] or was_cut(kind, key, cut[key[0]]))
        found["among_trades"][kind] += key in trades
        quarantined[key] -= 1
    others = sum((+quarantined).values())
    return {name: dict(+counts) for name, counts in found.items()} | {"quarantined_true": others, "alerts": alerts}


def was_cut(kind: str, record: Key, cut: Iterable[tuple[int, int]]) -> bool:
    """Whether a cut can have taken the false record with it: it took the true one in front of it, or the next one."""
    *_, volume, total = record
    front = total / 1000 if kind in ("volume", "block") else total - abs(volume)
    return any(after <= front <= before for after, before in cut)


def _of_content(content: bytes) -> Key:
    """What a row of quarantine is about: a frame as it came, or a trade that was read."""
    if content.startswith(b"0|"):
        return record_of(content.decode())
    _, _provider, symbol, _day, time_ns, _received, price, volume, total, *_ = json.loads(content)
    return symbol, time_ns, price, volume, total


def record_of(frame: str) -> Key:
    """The one record of a frame."""
    fields = frame.split("|", 3)[3].split("^")
    day, hour, price, volume, total = (fields[place] for place in _PLACES)
    moment = datetime.strptime(f"{day}{hour}+0900", "%Y%m%d%H%M%S%z")
    return fields[0], int(moment.timestamp()) * 10**9, float(price), float(volume), float(total)


def streamed(ledger: Sequence[Mapping[str, Any]], database: Path, tapes: Mapping[str, Tape]) -> dict[str, int]:
    """True trades sent while subscribed and those stored as streamed; the shares sent and not stored, but for what the
    cut connection took with it, and for recorded gaps before the first trade of a second connection that overtook the
    first one: a symbol that moves between accounts is subscribed over both for a moment. What the broker sends after
    the end of a symbol's last slot is nobody's: it is read and not kept.
    """
    spans = [(subscription["symbol"], span) for subscription in ledger for span in subscription["spans"]]
    numbers = {
        (symbol, number) for symbol, span in spans for number in range(span["first_trade"], span["last_trade"] + 1)
    }
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT symbol, cumulative_volume - volume, cumulative_volume FROM trades WHERE gap_id IS NULL"
        ).fetchall()
        cut = connection.execute(CUT).fetchall()
        gaps = connection.execute("SELECT symbol, after_volume, before_volume FROM gaps").fetchall()
        ends = connection.execute("SELECT symbol, max(released_ns) FROM slot_releases GROUP BY symbol").fetchall()
    second = second_connections(ledger)
    cut += [gap for gap in gaps if (gap[0], gap[2]) in second]
    cut += [(symbol, tapes[symbol].volume_at(end_ns), sys.maxsize) for symbol, end_ns in ends]
    sent = _by_symbol((symbol, span["volume_before"], span["volume_after"]) for symbol, span in spans)
    kept, excused = _by_symbol(rows), _by_symbol(cut)
    missing = (
        without(without(united(of_symbol), united(kept[symbol])), united(excused[symbol]))
        for symbol, of_symbol in sent.items()
    )
    return {"sent_trades": len(numbers), "stored_trades": len(rows), "not_stored_shares": sum(map(volume, missing))}


def second_connections(ledger: Sequence[Mapping[str, Any]]) -> set[tuple[str, float]]:
    """Symbol and volume of the day before the first trade, of each subscription that began during another one."""
    return {
        (one["symbol"], one["spans"][0]["volume_before"])
        for one, other in itertools.permutations(ledger, 2)
        if one["symbol"] == other["symbol"]
        and one["spans"]
        and other["acknowledged_ns"] < one["acknowledged_ns"] < (other["ended_ns"] or sys.maxsize)
    }


def _by_symbol(rows: Iterable[tuple[str, float, float]]) -> Mapping[str, list[tuple[int, int]]]:
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for symbol, start, end in rows:
        found[symbol].append((int(start), int(end)))
    return found


def run(*, speed: float, symbols: int, seed: int = 7, folder: Path | None = None) -> dict[str, Any]:
    """Run one poisoned day; return its report. With `folder`, all files stay in `folder`/d."""
    with staged_day(speed=speed, symbols=symbols, accounts=2, seed=seed, changes=changes(), folder=folder) as day:
        day.begin()
        day.until_second(ENDS_S)
        alive = day.alive()
        day.until_gaps_are_closed()
        day.until_judged()
        reported = report(day)
        reported["every_process_lived"] = alive
        reported["exit_status"] = stopped(day)
        reported["left_behind"] = day.system.left_behind()
        return reported


def report(day: StagedDay) -> dict[str, Any]:
    """What both judges say of a finished day."""
    forgeries = day.forgeries()
    (day.folder / "forgeries.json").write_text(json.dumps(forgeries))
    return {
        **judged(day, day.folder),
        **streamed(day.subscriptions(), day.database, read_tapes(day.folder / "offered.csv")),
        "poison": finding(forgeries, day.database),
    }


def is_clean(poison: Mapping[str, Any]) -> bool:
    """Whether all false records of every kind are in quarantine, no true one is, and an alert said so."""
    return (
        set(poison["sent"]) == set(KINDS)
        and not poison["not_in_quarantine"]
        and not poison["among_trades"]
        and not poison["quarantined_true"]
        and poison["alerts"] > 0
    )


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether the day's report passes."""
    return (
        reported["balances"]
        and reported["stored_trades"] > 0
        and not reported["not_stored_shares"]
        and is_clean(reported["poison"])
        and reported["every_process_lived"]
        and reported["exit_status"] == 0
        and not reported["left_behind"]
    )


def main() -> int:
    """Run a poisoned day and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speed", type=float, default=240, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep all files in FOLDER/d")
    reported = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
