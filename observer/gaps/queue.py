"""The gaps that one process fills: each once, by priority, with a limit of attempts."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from bus.events import GapDetected
from observer.base.units import NS_PER_S
from observer.gaps.recovery import RecoverySettings, in_order, plan, retry_after_s

DEPTH_MAX: Final = 100
"""The queue stays shorter than this (docs/requirement.md)."""

CROWDED_ABOVE: Final = 80
"""A too long queue is reported as normal only below this: a length around the limit is reported once."""


class Attempt(msgspec.Struct, frozen=True):
    """A waiting gap: its number of failures, the last error, and the earliest time of the next attempt.

    `again`: an outcome is stored already, and its recovered rows must not be stored a second time.
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
        self._closed: dict[str, str] = {}  # with their days; outcomes may be on their way into the database
        self._crowded = False

    def __len__(self) -> int:
        return len(self._waiting)

    def take_up(self, gaps: Iterable[GapDetected]) -> Sequence[GapDetected]:
        """Enqueue gaps that are not known yet, and return them: both the feed and the database report a gap."""
        new = {gap.gap_id: gap for gap in gaps if not self._knows(gap.gap_id)}
        self._waiting |= {gap_id: Attempt(gap) for gap_id, gap in new.items()}
        return list(new.values())

    def forget_before(self, session_date: str) -> None:
        """Forget the closed gaps of days before this one. Later ones may be reported again after their outcomes are
        stored: a database that went back gets the gap a second time, and then its outcome.
        """
        self._closed = {gap_id: day for gap_id, day in self._closed.items() if day >= session_date}

    def _knows(self, gap_id: str) -> bool:
        return gap_id in self._waiting or gap_id in self._under_way or gap_id in self._closed

    def take_up_again(self, gap: GapDetected, *, is_open: bool) -> bool:
        """Enqueue a gap for an immediate attempt with its failures reset; `is_open`: no outcome of it is stored.

        Returns False and changes nothing while it is under way or its outcome is on its way into the database.
        """
        gap_id = gap.gap_id
        if gap_id in self._under_way or (is_open and gap_id in self._closed):
            return False
        waiting = self._waiting.get(gap_id)
        self._closed.pop(gap_id, None)
        self._waiting[gap_id] = Attempt(gap, again=not is_open or (waiting is not None and waiting.again))
        return True

    def take(self, now_ns: int) -> Attempt | None:
        """Return the most urgent due gap, None if no gap is due. The gap is under way until `put_back` or `close`."""
        ready = [attempt for attempt in self._waiting.values() if attempt.not_before_ns <= now_ns]
        if not ready:
            return None
        plans = (plan(attempt.gap, self._settings) for attempt in ready)
        first = in_order(plans)[0].gap.gap_id
        self._under_way.add(first)
        return self._waiting.pop(first)

    def put_back(self, attempt: Attempt, why: str, now_ns: int) -> None:
        """Requeue a failed attempt with a growing delay."""
        failures = attempt.failures + 1
        pause_ns = round(retry_after_s(failures, self._settings) * NS_PER_S)
        self._under_way.remove(attempt.gap.gap_id)
        self._waiting[attempt.gap.gap_id] = Attempt(attempt.gap, failures, now_ns + pause_ns, why, attempt.again)

    def close(self, attempt: Attempt) -> None:
        """Mark the gap closed: its outcome was published."""
        self._under_way.remove(attempt.gap.gap_id)
        self._closed[attempt.gap.gap_id] = attempt.gap.session_date

    def crowding(self) -> Literal["begins", "ends"] | None:
        """Whether the queue became too long, or normal again, since the last call."""
        was_crowded = self._crowded
        self._crowded = len(self) >= (CROWDED_ABOVE if was_crowded else DEPTH_MAX)
        if self._crowded == was_crowded:
            return None
        return "begins" if self._crowded else "ends"
