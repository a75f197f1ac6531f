"""What a property reaches, as a judgement: a search that never comes where it could fail shows nothing.

A property counts what its examples reach, and fails when the run reached less than it states: some half of what the
default profile reaches, whose examples are always the same (tests/conftest.py).
"""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


class Reach:
    """Counts by name, over all examples of one run."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self.counts: Counter[str] = Counter(counts)

    def count(self, name: str, times: int = 1) -> None:
        self.counts[name] += times

    def judge(self, floors: Mapping[str, int]) -> None:
        """Fail where less than a floor was reached."""
        missed = {name: self.counts[name] for name, floor in floors.items() if self.counts[name] < floor}
        assert not missed, f"the property reaches too little: {missed} of {dict(floors)}; all: {dict(self.counts)}"


def reaches(**floors: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Judge a property, the result of `given`, that counts in its argument `reach`."""

    def judging(search: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(search)
        def judged(*arguments: Any, **named: Any) -> None:
            reach = Reach()
            search(*arguments, reach=reach, **named)
            reach.judge(floors)

        signature = inspect.signature(search)
        shown = [each for each in signature.parameters.values() if each.name != "reach"]
        vars(judged)["__signature__"] = signature.replace(parameters=shown)
        return judged

    return judging


def run_machine(machine: Callable[[Reach], RuleBasedStateMachine], how: settings, **floors: int) -> None:
    """Run a state machine that counts in the reach it is made with, and judge that."""
    reach = Reach()
    run_state_machine_as_test(lambda: machine(reach), settings=how)
    reach.judge(floors)
