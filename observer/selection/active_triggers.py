"""The triggers that hold, and the event that one began to. Pure."""

from collections.abc import Iterable

from bus.events import TriggerFired, TriggerKind
from observer.selection.triggers import Candidate


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


class ActiveTriggers:
    """The conditions that hold already, so that a lasting condition fires only once. Explicit state, no clock.

    A condition is active from its first candidate until its life runs out.
    """

    __slots__ = ("_expiries_ns",)

    def __init__(self) -> None:
        self._expiries_ns: dict[tuple[str, TriggerKind], int | None] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._expiries_ns

    def begun(self, candidates: Iterable[Candidate], now_ns: int) -> list[Candidate]:
        """The candidates whose conditions become active; the others' active times are prolonged."""
        self._expiries_ns = {
            key: expires_ns
            for key, expires_ns in self._expiries_ns.items()
            if expires_ns is None or expires_ns > now_ns
        }
        beginning = []
        for candidate in candidates:
            key = (candidate.symbol, candidate.kind)
            if key not in self._expiries_ns:
                beginning.append(candidate)
            self._expiries_ns[key] = candidate.expires_ns
        return beginning
