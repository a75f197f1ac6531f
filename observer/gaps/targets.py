"""The targets of gap recovery on the running day. Requirement 004, Recovery Performance Targets. Pure.

A gap is detected in time when recovery has it soon after the record that shows it, and recovered in time when its rows
are published soon after the first call for it; its wait in the queue does not count. A target is missed while not more
than the required share of the day's gaps meets it.
"""

from typing import Final, Literal

import msgspec

from observer.gaps.recovery import RecoverySettings

Measure = Literal["detection", "recovery", "success"]

_MEASURES: Final[tuple[Measure, ...]] = ("detection", "recovery", "success")


class TargetChange(msgspec.Struct, frozen=True):
    """A target that is missed from now on, or met again: `met` of the day's `gaps` meet it."""

    session_date: str
    measure: Measure
    is_missed: bool
    met: int
    gaps: int


class RecoveryTargets:
    """How many gaps of the day meet each target. Explicit state, no clock; gaps of another day begin a new count."""

    def __init__(self, settings: RecoverySettings) -> None:
        self._settings = settings
        self._session_date = ""
        self._met: dict[Measure, int] = {}
        self._gaps: dict[Measure, int] = {}
        self._missed: set[Measure] = set()

    def begin(self, session_date: str) -> bool:
        """Begin the count of this day, where it is another; returns whether: then no target is missed."""
        if session_date == self._session_date:
            return False
        self._session_date = session_date
        self._met, self._gaps = dict.fromkeys(_MEASURES, 0), dict.fromkeys(_MEASURES, 0)
        self._missed.clear()
        return True

    def detected(self, session_date: str, after_s: float) -> TargetChange | None:
        """Count a gap that recovery has since so many machine seconds after the record that shows it."""
        return self._count(session_date, "detection", is_met=after_s < self._settings.detected_within_seconds)

    def recovered(self, session_date: str, after_s: float) -> TargetChange | None:
        """Count a gap whose rows are published so many machine seconds after the first call for it."""
        return self._count(session_date, "recovery", is_met=after_s < self._settings.recovered_within_seconds)

    def ended(self, session_date: str, *, is_recovered: bool) -> TargetChange | None:
        """Count a gap that is recovered, or given up."""
        return self._count(session_date, "success", is_met=is_recovered)

    def _count(self, session_date: str, measure: Measure, *, is_met: bool) -> TargetChange | None:
        self.begin(session_date)
        self._met[measure] += is_met
        self._gaps[measure] += 1
        met, gaps = self._met[measure], self._gaps[measure]
        is_missed = met <= self._settings.target_share * gaps and met < gaps
        if is_missed == (measure in self._missed):
            return None
        (self._missed.add if is_missed else self._missed.remove)(measure)
        return TargetChange(session_date, measure, is_missed, met, gaps)


def text_of(change: TargetChange, settings: RecoverySettings) -> str:
    """The alert's text: the day, the counts and the target."""
    what = {
        "detection": f"reached recovery within {settings.detected_within_seconds:g} s of the trade that shows them",
        "recovery": f"were filled within {settings.recovered_within_seconds:g} s of the first call",
        "success": "were filled",
    }[change.measure]
    state = "target missed" if change.is_missed else "target met again"
    return (
        f"gaps of {change.session_date}: {change.met} of {change.gaps} {what}; "
        f"{state}: more than {settings.target_share:.0%}"
    )
