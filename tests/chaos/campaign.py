"""Kills real processes at random while they work: `python -m tests.chaos.campaign --kills 200`.

Producers offer a known load to a writer; SIGKILL and SIGSTOP fall on all of them, also while they start, also on one
that is stopped. The campaign restarts dead processes. At the end all processes finish, and an independent program
(tests/chaos/judge.py) compares the appended events with the stored ones.

Prints one JSON object. Exit status 0: nothing lost, doubled, changed or out of order; 1: something is, or a process
ended by itself. The seed repeats a failed run as far as the machine's scheduling allows.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.chaos.actors import Scene, produce, set_up, write
from tests.chaos.push_pull import pull, push
from tests.chaos.stage import Actor, StageError, judge
from tests.store.migrated import make_database

CALM_S = (0.02, 0.12)  # between two blows; a process needs some 50 ms to be at work
PAUSE_S = (0.005, 0.06)
LONG_PAUSE_S = 0.8  # longer than a producer waits for the writer before it repeats its hello
TRANSPORTS: Mapping[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "bus": (produce, write),
    "push-pull": (push, pull),
}


class Campaign:
    """The actors, and the random faults that hit them."""

    def __init__(self, scene: Scene, transport: str, producers: int, seed: int) -> None:
        self._rng = random.Random(seed)
        producer_part, writer_part = TRANSPORTS[transport]
        names = [f"producer-{number}" for number in range(1, producers + 1)]
        self._writer = Actor("writer", writer_part, scene)
        self._producers = [Actor(name, producer_part, scene, name) for name in names]
        self.blows: Counter[str] = Counter()

    def strike(self) -> None:
        """One fault after a pause; the random pauses here and below are part of the campaign."""
        time.sleep(self._rng.uniform(*CALM_S))
        actors = [self._writer, *self._producers]
        for actor in actors:
            actor.require_alive()
        victim = self._rng.choice([*actors, self._writer])  # as often the writer as two producers
        if self._rng.random() < 0.65:
            self._kill(victim)
        else:
            self._pause(victim)

    def _kill(self, victim: Actor) -> None:
        self.blows["killed"] += 1
        victim.kill()
        if self._rng.random() < 0.3:
            time.sleep(self._rng.uniform(*PAUSE_S))
        victim.start()

    def _pause(self, victim: Actor) -> None:
        self.blows["stopped"] += 1
        victim.send(signal.SIGSTOP)
        time.sleep(LONG_PAUSE_S if self._rng.random() < 0.05 else self._rng.uniform(*PAUSE_S))
        if self._rng.random() < 0.3:
            self.blows["killed while stopped"] += 1
            victim.kill()
            victim.start()
        else:
            victim.send(signal.SIGCONT)

    def finish(self) -> None:
        """Stop the producers first, because they wait for commits; then the writer."""
        for actor in (*self._producers, self._writer):
            actor.finish()

    def clear_away(self) -> None:
        for actor in (*self._producers, self._writer):
            actor.kill()

    @property
    def lives(self) -> int:
        return self._writer.lives + sum(actor.lives for actor in self._producers)


def play(campaign: Campaign, kills: int) -> None:
    """Run all faults, then stop the actors in order."""
    try:
        for number in range(kills):
            campaign.strike()
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{number + 1} of {kills} ")
        campaign.finish()
    finally:
        campaign.clear_away()


def run(scene: Scene, transport: str, producers: int, kills: int, seed: int) -> dict[str, object]:
    """Run the campaign; return its figures and the judge's report."""
    began_s = time.monotonic()
    campaign = Campaign(scene, transport, producers, seed)
    play(campaign, kills)
    return {
        "blows": kills,
        **campaign.blows,
        "processes": campaign.lives,
        "seconds": round(time.monotonic() - began_s, 1),
        "offered_a_second": scene.events_a_second * producers,
        **judge(scene),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="how many blows, SIGKILL and SIGSTOP together")
    parser.add_argument("--producers", type=int, default=3)
    parser.add_argument("--rate", type=int, default=2000, help="events a second offered by each producer")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--db", help="an empty database; SQLite in a folder of its own if not given")
    parser.add_argument("--transport", choices=TRANSPORTS, default="bus")
    parser.add_argument("--keep", action="store_true", help="leave the folder with outboxes, ledgers and database")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    try:
        url = arguments.db or f"sqlite:///{folder}/observer.db"
        make_database(url)
        scene = set_up(folder, url, arguments.rate)
        reported = run(scene, arguments.transport, arguments.producers, arguments.kills, seed)
    except StageError as error:
        reported = {"whole": False, "error": str(error)}
    if arguments.keep:
        reported["folder"] = str(folder)
    else:
        shutil.rmtree(folder)
    sys.stdout.write(json.dumps({"seed": seed, **reported}, indent=2) + "\n")
    return 0 if reported["whole"] else 1


if __name__ == "__main__":
    sys.exit(main())
