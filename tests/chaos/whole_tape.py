"""A day whose every trade the tape holds: `python -m tests.chaos.whole_tape --symbols 60 --trades 100000 --speed 240`.

The real system collects a day of real shape from the simulator, with `[tape]` on, while processes are killed at random
(--kills; the broker is no part of the system and lives). When the tape is done, or the day ends, an independent judge
(tests/chaos/tape_judge.py) compares the database with what the market offered, and a separate process recomputes the
day's decisions. With --official-s the official minute bars are fetched afterwards, for so many seconds of the machine,
and compared as the system does it; of a large day that is a part of the lines.

Prints one JSON object, and the day's table on stderr. Exit status 0: the judge finds nothing wrong, no call met the
broker's limit, the decisions are the same, every process lived to the end.
"""

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import psutil

from observer.demo.configuration import DAY
from observer.simulator.kis.simulator import market_of
from observer.simulator.market.market import Market
from observer.simulator.settings import SimulatorSettings
from tests.chaos import tape_judge
from tests.chaos.tape_judge import NS_PER_S, Offered
from tests.whole.running import PROCESSES, JsonObject, observer
from tests.whole.staged import QUICK_SILENCE, StagedDay, staged_day, stopped

TIME_AND_SALES = "FHPST01060000"
KILLS_BEGIN_S, KILLS_END_S = 9 * 3600 + 300, 17 * 3600
ENDS_S = 23 * 3600 + 59 * 60
SESSION = DAY.isoformat()
WHOLE_MARKET = {f"exclude_{kind}": False for kind in ("etf", "etn", "spac", "suspended")}
LINES = "SELECT COUNT(*) FROM tape_reports WHERE held_volume > 0"
COMPARED = "SELECT COUNT(DISTINCT symbol) FROM bar_checks"


def changes(*, trades: int, share: float) -> Mapping[str, JsonObject]:
    """The configuration of the day."""
    simulator = {**QUICK_SILENCE["simulator"], "drops": [], "listing_appears_at": "", "real_day_trades": trades}
    return {**QUICK_SILENCE, "simulator": simulator, "tape": {"share_of_limit": share}}


def offered_by(market: Market) -> Iterator[tuple[str, Offered]]:
    """What the market offered, symbol by symbol."""
    end_ns = market.midnight_ns + 86_400 * NS_PER_S
    for instrument in market.instruments:
        tape = market.tape(instrument.symbol)
        if not len(tape):
            continue
        bars = market.minute_bars(instrument.symbol, end_ns, 24 * 60 - 1, 24 * 60)
        minutes = {
            market.midnight_ns + _second(bar.start_hhmmss) * NS_PER_S: (
                bar.open,
                bar.high,
                bar.low,
                bar.close,
                bar.volume,
            )
            for bar in bars
        }
        columns = (list(column) for column in (tape.time_ns, tape.price, tape.volume, tape.volume_after))
        yield instrument.symbol, Offered(*columns, minutes)


def _second(hhmmss: str) -> int:
    return int(hhmmss[:2]) * 3600 + int(hhmmss[2:4]) * 60 + int(hhmmss[4:])


def is_done(day: StagedDay) -> bool:
    """Whether the tape has said that nothing is left to ask."""
    newest = "SELECT is_done FROM tape_progress ORDER BY progressed_ns DESC, sequence DESC LIMIT 1"
    return [bool(done) for (done,) in day.system.rows(newest)] == [True]


class Usage:
    """Processor seconds and the most memory of each process of a day, over all its lives."""

    def __init__(self, day: StagedDay) -> None:
        self._day = day
        self._cpu_s: dict[tuple[str, int], float] = {}
        self._rss_mb: dict[str, float] = {}

    def take(self) -> None:
        """Sample the processes that run."""
        for name, pid in self._day.system.pids().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                times, rss_mb = process.cpu_times(), process.memory_info().rss / 1e6
                self._cpu_s[name, pid] = times.user + times.system
                self._rss_mb[name] = max(rss_mb, self._rss_mb.get(name, 0.0))

    def reported(self) -> dict[str, JsonObject]:
        """The processes with the most processor time first."""
        self.take()
        cpu_s = dict.fromkeys(self._rss_mb, 0.0)
        for (name, _), seconds in self._cpu_s.items():
            cpu_s[name] += seconds
        busiest = sorted(cpu_s, key=lambda name: -cpu_s[name])
        return {name: {"cpu_s": round(cpu_s[name], 1), "rss_mb": round(self._rss_mb[name])} for name in busiest}


