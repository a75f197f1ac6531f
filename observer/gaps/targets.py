"""The targets of gap recovery on the running day. Pure (docs/requirement.md).

A gap is *detected in time* when the committed gap reaches recovery soon after the cut, or soon after the record that
shows the gap. A gap is *recovered in time* when its rows are published soon after the first call for it: the wait in
the queue does not count. That wait counts in *closing*, from the end of the outage to the outcome. A target is missed
unless more than the required share of the day's gaps meets it. The count of a day goes on after a restart: numbers
exactly, percentiles as upper bounds, as only the earlier process's percentiles are stored.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from bus.events import GapMeasure, GapTimesMeasured
from observer.gaps.recovery import RecoverySettings

Measure = Literal["detection", "recovery", "success"]

TIMES_MAX: Final = 100_000
"""Gaps of a day whose times count in the percentiles: the first ones."""

_MEASURES: Final[tuple[Measure, ...]] = ("detection", "recovery", "success")


class TargetChange(msgspec.Struct, frozen=True):
    """A target was missed, or is met again: `met` of the day's `gaps` gaps meet it now."""

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
        self._times_s: dict[GapMeasure, list[float]] = {}
        self._earlier: dict[GapMeasure, GapTimesMeasured] = {}  # of an earlier process of the day
        self._reported: dict[GapMeasure, int] = {}  # of the times, how many the last figures included

    def begin(self, session_date: str) -> bool:
        """Begin the count of this day, where it is another; returns whether: then no target is missed."""
        if session_date == self._session_date:
            return False
        self._session_date = session_date
        self._met, self._gaps = dict.fromkeys(_MEASURES, 0), dict.fromkeys(_MEASURES, 0)
        self._missed.clear()
        self._times_s, self._earlier, self._reported = {}, {}, {}
        return True

    def resume(
        self, session_date: str, figures: Iterable[GapTimesMeasured], *, filled: int, ended: int
    ) -> list[TargetChange]:
        """Continue the count of an earlier process of this day from its last figures; `ended` of its gaps have an
        outcome, `filled` of them are recovered. Returns the state of each target.
        """
        self.begin(session_date)
        self._earlier = {each.measure: each for each in figures}
        for measure in _MEASURES:
            found = self._earlier.get(measure) if measure != "success" else None
            met, gaps = (filled, ended) if measure == "success" else (found.met, found.gaps) if found else (0, 0)
            self._met[measure], self._gaps[measure] = met, gaps
            if self._is_missed(measure):
                self._missed.add(measure)
        return [self._state(measure) for measure in _MEASURES]

    def detected(self, session_date: str, after_s: float) -> TargetChange | None:
        """Count a gap that recovery has so many machine seconds after the cut, or after the record that shows it."""
        self._time(session_date, "detection", after_s)
        return self._count(session_date, "detection", is_met=after_s < self._settings.detected_within_seconds)

    def recovered(self, session_date: str, after_s: float) -> TargetChange | None:
        """Count a gap whose rows are published so many machine seconds after the first call for it."""
        self._time(session_date, "recovery", after_s)
        return self._count(session_date, "recovery", is_met=after_s < self._settings.recovered_within_seconds)

    def closed(self, session_date: str, after_s: float) -> None:
        """Count a gap that is closed so many machine seconds after the end of its outage."""
        self._time(session_date, "closing", after_s)

    def figures(self, now_ns: int) -> list[GapTimesMeasured]:
        """The figures of the measures that have changed since the last call."""
        found: list[GapTimesMeasured] = []
        for measure, times_s in self._times_s.items():
            if self._reported.get(measure) != len(times_s):
                self._reported[measure] = len(times_s)
                limit_s, earlier = self._limit_s(measure), self._earlier.get(measure)
                ordered = sorted(times_s if earlier is None else [*_at_most(earlier), *times_s])
                met = sum(each < limit_s for each in times_s) + (0 if earlier is None else earlier.met)
                shares = (percentile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0))
                found.append(GapTimesMeasured(self._session_date, now_ns, measure, len(ordered), met, *shares))
        return found

    def _limit_s(self, measure: GapMeasure) -> float:
        settings = self._settings
        return settings.detected_within_seconds if measure == "detection" else settings.recovered_within_seconds

    def _time(self, session_date: str, measure: GapMeasure, after_s: float) -> None:
        self.begin(session_date)
        times_s = self._times_s.setdefault(measure, [])
        if len(times_s) < TIMES_MAX:
            times_s.append(after_s)

    def ended(self, session_date: str, *, is_recovered: bool) -> TargetChange | None:
        """Count a gap that is recovered, or given up."""
        return self._count(session_date, "success", is_met=is_recovered)

    def _count(self, session_date: str, measure: Measure, *, is_met: bool) -> TargetChange | None:
        self.begin(session_date)
        self._met[measure] += is_met
        self._gaps[measure] += 1
        is_missed = self._is_missed(measure)
        if is_missed == (measure in self._missed):
            return None
        (self._missed.add if is_missed else self._missed.remove)(measure)
        return self._state(measure)

    def _is_missed(self, measure: Measure) -> bool:
        met, gaps = self._met[measure], self._gaps[measure]
        return met <= self._settings.target_share * gaps and met < gaps

    def _state(self, measure: Measure) -> TargetChange:
        is_missed = measure in self._missed
        return TargetChange(self._session_date, measure, is_missed, self._met[measure], self._gaps[measure])


def _at_most(earlier: GapTimesMeasured) -> list[float]:
    """Return one time for each gap of the earlier process, none shorter than the real time: the next higher percentile.
    The returned times have the percentiles of `earlier`.
    """
    percentiles = ((0.5, earlier.p50_s), (0.95, earlier.p95_s), (0.99, earlier.p99_s), (1.0, earlier.max_s))
    times_s: list[float] = []
    for share, time_s in percentiles:
        times_s += [time_s] * (math.ceil(share * earlier.gaps) - len(times_s))
    return [*times_s[:-1], earlier.max_s]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the ordered values does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def text_of(change: TargetChange, settings: RecoverySettings) -> str:
    """The alert's text: the day, the counts and the target."""
    what = {
        "detection": f"reached recovery within {settings.detected_within_seconds:g} s of the cut or next trade",
        "recovery": f"were filled within {settings.recovered_within_seconds:g} s of the first call",
        "success": "were filled",
    }[change.measure]
    state = "target missed" if change.is_missed else "target met again"
    return (
        f"gaps of {change.session_date}: {change.met} of {change.gaps} {what}; "
        f"{state}: more than {settings.target_share:.0%}"
    )
