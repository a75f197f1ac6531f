"""Every attack that a stranger, a client, a local user or a broker can make with a few bytes, against one checkout:

    .venv/bin/python -m tests.chaos.attacks [--checkout DIR] [--only WORDS] [--json]

The checkout may be an old commit with a virtual environment of its own: so "before and after" is one table. Each attack
is small and bounded. What it did is judged from outside: rows of the database, memory in /proc, files, exit statuses.
Prints a line for each: held or fell, attack, what happened. An attack that this version cannot be given is "n/a", with
the reason. Exit status 0: all held; 1: something fell.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil

from tests.chaos.attacked_system import STORES_S_MAX, AttackedSystem, Checkout, MemoryPeak, attacked, own_checkout
from tests.chaos.attacks_on_commands import COMMAND_ATTACKS
from tests.chaos.attacks_on_sockets import SOCKET_ATTACKS
from tests.chaos.hostile_broker import BROKER_ATTACKS
from tests.chaos.inapplicable import InapplicableError

PEAK_MB_MAX = 300  # of any process: an idle one has some 60
Result = Literal["held", "FELL", "n/a"]


class Outcome(NamedTuple):
    """What an attack came to."""

    attack: str
    result: Result
    happened: str


def on_system(under_attack: AttackedSystem, name: str, attack: Callable[[AttackedSystem], str]) -> Outcome:
    """Attack a running system: the attack returns what it reached, "" for nothing; then storage must go on."""
    writer = under_attack.writer()
    with MemoryPeak(under_attack.processes) as peak:
        try:
            reached = attack(under_attack)
        except InapplicableError as error:
            return Outcome(name, "n/a", str(error))
        except OSError as error:  # the system ended under the attack
            reached = f"the attack ended early: {error.strerror}"
        except AssertionError as error:  # it never came so far
            return Outcome(name, "n/a", str(error))
        stored_s = under_attack.stores_within(STORES_S_MAX)
    ends = "" if under_attack.system.process.poll() is None else "the system ended; "
    storage = "storage STOPPED" if stored_s is None else f"stored after {stored_s:.1f} s"
    died = "" if psutil.pid_exists(writer) else "the writer died; "
    happened = f"{reached}{'; ' * bool(reached)}{ends}{died}{storage}; memory peak {peak.mb} MB"
    fell = reached or ends or died or stored_s is None or peak.mb > PEAK_MB_MAX
    return Outcome(name, "FELL" if fell else "held", happened)


def on_command(checkout: Checkout, name: str, attack: Callable[[Checkout, Path], str], folder: Path) -> Outcome:
    """An attack on a command: it returns what it reached, "" for nothing."""
    folder.mkdir()
    try:
        reached = attack(checkout, folder)
    except InapplicableError as error:
        return Outcome(name, "n/a", str(error))
    return Outcome(name, "FELL" if reached else "held", reached or "refused")


def with_broker(checkout: Checkout, name: str, begin: Callable[[], Any], folder: Path) -> Outcome:
    """A system whose broker is hostile from its start."""
    with begin() as broker, attacked(checkout, folder, broker.changes) as under_attack:
        return on_system(under_attack, name, broker.reached)


def attack_all(checkout: Checkout, folder: Path, only: str = "") -> Iterator[Outcome]:
    """The outcome of each attack. A system that does not store any more is replaced for the next one."""
    numbers = itertools.count()

    def wanted(attacks: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        return ((name, attack) for name, attack in attacks.items() if any(words in name for words in only.split("|")))

    left = list(wanted(SOCKET_ATTACKS))
    while left:
        with attacked(checkout, folder / str(next(numbers))) as under_attack:
            while left:
                name, attack = left.pop(0)
                outcome = on_system(under_attack, name, attack)
                yield outcome
                if outcome.result == "FELL":
                    break
    for name, begin in wanted(BROKER_ATTACKS):
        yield guarded(partial(with_broker, checkout, name, begin, folder / str(next(numbers))), name)
    for name, attack in wanted(COMMAND_ATTACKS):
        yield guarded(partial(on_command, checkout, name, attack, folder / str(next(numbers))), name)


def guarded(attack: Callable[[], Outcome], name: str) -> Outcome:
    """The outcome; a system that cannot even be started under the attack fell."""
    try:
        return attack()
    except AssertionError as error:
        traceback.print_exc()
        return Outcome(name, "FELL", " ".join(str(error).split())[:200] or "the system did not start")


def main() -> int:
    """Attack one checkout and print a line for each attack."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkout", type=Path, help="its folder; without it this one")
    parser.add_argument("--only", default="", help="attacks with these words in their name, or with those behind a |")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    checkout = Checkout(asked.checkout) if asked.checkout else own_checkout()
    os.umask(0o022)  # as most shells have it
    fell = False
    with tempfile.TemporaryDirectory(prefix="obs") as folder:
        Path(folder).chmod(0o755)
        for outcome in attack_all(checkout, Path(folder), asked.only):
            fell |= outcome.result == "FELL"
            line = json.dumps(outcome._asdict()) if asked.json else "{1:<4}  {0:<58}  {2}".format(*outcome)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())
