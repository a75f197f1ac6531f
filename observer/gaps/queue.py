"""Which gap is filled next: the most urgent of those that wait; each gap once, unless a person wants it again. Pure."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from bus.events import GapDetected
from observer.gaps import recovery
from observer.gaps.recovery import RecoverySettings

DEPTH_MAX: Final = 100
"""Requirement 004, Recovery Performance Targets: fewer than this wait."""

CROWDED_ABOVE: Final = 80
"""A queue that was too long is said to be well again only below this: one around the limit is told once."""


class Attempt(msgspec.Struct, frozen=True):
    """A gap that waits: how often it failed, why the last time, and not before when to try.

    `again`: an outcome of it is stored already, and what was recovered then must not be stored a second time.
    """

    gap: GapDetected
    failures: int = 0
    not_before_ns: int = 0
    why: str = ""
    again: bool = False


class RecoveryQueue:
    """The gaps of one process: waiting, under way, or closed."""

    def __init__(self, settings: RecoverySettings) -> None:
        self._settings = settings
        self._waiting: dict[str, Attempt] = {}
        self._under_way: set[str] = set()
        self._closed: set[str] = set()  # their outcome may be on its way into the database
        self._crowded = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take_up(self, gaps: Iterable[GapDetected]) -> None:
        """Let these wait that were not seen before: a gap is told by the feed and by the database."""
        for gap in gaps:
            if not self._knows(gap.gap_id):
                self._waiting[gap.gap_id] = Attempt(gap)

    @property
    def closed(self) -> frozenset[str]:
        """The gaps that were closed here and are not forgotten yet."""
        return frozenset(self._closed)

    def forget(self, gap_ids: Iterable[str]) -> None:
        """These were closed before the database was asked what is open, and it did not name them: their outcomes are
        stored, and nobody will tell of them again.
        """
        self._closed.difference_update(gap_ids)

    def _knows(self, gap_id: str) -> bool:
        return gap_id in self._waiting or gap_id in self._under_way or gap_id in self._closed

    def take_up_again(self, gap: GapDetected, *, is_open: bool) -> bool:
        """Let a gap be tried at once, as if it had never failed; `is_open`: no outcome of it is stored.

        False, and nothing done, while it is under way or its outcome is on its way into the database.
        """
        gap_id = gap.gap_id
        if gap_id in self._under_way or (is_open and gap_id in self._closed):
            return False
        waiting = self._waiting.get(gap_id)
        self._closed.discard(gap_id)
        self._waiting[gap_id] = Attempt(gap, again=not is_open or (waiting is not None and waiting.again))
        return True

    def take(self, now_ns: int) -> Attempt | None:
        """The most urgent gap that may be tried now; it is under way until it is put back or closed."""
        ready = [attempt for attempt in self._waiting.values() if attempt.not_before_ns <= now_ns]
        if not ready:
            return None
        plans = (recovery.plan(attempt.gap, self._settings) for attempt in ready)
        first = recovery.in_order(plans)[0].gap.gap_id
        self._under_way.add(first)
        return self._waiting.pop(first)

    def put_back(self, attempt: Attempt, why: str, now_ns: int) -> None:
        """It failed: hand it out again later, each time a little more so."""
        failures = attempt.failures + 1
        pause_ns = round(recovery.retry_after_s(failures, self._settings) * recovery.NS_PER_S)
        self._under_way.remove(attempt.gap.gap_id)
        self._waiting[attempt.gap.gap_id] = Attempt(attempt.gap, failures, now_ns + pause_ns, why, attempt.again)

    def close(self, attempt: Attempt) -> None:
        """Its outcome was published."""
        self._under_way.remove(attempt.gap.gap_id)
        self._closed.add(attempt.gap.gap_id)

    def crowding(self) -> Literal["begins", "ends"] | None:
        """Whether the queue has become too long, or is not so any more, since the last time that it was asked."""
        was_crowded = self._crowded
        self._crowded = len(self) >= (CROWDED_ABOVE if was_crowded else DEPTH_MAX)
        if self._crowded == was_crowded:
            return None
        return "begins" if self._crowded else "ends"
