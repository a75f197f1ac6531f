"""How soon gaps are detected and filled after cuts: `python -m tests.chaos.gap_times --minutes 8`.

All connections are cut again and again for a few market seconds, by default in real time. Meanwhile this process polls
the database as a stranger would, by SQL alone, and notes when each row becomes visible. Times are machine seconds:

*detection*: from the cut to the visible row of the gap. *recovery*: from the end of the outage, or from the row where
that is later, to the visible outcome. *excess*: the gap's from..to beyond the outage, in market seconds.

Prints one JSON object. Exit status 0: the requirement's targets are met (detection < 1 s, recovery < 5 s in the 95th
percentile, more than 95 % closed to the share).
"""

import argparse
import bisect
import json
import math
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.waiting import DEADLINE_S
from tests.whole.running import JsonObject
from tests.whole.staged import StagedDay, staged_day, stopped

POLL_S: Final = 0.02
SETTLES_S: Final = 30.0  # market seconds after the last cut
DETECTION_S, RECOVERY_S, CLOSED_SHARE = 1.0, 5.0, 0.95
PROOFS: Final = "SELECT gap_id, symbol, from_ns, to_ns, detected_ns FROM gaps WHERE reason = 'reconnect'"
OPENINGS: Final = "SELECT gap_id, symbol, from_ns, NULL, opened_ns FROM gap_openings WHERE reason = 'reconnect'"
EMPTIES: Final = "SELECT gap_id, from_ns, to_ns FROM empty_gaps"
OUTCOMES: Final = (
    "SELECT gap_id, source, complete FROM gap_recoveries UNION ALL SELECT gap_id, 'given up', 0 FROM gap_losses"
)
LINES: Final = "SELECT changed_ns, state, subscriptions FROM connections ORDER BY changed_ns"


class Watched:
    """The rows of the database, each with the market time at which it became visible."""

    def __init__(self, day: StagedDay) -> None:
        self._day = day
        self._database = sqlite3.connect(f"file:{day.database}?mode=ro", uri=True, timeout=DEADLINE_S)
        tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master")}
        self._has_openings = "gap_openings" in tables
        self.gaps: dict[str, tuple[str, int, int]] = {}  # symbol, the time it states, visible
        self.spans: dict[str, tuple[int, int]] = {}
        self.outcomes: dict[str, tuple[str, bool, int]] = {}

    def poll(self) -> None:
        """Note what is new."""
        now_ns = self._day.clock.now_ns()
        for query in (OPENINGS, PROOFS) if self._has_openings else (PROOFS,):
            for gap_id, symbol, from_ns, to_ns, stated_ns in self._database.execute(query):
                self.gaps.setdefault(gap_id, (symbol, stated_ns, now_ns))
                if to_ns is not None:
                    self.spans[gap_id] = (from_ns, to_ns)
        for gap_id, from_ns, to_ns in self._database.execute(EMPTIES) if self._has_openings else ():
            self.spans.setdefault(gap_id, (from_ns, to_ns))
            self.outcomes.setdefault(gap_id, ("empty", True, now_ns))
        for gap_id, source, complete in self._database.execute(OUTCOMES):
            if gap_id not in self.outcomes or self.outcomes[gap_id][0] == "empty":
                self.outcomes[gap_id] = (source, bool(complete), now_ns)

    def outages(self) -> list[tuple[int, int, int]]:
        """From the loss to the next connection, and the number of subscriptions that went."""
        found: list[tuple[int, int, int]] = []
        lost: tuple[int, int] | None = None
        for changed_ns, state, subscriptions in self._database.execute(LINES):
            if state == "lost":
                lost = (changed_ns, subscriptions)
            elif state == "connected" and lost is not None:
                found.append((lost[0], changed_ns, lost[1]))
                lost = None
        return found


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The median, the 95th and the 99th percentile, and the largest; empty without values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    named = {f"p{share}": ordered[math.ceil(share / 100 * len(ordered)) - 1] for share in (50, 95, 99)}
    return {name: round(value, 3) for name, value in {**named, "max": ordered[-1]}.items()}


