"""The moments and phases of one day (requirement 004, OperationScheduler; design.md 4).

Moments are Korean local times in the settings and UTC nanoseconds in a `DayPlan`. A plan is a value: the same trading
day and settings give the same plan in every process, however late it starts.
"""

from collections.abc import Sequence
from datetime import date
from itertools import accumulate, pairwise
from typing import Annotated, Final, Literal

import msgspec

from observer.calendar.trading_day import TradingDay
from observer.local_time import local_ns
from observer.units import NS_PER_S

Phase = Literal["IDLE", "WARMUP", "TRACK_A_ONLY", "FULL_OPERATION", "TRACK_A_CLOSING", "SHUTDOWN"]

# The hours for which the settings are written; days with other hours move the phases by the difference.
REGULAR_OPEN_S: Final = 9 * 3600
REGULAR_CLOSE_S: Final = 15 * 3600 + 30 * 60
DAY_S: Final = 24 * 3600

# The phase that begins at each boundary; the day begins with IDLE at midnight.
_PHASES: Final[Sequence[Phase]] = (
    "IDLE",  # from midnight
    "WARMUP",  # from wake_up
    "TRACK_A_ONLY",  # from track_a_start
    "FULL_OPERATION",  # from track_b_start
    "TRACK_A_CLOSING",  # from track_b_stop
    "SHUTDOWN",  # from track_a_stop
    "IDLE",  # from backup
)

TimeOfDay = Annotated[str, msgspec.Meta(description="a Korean local time, HH:MM or HH:MM:SS")]


class ScheduleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The day's times, as Korean local times, for a session from 09:00 to 15:30.

    Raises:
        ValueError: a time is not HH:MM or HH:MM:SS, or a phase would begin before the one it follows; names the key.
    """

    master_files: TimeOfDay = "06:00"
    wake_up: TimeOfDay = "08:00"
    token_renewal: TimeOfDay = "08:01"  # noqa: S105 - a time of day
    stream_connect: TimeOfDay = "08:03"
    warm_up: TimeOfDay = "08:05"
    health_check: TimeOfDay = "08:10"
    second_renewal: TimeOfDay = "08:30"
    ready: TimeOfDay = "08:50"
    track_a_start: TimeOfDay = "09:00"
    context_sync: TimeOfDay = "09:29:50"
    track_b_start: TimeOfDay = "09:30"
    track_b_stop: TimeOfDay = "15:00"
    track_a_stop: TimeOfDay = "15:30"
    backup: TimeOfDay = "21:00"
    proactive_renewal: TimeOfDay = "23:00"

    def __post_init__(self) -> None:
        """Check every time, and the order of the phases' begins."""
        seconds = {key: _seconds_of(key, getattr(self, key)) for key in self.__struct_fields__}
        phases = ("wake_up", "track_a_start", "track_b_start", "track_b_stop", "track_a_stop", "backup")
        for earlier, later in pairwise(phases):
            if seconds[earlier] > seconds[later]:
                raise ValueError(
                    f"{later}: {getattr(self, later)} is before {earlier}: {getattr(self, earlier)}, which it follows"
                )


class PhaseSpan(msgspec.Struct, frozen=True):
    """A phase from `start_ns` until just before `end_ns`."""

    phase: Phase
    start_ns: int
    end_ns: int


class DayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One calendar day (local time) in UTC nanoseconds: its moments, and its phases without gap or overlap.

    On a day without a session the moments stand as written (reference jobs and backups may want them), and the only
    phase is IDLE.
    """

    day: date
    trades: bool
    has_usual_hours: bool
    starts_ns: int
    ends_ns: int
    phases: tuple[PhaseSpan, ...]
    master_files_ns: int
    wake_up_ns: int
    token_renewal_ns: int
    stream_connect_ns: int
    warm_up_ns: int
    health_check_ns: int
    second_renewal_ns: int
    ready_ns: int
    track_a_start_ns: int
    context_sync_ns: int
    track_b_start_ns: int
    track_b_stop_ns: int
    track_a_stop_ns: int
    backup_ns: int
    proactive_renewal_ns: int


def plan(day: TradingDay, settings: ScheduleSettings) -> DayPlan:
    """Return the day's moments and phases.

    An opening other than 09:00 shifts the start of the tracks by the difference, a close other than 15:30 their stop.
    The morning's preparations move only forward, with an early opening.
    """
    midnight_ns = midnight_of(day.day)
    opening_ns, closing_ns = _shifts(day, midnight_ns)
    preparation_ns = min(0, opening_ns)

    def moment(text: str, shift_ns: int = 0) -> int:
        return midnight_ns + _seconds_of("time", text) * NS_PER_S + shift_ns

    wake_up_ns = moment(settings.wake_up, preparation_ns)
    track_a_start_ns = moment(settings.track_a_start, opening_ns)
    track_b_start_ns = moment(settings.track_b_start, opening_ns)
    track_b_stop_ns = moment(settings.track_b_stop, closing_ns)
    track_a_stop_ns = moment(settings.track_a_stop, closing_ns)
    backup_ns = moment(settings.backup)
    boundaries = (wake_up_ns, track_a_start_ns, track_b_start_ns, track_b_stop_ns, track_a_stop_ns, backup_ns)
    return DayPlan(
        day=day.day,
        trades=day.trades,
        has_usual_hours=opening_ns == closing_ns == 0,
        starts_ns=midnight_ns,
        ends_ns=midnight_ns + DAY_S * NS_PER_S,
        phases=_phases(midnight_ns, boundaries if day.trades else ()),
        master_files_ns=moment(settings.master_files),
        wake_up_ns=wake_up_ns,
        token_renewal_ns=moment(settings.token_renewal, preparation_ns),
        stream_connect_ns=moment(settings.stream_connect, preparation_ns),
        warm_up_ns=moment(settings.warm_up, preparation_ns),
        health_check_ns=moment(settings.health_check, preparation_ns),
        second_renewal_ns=moment(settings.second_renewal, preparation_ns),
        ready_ns=moment(settings.ready, preparation_ns),
        track_a_start_ns=track_a_start_ns,
        context_sync_ns=moment(settings.context_sync, opening_ns),
        track_b_start_ns=track_b_start_ns,
        track_b_stop_ns=track_b_stop_ns,
        track_a_stop_ns=track_a_stop_ns,
        backup_ns=backup_ns,
        proactive_renewal_ns=moment(settings.proactive_renewal),
    )


def phase_at(plan: DayPlan, now_ns: int) -> Phase:
    """The phase at a moment; IDLE outside the plan's day."""
    for span in plan.phases:
        if span.start_ns <= now_ns < span.end_ns:
            return span.phase
    return "IDLE"


def next_change(plan: DayPlan, now_ns: int) -> int:
    """The time of the next phase change, or the end of the day.

    After the day this time is in the past: a caller who waits for it returns at once and requests a new plan.
    """
    return next((span.start_ns for span in plan.phases if span.start_ns > now_ns), plan.ends_ns)


def moment_of(plan: DayPlan, time_of_day: str) -> int:
    """The UTC nanoseconds of a Korean local time (HH:MM or HH:MM:SS) on the plan's day.

    Raises:
        ValueError: the text is no such time.
    """
    return plan.starts_ns + _seconds_of("time", time_of_day) * NS_PER_S


def midnight_of(day: date) -> int:
    """UTC nanoseconds of the Korean midnight with which `day` begins."""
    return local_ns(day)


def _shifts(day: TradingDay, midnight_ns: int) -> tuple[int, int]:
    """How many ns later than usual the session opens and closes; zeros for a day without a session."""
    if day.opens_ns is None or day.closes_ns is None:
        return 0, 0
    opening_ns = day.opens_ns - midnight_ns - REGULAR_OPEN_S * NS_PER_S
    closing_ns = day.closes_ns - midnight_ns - REGULAR_CLOSE_S * NS_PER_S
    return opening_ns, closing_ns


def _phases(midnight_ns: int, boundaries: Sequence[int]) -> tuple[PhaseSpan, ...]:
    """The spans between the boundaries; a session too short for all phases lacks those without room."""
    end_ns = midnight_ns + DAY_S * NS_PER_S
    starts = accumulate((midnight_ns, *boundaries), max)
    edges = (*(min(start_ns, end_ns) for start_ns in starts), end_ns)
    return tuple(
        PhaseSpan(phase, start_ns, stop_ns)
        for phase, (start_ns, stop_ns) in zip(_PHASES, pairwise(edges), strict=False)
        if start_ns < stop_ns
    )


def _seconds_of(key: str, text: str) -> int:
    """Seconds from midnight to a time of day."""
    parts = text.split(":")
    if len(parts) in (2, 3) and all(len(part) == 2 and part.isascii() and part.isdigit() for part in parts):
        hours, minutes, seconds = (*map(int, parts), 0)[:3]
        if hours < 24 and minutes < 60 and seconds < 60:
            return hours * 3600 + minutes * 60 + seconds
    raise ValueError(f"{key}: {text!r} is not a time of day (HH:MM or HH:MM:SS)")
