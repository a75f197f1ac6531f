"""A whole day of both venues, 08:00 to 20:00, with faults: `python -m tests.chaos.whole_day [--exam-day]`.

The real system streams trades and market states of the lines of KRX and NXT by the profile `whole-day`. Every kind of
fault strikes, some of them before the KRX opens and after it has closed; both venues are stopped for half an hour, in
which the stream is cut, too; symbols are interrupted (VI) and halted. With `--exam-day` it is the day of the university
entrance exam: every session begins an hour later, and NXT has no pre-market. With `--calm` nothing fails and nothing is
stopped, and trades alone are streamed: with `--accounts 1 --symbols 200` slots are scarce (docs/slots.md).

Two independent judges speak (tests/chaos/ledger_judge.py, tests/chaos/venue_judge.py), and a separate process
recomputes the day's decisions from the database.

Prints one JSON object, with the registrations by cause and the streamed share of the surges' volume. Exit status 0:
both judges find nothing wrong, the decisions are the same, every fault struck, every process lived to the end.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from observer.base.lines import line_id
from observer.demo.configuration import DAY
from observer.simulator.kis.simulator import market_of
from observer.simulator.settings import SimulatorSettings
from tests.chaos import fault_day, venue_judge
from tests.chaos.ledger_judge import read_kept
from tests.chaos.shares import common, united, volume
from tests.whole.running import JsonObject, observer
from tests.whole.staged import QUICK_SILENCE, StagedDay, staged_day, stopped

EXAM_DAY = date(2026, 11, 19)
BEGINS = (6, 59)
# A small market in which each venue has an interruption and the KRX a halt. Every line has two subscriptions, and with
# so many accounts none is without, also while one account is away.
SYMBOLS, SEED, EXAM_SEED, ACCOUNTS = 70, 1, 10, 5
ENDS_S = 20 * 3600 + 14 * 60  # the last sweep has shown the volumes of the day
# Beside the faults of the KRX's regular session: in NXT's pre-market, in the stop, and in both after-markets.
EARLY: Sequence[JsonObject] = (
    {"kind": "stream_cut", "at": "08:22", "for_s": 20.0},
    {"kind": "malformed", "at": "08:30", "for_s": 300.0, "share": 0.2},
)
LATER: Sequence[JsonObject] = (
    {"kind": "stream_cut", "at": "14:45", "for_s": 30.0},
    {"kind": "stream_cut", "at": "15:45", "for_s": 20.0},
    {"kind": "truncated", "at": "16:40", "for_s": 600.0, "share": 0.2},
    {"kind": "stream_cut", "at": "17:10", "for_s": 60.0},
    {"kind": "rest_error", "at": "17:30", "for_s": 1200.0, "share": 0.4},
    {"kind": "half_open", "at": "18:00"},
    {"kind": "token_revoked", "at": "18:30"},
    {"kind": "stream_cut", "at": "19:10", "for_s": 30.0},
)
STOP: JsonObject = {"at": "14:30", "for_s": 1800}


def changes(*, exam_day: bool, trades_times: float, calm: bool = False) -> Mapping[str, JsonObject]:
    """The configuration of the day."""
    later_s = 3600 if exam_day else 0
    script = [*([] if exam_day else EARLY), *(_moved(fault, later_s) for fault in fault_day.SCRIPT), *LATER]
    simulator = {
        **QUICK_SILENCE["simulator"],
        "drops": [],
        "faults": [] if calm else script,
        "market_stops": [] if calm else [STOP],
        "trades_times": trades_times,
        "opens_at": "10:00" if exam_day else "09:00",
    }
    track_b = {"records": ["trades"] if calm else ["trades", "market_state"], "sessions": ["whole-day"]}
    return {**QUICK_SILENCE, "simulator": simulator, "track_b": track_b}


def _moved(fault: JsonObject, later_s: int) -> JsonObject:
    """The same fault later in the day."""
    hour, minute = map(int, fault["at"].split(":"))
    minutes = hour * 60 + minute + later_s // 60
    return {**fault, "at": f"{minutes // 60:02d}:{minutes % 60:02d}"}


def halts_of(settings: SimulatorSettings) -> JsonObject:
    """The market's halts by line, and its stops, for the judge."""
    market = market_of(settings)
    halts = {
        line_id(instrument.symbol, venue, "KRX"): [
            (halt.start_ns, halt.end_ns, halt.reason) for halt in market.view(venue).halts(instrument.symbol)
        ]
        for venue in settings.venues
        for instrument in market.view(venue).instruments
        if instrument.trades
    }
    return {
        "halts": {line: found for line, found in halts.items() if found},
        "stops": [(stop.start_ns, stop.end_ns) for stop in market.stops],
    }


