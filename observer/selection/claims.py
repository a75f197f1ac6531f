"""Who deserves a place and is looked at by sweeps only. Pure.

Of a symbol without a place nothing is seen between two sweeps, whose interval is longer than a trigger lives
(requirement 004: sweeps every ten minutes, lives of three to five). So what a sweep saw holds until the next one tells
otherwise: the symbol keeps its claim to a place that becomes free meanwhile, and a condition that lasts is told once.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from observer.selection.settings import TriggersSettings
from observer.selection.triggers import Candidate, expiry

SLACK: Final = 0.5  # of the interval: so much later than due a sweep may come
_NS_PER_S: Final = 1_000_000_000


class Claims:
    """The claims of the last sweep. Explicit state, no clock.

    Args:
        triggers: how long each kind lives.
        sweep_interval_s: how far sweeps are apart.
    """

    __slots__ = ("_candidates", "_life_ns", "_triggers", "_until_ns")

    def __init__(self, triggers: TriggersSettings, sweep_interval_s: float) -> None:
        self._triggers = triggers
        self._life_ns = round(sweep_interval_s * (1 + SLACK) * _NS_PER_S)
        self._candidates: Sequence[Candidate] = ()
        self._until_ns = 0

    def take(self, swept: Sequence[Candidate], now_ns: int) -> None:
        """The last sweep saw these without a place, and no others."""
        self._candidates = swept
        self._until_ns = now_ns + self._life_ns

    def drop(self, seated: Collection[str]) -> None:
        """These have places: from now on the stream tells what holds of them."""
        self._candidates = [each for each in self._candidates if each.symbol not in seated]

    def standing(self, now_ns: int) -> Sequence[Candidate]:
        """Those that hold, each with its full life; none once the next sweep is overdue."""
        if now_ns >= self._until_ns:
            return ()
        return [msgspec.structs.replace(each, expires_ns=self._expiry(each, now_ns)) for each in self._candidates]

    def _expiry(self, candidate: Candidate, now_ns: int) -> int | None:
        return expiry(now_ns, self._triggers.of(candidate.kind).ttl_seconds)