def killed(day: StagedDay, kills: int, seed: int, usage: Usage) -> Counter[str]:
    """Kill processes of the system at random moments until the evening, each before any a second time, but the tape
    twice; return how often each.
    """
    rng, victims = Random(seed), Counter[str]()
    moments = sorted(rng.uniform(KILLS_BEGIN_S, KILLS_END_S) for _ in range(kills))
    everybody = ("tape", "tape", *PROCESSES)
    order = [each for _ in range(0, kills, len(everybody)) for each in rng.sample(everybody, len(everybody))]
    for moment, victim in zip(moments, order, strict=False):
        day.until_second(moment)
        if is_done(day):
            break
        day.system.until(lambda: day.everybody <= day.system.pids().keys(), "everything runs before a kill", 120)
        usage.take()
        day.kill(victim)
        victims[victim] += 1
    return victims


def run(
    *,
    speed: float,
    symbols: int,
    trades: int,
    share: float,
    kills: int,
    seed: int,
    accounts: int = 1,
    official_s: float = 0.0,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Run one day; return its report. With `folder`, all files stay in `folder`/d."""
    with staged_day(
        speed=speed,
        symbols=symbols,
        accounts=accounts,
        seed=seed,
        changes=changes(trades=trades, share=share),
        folder=folder,
    ) as day:
        _choose_whole_market(day.folder / "symbol_selection.json")
        usage = Usage(day)
        day.begin()
        began = time.monotonic()
        victims = killed(day, kills, seed, usage)
        done_at_s = _until_done(day)
        lasted_s, used, bytes_used = time.monotonic() - began, usage.reported(), _bytes_of(day)
        if official_s:
            _until_compared(day, official_s)
        used_at_end, bytes_at_end = usage.reported(), _bytes_of(day)
        alive, counters = day.alive(), day.counters()
        exit_status = stopped(day)
        left_behind = day.system.left_behind()
        verified = observer("decisions", "verify", "--config", day.configuration, "--json", cwd=day.folder)
        market = market_of(msgspec.convert(day.settings["simulator"], SimulatorSettings))
        began = time.monotonic()
        reported = tape_judge.finding(day.database, SESSION, offered_by(market))
        reported["judged_in_s"] = round(time.monotonic() - began, 1)
    return {
        **reported,
        "done_at": None if done_at_s is None else f"{int(done_at_s) // 3600:02d}:{int(done_at_s) // 60 % 60:02d}",
        "killed": dict(victims),
        "lasted_s": round(lasted_s, 1),
        "processes": used,
        "database_bytes": bytes_used,
        "processes_with_official_bars": used_at_end,
        "database_bytes_with_official_bars": bytes_at_end,
        "every_process_lived": alive,
        "exit_status": exit_status,
        "left_behind": left_behind,
        "rate_errors": counters["rate_errors"],
        "busiest_seconds": counters["busiest_seconds"],
        "calls_at_broker": counters["requests"],
        "decisions_are_same": verified.returncode == 0,
        "decisions": verified.stdout[-2000:] or verified.stderr[-2000:],
    }


def _choose_whole_market(selection: Path) -> None:
    """Have everything that trades in the universe: the tape covers the universe's lines."""
    document = json.loads(selection.read_text())
    document["universe"] |= {**WHOLE_MARKET, "min_close_price": 0}
    selection.write_text(json.dumps(document))


def _until_done(day: StagedDay) -> float | None:
    """Wait until the tape is done; the second of the day, or None if the day ended before."""
    left_s = max(0.0, ENDS_S - day.second()) / day.clock.speed
    day.system.until(lambda: is_done(day) or day.second() >= ENDS_S, "the end of the tape's day", left_s + 60)
    return day.second() if is_done(day) else None


def _until_compared(day: StagedDay, machine_s: float) -> None:
    """Wait until every line's official minute bars are compared, so many seconds of the machine, or the day's end."""
    ends, lines = time.monotonic() + machine_s, day.system.rows(LINES)

    def is_over() -> bool:
        return day.system.rows(COMPARED) == lines or time.monotonic() >= ends or day.second() >= ENDS_S

    day.system.until(is_over, "the comparison with official bars", machine_s + 60)


def _bytes_of(day: StagedDay) -> int:
    """The database with its write-ahead log."""
    return sum(path.stat().st_size for path in day.database.parent.glob(f"{day.database.name}*"))


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether the day's report passes."""
    return bool(
        reported["sound"]
        and reported["done_at"]
        and reported["every_process_lived"]
        and reported["exit_status"] == 0
        and not reported["left_behind"]
        and reported["rate_errors"] == 0
        and reported["decisions_are_same"]
    )


def main() -> int:
    """Run a whole day and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=60)
    parser.add_argument("--trades", type=int, default=100_000, help="of the day, about")
    parser.add_argument("--speed", type=float, default=240, help="market seconds a second")
    parser.add_argument("--share", type=float, default=1.0, help="of the broker's limit that the tape may use")
    parser.add_argument("--kills", type=int, default=0, help="how many processes are killed at random moments")
    parser.add_argument("--accounts", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--official-s", type=float, default=0.0, help="fetch official bars for so many seconds")
    parser.add_argument("--folder", type=Path, help="keep everything in its folder d; without it nothing is kept")
    reported = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    sys.stderr.write(tape_judge.table(reported) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