def judged(day: StagedDay, folder: Path) -> dict[str, Any]:
    """The reports of both judges on a finished day."""
    reported = fault_day.judged(day, folder)
    settings = msgspec.convert(day.settings["simulator"], SimulatorSettings)
    reported["streamed_of_surges"] = streamed_of_surges(day.database, settings)
    halts = halts_of(settings)
    (folder / "halts.json").write_text(json.dumps(halts))
    ledger = json.loads((folder / "ledger.json").read_text())
    return {"ledger": reported, "venues": venue_judge.finding(ledger, day.database, folder / "offered.csv", halts)}


def streamed_of_surges(database: Path, settings: SimulatorSettings) -> float:
    """The streamed share of the surges' volume at the KRX, in usual days of each symbol of the universe: of the first
    hour of each, in which a surge decays to a twentieth.
    """
    market, streamed, offered = market_of(settings), 0.0, 0.0
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        kept = read_kept(connection)
        members = {symbol for (symbol,) in connection.execute("SELECT DISTINCT symbol FROM universe_members")}
    for symbol in (each.symbol for each in market.instruments if each.trades and each.symbol in members):
        plan = market.plan(symbol)
        if plan.surge is None:
            continue
        from_ns = market.open_ns + round(plan.surge.start_s * 1e9)
        until_ns = from_ns + 3_600 * 10**9
        surge = united(
            (each.cumulative_volume - each.volume, each.cumulative_volume)
            for each in market.offered(symbol)
            if each.venue == "KRX" and from_ns <= each.exchange_time_ns < until_ns
        )
        stored = united([*kept[symbol].streamed, *kept[symbol].conflated]) if symbol in kept else []
        offered += volume(surge) / plan.usual_volume
        streamed += volume(common(surge, stored)) / plan.usual_volume
    return streamed / offered if offered else 1.0


def run(
    *,
    speed: float,
    seed: int,
    exam_day: bool,
    trades_times: float,
    calm: bool = False,
    symbols: int = SYMBOLS,
    accounts: int = ACCOUNTS,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Run one whole day; return its report. With `folder`, all files stay in `folder`/d."""
    with staged_day(
        speed=speed,
        symbols=symbols,
        accounts=accounts,
        seed=seed,
        session=EXAM_DAY if exam_day else DAY,
        begins=BEGINS,
        changes=changes(exam_day=exam_day, trades_times=trades_times, calm=calm),
        folder=folder,
        nxt=True,
    ) as day:
        day.begin()
        day.until_second(ENDS_S)
        alive = day.alive()
        day.until_gaps_are_closed()
        day.until_judged()
        _judge_again(day)
        reported = judged(day, day.folder)
        reported["every_process_lived"] = alive
        reported["never_struck"] = [] if calm else fault_day.never_struck(reported["ledger"])
        reported["exit_status"] = stopped(day)
        reported["left_behind"] = day.system.left_behind()
        verified = observer("decisions", "verify", "--config", day.configuration, "--json", cwd=day.folder)
        reported["decisions"] = json.loads(verified.stdout or "{}") or verified.stderr
        reported["decisions_are_same"] = verified.returncode == 0
        return reported


def _judge_again(day: StagedDay) -> None:
    """Order the quality reports of what is stored now, and wait until they are stored, all at once."""
    ordered_ns = day.clock.now_ns()
    day.judge_now()
    newer = f"SELECT symbol FROM quality WHERE judged_ns >= {ordered_ns} LIMIT 1"
    day.system.until(lambda: day.system.ask(newer) != [], "the day is judged again", 60)


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether the day's report passes."""
    return bool(
        reported["ledger"]["balances"]
        and reported["venues"]["nothing_wrong"]
        and reported["every_process_lived"]
        and reported["decisions_are_same"]
        and reported["exit_status"] == 0
        and not reported["never_struck"]
        and not reported["left_behind"]
    )


def table(reported: Mapping[str, Any]) -> str:
    """The trades by venue and session, and the reports by venue, in lines."""
    rows = [("venue session", *venue_judge.FATES)]
    rows += [(key, *map("{:,}".format, row.values())) for key, row in reported["venues"]["trades"].items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    quality = [f"quality {venue}: {counts}" for venue, counts in reported["venues"]["quality"].items()]
    halts = f"halts in slots: {reported['venues']['halts_in_slots']}"
    return "\n".join([*lines, *quality, halts, f"stops: {reported['venues']['stops']}"])


def main() -> int:
    """Run a whole day and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speed", type=float, default=200, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=SYMBOLS)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--seed", type=int, help=f"default: {SEED}, of the exam day {EXAM_SEED}")
    parser.add_argument("--trades-times", type=float, default=1.0, help="how often symbols trade; 1: an ordinary day")
    parser.add_argument("--exam-day", action="store_true", help="the day of the university entrance exam")
    parser.add_argument("--calm", action="store_true", help="nothing fails and nothing is stopped")
    parser.add_argument("--folder", type=Path, help="keep everything in its folder d; without it nothing is kept")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = EXAM_SEED if arguments.exam_day else SEED
    reported = run(**vars(arguments))
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    sys.stderr.write(table(reported) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
