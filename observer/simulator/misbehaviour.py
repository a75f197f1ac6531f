"""Which call and which frame a fault strikes. Pure; chance and the market time are passed in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from observer.simulator.faults import FAULT_KINDS, Fault, FaultKind
from observer.simulator.instruments import ChanceSource
from observer.simulator.tally import Tally

if TYPE_CHECKING:
    from random import Random


class Misbehaviour:
    """The faults of the day, and one source of chance for each kind, so that one never moves another.

    `_faults` only grows: by the script at first, then by whatever is asked for.
    """

    def __init__(self, script: Iterable[Fault], chance: ChanceSource, tally: Tally) -> None:
        self._faults: dict[FaultKind, list[Fault]] = {kind: [] for kind in FAULT_KINDS}
        self._chance: dict[FaultKind, Random] = {kind: chance(f"fault/{kind}") for kind in FAULT_KINDS}
        self._tally = tally
        for fault in script:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Take one more fault into account."""
        self._faults[fault.kind].append(fault)

    def running(self, kind: FaultKind, now_ns: int) -> Fault | None:
        """The fault of this kind that runs now; of several the one that was added last."""
        return next((fault for fault in reversed(self._faults[kind]) if fault.runs_at(now_ns)), None)

    def strikes(self, kind: FaultKind, now_ns: int) -> Fault | None:
        """The fault that strikes this one call or frame; counted. None when none runs, or chance spares it."""
        fault = self.running(kind, now_ns)
        if fault is None or self._chance[kind].random() >= fault.share:
            return None
        self._tally.faults[kind] += 1
        return fault

    def chance(self, kind: FaultKind) -> Random:
        """The source of chance for how a fault of this kind looks."""
        return self._chance[kind]
