"""Faults at random moments while real processes work: `python -m tests.chaos.campaign --faults 1000`.

Producers offer a known load to a writer. SIGKILL and SIGSTOP fall on all of them, also while they start, also on one
that is stopped; bits flip in segments of their outboxes and archives, segments vanish, archives are compressed, and the
database is put back to an earlier copy. The campaign restarts dead processes. At the end all processes finish, and an
independent program (tests/chaos/judge.py) compares the appended events with the stored ones and the stated losses.

Prints one JSON object. Exit status 0: every event is stored once, in order and unchanged, or stated as lost and in no
file any more; 1: one is not, or a process ended by itself. The seed repeats a failed run as far as the machine's
scheduling allows.
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
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.chaos.actors import Scene, produce, set_up, write
from tests.chaos.copies import copies_of
from tests.chaos.damage import Damage
from tests.chaos.stage import Actor, StageError, judge
from tests.store.migrated import make_database

CALM_S = (0.02, 0.12)  # between two faults; a process needs some 50 ms to be at work
PAUSE_S = (0.005, 0.06)
LONG_PAUSE_S = 0.8  # longer than a producer waits for the writer before it repeats its hello


DAMAGE = frozenset({"bit flip", "segment removed"})
# How often each kind of fault comes.
KINDS: Mapping[str, int] = {
    "kill": 30, "stop": 14, "bit flip": 20, "segment removed": 10, "database put back": 14, "compression": 12,
}  # fmt: skip


class Campaign:
    """The actors, and the random faults that hit them."""

    def __init__(self, scene: Scene, producers: int, seed: int, *, without: Iterable[str] = ()) -> None:
        self._rng = random.Random(seed)
        self._kinds = {kind: weight for kind, weight in KINDS.items() if kind not in without}
        self._copies = copies_of(scene.url, scene.folder, self._rng)
        self._damage = Damage(scene.folder / "outbox", self._rng)
        names = [f"producer-{number}" for number in range(1, producers + 1)]
        self._writer = Actor("writer", write, scene)
        self._producers = [Actor(name, produce, scene, name) for name in names]
        self.faults: Counter[str] = Counter()
        # Under a database that goes back a writer stores a stream that is new to it before it hears of older ones.
        self.may_disorder_streams = False

    @property
    def _actors(self) -> list[Actor]:
        return [*self._producers, self._writer]

    def strike(self) -> None:
        """One fault after a pause, seldom two; the random pauses here and below are part of the campaign."""
        if self._rng.random() < 0.8:
            time.sleep(self._rng.uniform(*CALM_S))
        for actor in self._actors:
            actor.require_alive()
        if "database put back" in self._kinds and self._rng.random() < 0.15:
            self._copies.make()
        [kind] = self._rng.choices(list(self._kinds), list(self._kinds.values()))
        match kind:
            case "kill":
                self._kill(self._victim())
            case "stop":
                self._stop(self._victim())
            case "compression":
                self._compress(self._rng.choice(self._producers))
            case _:
                self._damage_storage(kind)

    def _victim(self) -> Actor:
        return self._rng.choice([*self._actors, self._writer])  # as often the writer as two producers

    def _kill(self, victim: Actor) -> None:
        self.faults["kill"] += 1
        victim.kill()
        self._meanwhile()
        victim.start()

    def _stop(self, victim: Actor) -> None:
        self.faults["stop"] += 1
        victim.send(signal.SIGSTOP)
        time.sleep(LONG_PAUSE_S if self._rng.random() < 0.05 else 0.0)
        self._meanwhile()
        if self._rng.random() < 0.3:
            self.faults["kill"] += 1
            victim.kill()
            victim.start()
        else:
            victim.send(signal.SIGCONT)

    def _meanwhile(self) -> None:
        """What goes on while one is dead or stopped."""
        if self._rng.random() < 0.3:
            time.sleep(self._rng.uniform(*PAUSE_S))
        if "bit flip" in self._kinds and self._rng.random() < 0.25:
            self._damage_storage(self._rng.choice(["bit flip", "segment removed"]))

    def _compress(self, producer: Actor) -> None:
        self.faults["compression"] += 1
        producer.wait_ready()
        producer.send(signal.SIGUSR1)

    def _damage_storage(self, kind: str) -> None:
        match kind:
            case "bit flip":
                has_happened = self._damage.flip_bit()
            case "segment removed":
                has_happened = self._damage.remove()
            case _:
                has_happened = True
                self._put_back()
        self.faults[kind] += has_happened

    def _put_back(self) -> None:
        """Under the running writer, or between two writers."""
        match self._rng.choice(["running", "killed", "finished"]):
            case "running":
                self.may_disorder_streams = True
                self._copies.put_back()
                return
            case "killed":
                self._writer.kill()
            case _:
                self._writer.finish()
        self._copies.put_back()
        self._writer.start()

    def finish(self) -> None:
        """Stop the producers first, because they wait for commits; then the writer.

        A producer whose events were all acknowledged ends without another word from the writer. Should the database
        have gone back behind it, its next life finds that out.
        """
        for actor in self._producers:
            actor.finish()
            actor.start()
        for actor in self._actors:
            actor.finish()

    def clear_away(self) -> None:
        for actor in self._actors:
            actor.kill()
        self._copies.clear_away()

    @property
    def lives(self) -> int:
        return sum(actor.lives for actor in self._actors)


def play(campaign: Campaign, faults: int) -> None:
    """Let the faults happen, then stop the actors in order."""
    try:
        while (number := campaign.faults.total()) < faults:
            campaign.strike()
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{number + 1} of {faults} ")
        campaign.finish()
    finally:
        campaign.clear_away()


def run(campaign: Campaign, scene: Scene, faults: int) -> dict[str, object]:
    """Run the campaign; return its figures and the judge's report."""
    began_s = time.monotonic()
    play(campaign, faults)
    return {
        "faults_by_kind": campaign.faults,
        "processes": campaign.lives,
        "seconds": round(time.monotonic() - began_s, 1),
        **judge(scene, unordered=campaign.may_disorder_streams),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=200, help="how many, of all kinds together")
    parser.add_argument("--producers", type=int, default=3)
    parser.add_argument("--rate", type=int, default=500, help="events a second offered by each producer")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--db", help="an empty database; SQLite in a folder of its own if not given")
    parser.add_argument("--undamaged", action="store_true", help="no damage to files: then nothing may be lost")
    parser.add_argument("--keep", action="store_true", help="leave the folder with outboxes, ledgers, log and database")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    try:
        url = arguments.db or f"sqlite:///{folder}/observer.db"
        make_database(url)
        scene = set_up(folder, url, arguments.rate)
        without = DAMAGE if arguments.undamaged else ()
        campaign = Campaign(scene, arguments.producers, seed, without=without)
        reported = run(campaign, scene, arguments.faults)
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
