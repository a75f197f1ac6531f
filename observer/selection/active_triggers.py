"""The triggers that hold, and the events that one began to and that it ended. Pure.

A trigger that nothing renews ends after its `ttl_seconds` (300). So an outage of the stream and of the sweeps that
lasts longer ends a surge without evidence that the surge is over; it fires again with the first data that show it.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bus.events import TriggerEnded, TriggerFired, TriggerKind
from observer.selection.triggers import Candidate

TriggerKey = tuple[str, TriggerKind]
"""The symbol and the kind of its trigger."""


def fired_event(candidate: Candidate, fired_ns: int) -> TriggerFired:
    """The event that a candidate's condition began to hold."""
    return TriggerFired(
        symbol=candidate.symbol,
        kind=candidate.kind,
        fired_ns=fired_ns,
        expires_ns=candidate.expires_ns,
        measure=candidate.measure,
        threshold=candidate.threshold,
        reference=candidate.reference,
        strength=candidate.strength,
        score=candidate.score,
        severity=candidate.severity,
        basis=candidate.basis,
    )


class ActiveTrigger(msgspec.Struct, frozen=True, gc=False):
    """When a condition fired, until when it held as far as is known, and when its life ends (UTC ns; None: never)."""

    fired_ns: int
    held_until_ns: int
    expires_ns: int | None


class ActiveTriggers:
    """The conditions that hold already, so that a lasting condition fires only once. Explicit state, no clock.

    A condition is active from its first candidate until its life runs out.
    """

    __slots__ = ("_active",)

    def __init__(self) -> None:
        self._active: dict[TriggerKey, ActiveTrigger] = {}

    def __contains__(self, key: object) -> bool:
        """Whether the kind is active for the symbol."""
        return key in self._active

    def resume(self, active: Mapping[TriggerKey, ActiveTrigger]) -> None:
        """Resume those of an earlier process."""
        self._active = dict(active)

    def ended(self, now_ns: int) -> Sequence[TriggerEnded]:
        """The conditions whose lives are over; they are not active any more."""
        over = [
            key for key, active in self._active.items() if active.expires_ns is not None and active.expires_ns <= now_ns
        ]
        return [self._ended(key, now_ns) for key in over]

    def all_ended(self, now_ns: int) -> Sequence[TriggerEnded]:
        """End every condition."""
        return [self._ended(key, now_ns) for key in list(self._active)]

    def _ended(self, key: TriggerKey, now_ns: int) -> TriggerEnded:
        active = self._active.pop(key)
        return TriggerEnded(*key, active.fired_ns, active.held_until_ns, now_ns)

    def begun(self, candidates: Iterable[Candidate], now_ns: int) -> list[Candidate]:
        """The candidates whose conditions become active; the others' active times are prolonged."""
        beginning = []
        for candidate in candidates:
            key = (candidate.symbol, candidate.kind)
            before = self._active.get(key)
            held_until_ns = now_ns if candidate.evidence_ns is None else candidate.evidence_ns
            if before is None:
                beginning.append(candidate)
                before = ActiveTrigger(now_ns, held_until_ns, None)
            held_until_ns = max(before.held_until_ns, held_until_ns)
            self._active[key] = ActiveTrigger(before.fired_ns, held_until_ns, candidate.expires_ns)
        return beginning
