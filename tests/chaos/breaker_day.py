"""A whole day of both venues with circuit breakers: `python -m tests.chaos.breaker_day`.

At 10:30 both venues stop for 20 minutes, and an auction of 10 minutes ends the stop; at 12:00 KOSPI alone does, while
KOSDAQ trades; at 14:00 a breaker of the third level closes both markets. Slots stream trades alone: the stops are known
by the lines that are watched for their market.

The judge reads the database and the market, imports nothing that decides on slots or gaps, and uses no counter:
*slots_released* within a stop and *gaps* of the day are 0, *trades* are those that the market offered while they were
subscribed (tests/chaos/ledger_judge.py), each market's stop is an alert that begins and ends, and rows.

Prints one JSON object. Exit status 0: nothing is wrong, and the day came to its end.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from observer.base.local_time import local_ns
from observer.demo.configuration import DAY
from tests.chaos import fault_day
from tests.whole.running import JsonObject
from tests.whole.staged import QUICK_SILENCE, StagedDay, staged_day, stopped

BEGINS, ENDS_S = (6, 59), 20 * 3600 + 14 * 60
STOPS: Sequence[JsonObject] = (
    {"at": "10:30", "for_s": 1800},
    {"at": "12:00", "for_s": 1800, "exchanges": ["KOSPI"]},
    {"at": "14:00", "closes": True},
)
BOTH, OF_KOSPI = ("KOSPI", "KOSDAQ"), ("KOSPI",)
# From when to when nothing is traded, and until when the market announces it: until its auction, or until the close.
STOPPED = (
    (BOTH, local_ns(DAY, 10, 30), local_ns(DAY, 11), local_ns(DAY, 10, 50)),
    (OF_KOSPI, local_ns(DAY, 12), local_ns(DAY, 12, 30), local_ns(DAY, 12, 20)),
    (BOTH, local_ns(DAY, 14), local_ns(DAY, 15, 30), local_ns(DAY, 15, 30)),
)
VENUES = ("KRX", "NXT")
NOTICED_WITHIN_NS = 120 * 10**9  # market time: an evaluation each 10 s, and a poll each 0.1 s of machine time

RELEASES = (
    "SELECT count(*) FROM slot_releases r WHERE released_ns >= ? AND released_ns < ? AND NOT EXISTS "
    "(SELECT 1 FROM slot_assignments a WHERE a.symbol = r.symbol AND a.assigned_ns = r.released_ns)"
)
TRADES = (
    "SELECT count(*) FROM trades WHERE exchange_time_ns >= ? AND exchange_time_ns < ? "
    "AND symbol IN (SELECT symbol FROM universe_members WHERE exchange = ?)"
)
ALERTS = "SELECT identity, raised_ns FROM alerts WHERE identity LIKE 'market_stopped:%' ORDER BY raised_ns, identity"
RESOLUTIONS = "SELECT identity, resolved_ns FROM alert_resolutions WHERE identity LIKE 'market_stopped:%'"
NOTICES = "SELECT venue, market_notice, count(*) FROM market_states WHERE market_notice LIKE 'breaker%' GROUP BY 1, 2"


def finding(database: Path) -> dict[str, Any]:
    """What the database says of the stops, and what is wrong with it."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:

        def counted(query: str, spans: Iterable[tuple[object, ...]]) -> int:
            return sum(int(connection.execute(query, span).fetchone()[0]) for span in spans)

        of_exchanges = [(from_ns, to_ns, each) for exchanges, from_ns, to_ns, _ in STOPPED for each in exchanges]
        found = {
            "slots_released": counted(RELEASES, (span[1:3] for span in STOPPED)),
            "trades_within": counted(TRADES, of_exchanges),
            "gaps": int(connection.execute("SELECT count(*) FROM gaps").fetchone()[0]),
            "alerts": _spans(connection.execute(ALERTS).fetchall(), connection.execute(RESOLUTIONS).fetchall()),
            "rows": {f"{venue} {notice}": rows for venue, notice, rows in connection.execute(NOTICES)},
            "expected_prices": dict(connection.execute("SELECT auction, count(*) FROM expected_prices GROUP BY 1")),
        }
    found["wrong"] = [
        *(name for name in ("slots_released", "trades_within", "gaps") if found[name]),
        *wrong_alerts(found["alerts"]),
        *(f"no row {name}" for name in ROWS - found["rows"].keys()),
        *(f"no expected price of an auction {name}" for name in AUCTIONS - found["expected_prices"].keys()),
    ]
    return found


ROWS = {f"{venue} {notice}" for venue in VENUES for notice in ("breaker", "breaker_ended", "breaker_to_close")}
AUCTIONS = {"opening", "intraday"}  # the day has no closing auction


def _spans(raised: Sequence[tuple[str, int]], resolved: Sequence[tuple[str, int]]) -> dict[str, list[tuple[int, int]]]:
    """By market, from when to when its stop was an alert; 0 where it did not end."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for identity, raised_ns in raised:
        ends = [at_ns for name, at_ns in resolved if name == identity and at_ns >= raised_ns]
        spans.setdefault(identity.partition(":")[2], []).append((raised_ns, min(ends, default=0)))
    return spans


def wrong_alerts(alerts: Mapping[str, Sequence[tuple[int, int]]]) -> list[str]:
    """The markets whose alerts are not those of the stops: begun and ended when the market said so."""
    announced = {
        f"{venue} {exchange}": [
            (from_ns, ends_ns) for exchanges, from_ns, _, ends_ns in STOPPED if exchange in exchanges
        ]
        for venue in VENUES
        for exchange in BOTH
    }
    return [
        f"alerts of {market}"
        for market, spans in announced.items()
        if len(alerts.get(market, ())) != len(spans)
        or any(
            not 0 <= at_ns - announced_ns < NOTICED_WITHIN_NS
            for found, span in zip(alerts[market], spans, strict=True)
            for at_ns, announced_ns in zip(found, span, strict=True)
        )
    ]


def run(*, speed: float, symbols: int, accounts: int, seed: int, folder: Path | None = None) -> dict[str, Any]:
    """Run the day; return its report. With `folder`, all files stay in `folder`/d."""
    simulator = {**QUICK_SILENCE["simulator"], "drops": [], "market_stops": list(STOPS)}
    changes = {**QUICK_SILENCE, "simulator": simulator}
    with staged_day(
        speed=speed,
        symbols=symbols,
        accounts=accounts,
        seed=seed,
        begins=BEGINS,
        changes=changes,
        folder=folder,
        nxt=True,
    ) as day:
        return _played(day)


def _played(day: StagedDay) -> dict[str, Any]:
    day.begin()
    day.until_second(ENDS_S)
    alive = day.alive()
    day.until_gaps_are_closed()
    day.until_judged()
    ledger = fault_day.judged(day, day.folder)
    exit_status = stopped(day)
    return {"ledger": ledger, "every_process_lived": alive, "exit_status": exit_status, **finding(day.database)}


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether the day's report passes."""
    return bool(
        reported["ledger"]["balances"]
        and reported["every_process_lived"]
        and reported["exit_status"] == 0
        and not reported["wrong"]
    )


def main() -> int:
    """Run the day and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speed", type=float, default=200, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=40)
    parser.add_argument("--accounts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep everything in its folder d; without it nothing is kept")
    reported = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