def report(watched: Watched, cuts_ns: Sequence[int], speed: float) -> dict[str, Any]:
    """All figures."""
    outages = watched.outages()
    starts_ns = [start for start, _, _ in outages]
    detection, recovery, excess = list[float](), list[float](), list[float]()
    closed = 0
    sources: dict[str, int] = {}
    for gap_id, (_symbol, stated_ns, visible_ns) in watched.gaps.items():
        cut = bisect.bisect_right(cuts_ns, stated_ns) - 1
        number = bisect.bisect_right(starts_ns, stated_ns) - 1
        if cut < 0 or number < 0:
            continue
        lost_ns, back_ns, _ = outages[number]
        detection.append((visible_ns - cuts_ns[cut]) / speed / 1e9)
        if gap_id in watched.spans:
            from_ns, to_ns = watched.spans[gap_id]
            excess.append(((to_ns - from_ns) - (back_ns - lost_ns)) / 1e9)
        source, whole, seen_ns = watched.outcomes.get(gap_id, ("open", False, 0))
        sources[source] = sources.get(source, 0) + 1
        closed += whole
        if source != "open":
            recovery.append((seen_ns - max(back_ns, visible_ns)) / speed / 1e9)
    lengths = [(back_ns - lost_ns) / 1e9 for lost_ns, back_ns, _ in outages]
    return {
        "speed": speed,
        "cuts": len(cuts_ns),
        "outage_s": percentiles(lengths),
        "subscriptions_cut": sum(count for _, _, count in outages),
        "gaps": len(detection),
        "detection_s": percentiles(detection),
        "recovery_s": percentiles(recovery),
        "excess_s": percentiles(excess),
        "closed_share": round(closed / max(1, len(detection)), 4),
        "outcomes": sources,
    }


def run(
    *,
    minutes: float,
    speed: float,
    symbols: int,
    accounts: int,
    every_s: float,
    longest_s: float,
    seed: int,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Cut for so many market minutes; return the figures."""
    rng = Random(f"gap-times/{seed}")
    changes: dict[str, JsonObject] = {
        "kis": {"stream": {"attempts_per_hour": 100_000}},
        "simulator": {"drops": [], "faults": [], "session_timeout_s": 0.0},
    }
    with staged_day(
        speed=speed, symbols=symbols, accounts=accounts, seed=seed, begins=(9, 31), changes=changes, folder=folder
    ) as day:
        day.begin()
        streamed = "SELECT symbol FROM trades WHERE gap_id IS NULL LIMIT 1"
        day.system.until(lambda: day.system.ask(streamed) != [], "a trade is streamed", 120)
        watched, cuts_ns = Watched(day), list[int]()
        begins_ns = day.clock.now_ns() + round(every_s * 1e9)
        ends_ns = begins_ns + round((minutes * 60 - SETTLES_S) * 1e9)
        next_ns = begins_ns
        while (now_ns := day.clock.now_ns()) < ends_ns + round(SETTLES_S * 1e9):
            if next_ns <= now_ns < ends_ns:
                cuts_ns.append(now_ns)
                day.fault("stream_cut", for_s=round(rng.uniform(0.5, longest_s), 2))
                next_ns = now_ns + round(every_s * rng.uniform(0.8, 1.2) * 1e9)
            watched.poll()
            time.sleep(POLL_S)
        figures = report(watched, cuts_ns, speed)
        figures["exit_status"] = stopped(day)
        return figures


def is_sound(figures: dict[str, Any]) -> bool:
    """Whether the targets are met."""
    return bool(
        figures["detection_s"].get("p95", math.inf) < DETECTION_S
        and figures["recovery_s"].get("p95", math.inf) < RECOVERY_S
        and figures["closed_share"] > CLOSED_SHARE
    )


def main() -> int:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8, help="market minutes")
    parser.add_argument("--speed", type=float, default=1, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=1)
    parser.add_argument("--every-s", type=float, default=30, help="market seconds between cuts")
    parser.add_argument("--longest-s", type=float, default=12, help="the longest cut, in market seconds")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep everything in its folder d; without it nothing is kept")
    figures = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0 if is_sound(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
