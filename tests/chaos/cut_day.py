"""A day of random cuts and kills: `python -m tests.chaos.cut_day --cuts 500`.

All connections of both accounts are cut at random moments between 09:30 and 15:00 and refused for 0.5 to 90 market
seconds; meanwhile every process but the simulator is killed twice, in random order. Then an independent judge
(tests/chaos/ledger_judge.py) says whether every trade that a slot should have seen is stored or in a recorded gap.

More cuts an hour than a broker would like: the hourly limit of connections (docs/requirement.md: 60) is lifted for this
day, or the streams would be suspended for most of it.

Prints one JSON object. Exit status 0: the volumes reconcile to the share, and 95 % of the gaps under 60 s were filled.
"""

import argparse
import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from observer.calendar.session_file import SHIPPED
from tests.chaos.fault_day import judged
from tests.whole.running import PROCESSES, JsonObject
from tests.whole.staged import QUICK_SILENCE, StagedDay, staged_day, stopped

SHORTEST_S, LONGEST_S = 0.5, 90.0
STARTS_S = 9 * 3600 + 31 * 60
STOPS_S = 15 * 3600
MARGIN_S = 120  # from the last cut to the stop of Track B
FILLED_SHARE = 0.95
ATTEMPTS_PER_HOUR = 100_000


def cut_script(cuts: int, stops_s: int, rng: Random) -> Sequence[JsonObject]:
    """Cuts at random moments, one in each part of the day. Their lengths are spread evenly over the orders of
    magnitude: with lengths spread evenly over the range, 500 cuts would be longer than the day.
    """
    part_s = (stops_s - MARGIN_S - STARTS_S) / cuts
    return [
        {
            "kind": "stream_cut",
            "at": _time_of_day(STARTS_S + part_s * (number + rng.random())),
            "for_s": round(SHORTEST_S * math.exp(rng.random() * math.log(LONGEST_S / SHORTEST_S)), 3),
        }
        for number in range(cuts)
    ]


def _time_of_day(second: float) -> str:
    whole = int(second)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


@contextlib.contextmanager
def session_rules_until(stops_s: int) -> Iterator[Path]:
    """A file of session rules with a profile whose slots stream from 09:30 until this second of the local day."""
    profile = f"""
[[profile]]
name = "cut-day"
track_a = {{ sessions = ["KRX.regular", "KRX.closing_auction"] }}
track_b = {{ sessions = ["KRX.regular"], starts_after_s = 1800, stops_before_s = {15 * 3600 + 20 * 60 - stops_s} }}
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.toml"
        path.write_text(SHIPPED.read_text() + profile)
        yield path


def kill_all(day: StagedDay, times: int, stops_s: int, rng: Random) -> Sequence[str]:
    """Kill each process `times` times, in random order at random moments during the cuts; return the victims."""
    victims = [*PROCESSES] * times
    rng.shuffle(victims)
    moments = sorted(rng.uniform(STARTS_S, stops_s - MARGIN_S) for _ in victims)
    for victim, moment in zip(victims, moments, strict=True):
        day.until_second(moment)
        day.kill(victim)
    return victims


def run(
    *, cuts: int, speed: float, symbols: int, kills: int, seed: int, stops_s: int = STOPS_S, folder: Path | None = None
) -> dict[str, Any]:
    """Run one day of cuts and kills; return its report. With `folder`, all files stay in `folder`/d."""
    rng = Random(f"cuts/{seed}")
    changes: Mapping[str, JsonObject] = {
        "kis": {
            **QUICK_SILENCE["kis"],
            "stream": {**QUICK_SILENCE["kis"]["stream"], "attempts_per_hour": ATTEMPTS_PER_HOUR},
        },
        "simulator": {
            **QUICK_SILENCE["simulator"],
            "drops": [],
            "faults": list(cut_script(cuts, stops_s, rng)),
            "session_timeout_s": 0.0,  # a key that stays held makes every gap longer than the cut
        },
        "track_b": {"sessions": ["cut-day"]},
    }
    with (
        session_rules_until(stops_s) as rules,
        staged_day(
            speed=speed,
            symbols=symbols,
            accounts=2,
            seed=seed,
            begins=(8, 55),
            changes={**changes, "run": {"sessions": str(rules)}},
            folder=folder,
        ) as day,
    ):
        day.begin()
        killed = kill_all(day, kills, stops_s, rng)
        day.until_second(stops_s + 120)
        alive = day.alive()
        day.until_gaps_are_closed()
        day.judge_now()
        day.until_judged()
        counters = day.counters()
        reported = judged(day, day.folder)
        reported["connections_cut"] = counters["connections_cut"]
        reported["killed"] = killed
        reported["every_process_lived"] = alive
        reported["exit_status"] = stopped(day)
        reported["left_behind"] = day.system.left_behind()
        return reported


def filled_share(reported: Mapping[str, Any]) -> float:
    """The share of gaps under 60 s that were filled completely."""
    return float(reported["totals"]["short_complete"] / max(1, reported["totals"]["short"]))


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether the day's report passes."""
    fine = (
        reported["balances"]
        and reported["every_process_lived"]
        and reported["exit_status"] == 0
        and not reported["left_behind"]
    )
    return bool(fine) and filled_share(reported) >= FILLED_SHARE


def main() -> int:
    """Run a day of cuts and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--kills", type=int, default=2, help="of each process")
    parser.add_argument("--speed", type=float, default=60, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep everything in its folder d; without it nothing is kept")
    arguments = parser.parse_args()
    reported = run(**vars(arguments))
    sys.stdout.write(json.dumps({**reported, "filled_share": filled_share(reported)}, indent=2) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
