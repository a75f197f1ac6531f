"""The moments and phases of one day (docs/requirement.md).

Moments are local times in the settings and UTC nanoseconds in a `DayPlan`; the tracks begin and end with the windows of
their sessions (`calendar.sessions`). A plan is a value: the same trading day and rules give the same plan in every
process, however late it starts.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import accumulate, pairwise
from typing import Annotated, Any, Final, Literal

import msgspec

from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.calendar.sessions import (
    DaySessions,
    SessionRules,
    Track,
    Window,
    sessions_on,
    sessions_under,
    span_of,
    trading_hours,
    windows_of,
    with_reports,
)
from observer.calendar.trading_day import TradingDay

Phase = Literal["IDLE", "WARMUP", "TRACK_A_ONLY", "FULL_OPERATION", "TRACK_A_CLOSING", "SHUTDOWN"]

DAY_S: Final = 24 * 3600
CONTEXT_BEFORE_S: Final = 10.0  # Track B prepares its first slots so long before it starts (docs/requirement.md)

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

_NOT_OF_THE_MORNING: Final = ("master_files", "backup", "proactive_renewal")

TimeOfDay = Annotated[str, msgspec.Meta(description="a Korean local time, HH:MM or HH:MM:SS")]


class ScheduleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The day's times, as local times. The morning's, from `wake_up` to `ready`, are for sweeps that begin with the
    usual regular session: earlier ones move them forward.

    Raises:
        ValueError: a time is not HH:MM or HH:MM:SS, or the backup is before the wake-up; names the key.
    """

    master_files: TimeOfDay = "06:00"
    wake_up: TimeOfDay = "08:00"
    token_renewal: TimeOfDay = "08:01"  # noqa: S105 - a time of day
    stream_connect: TimeOfDay = "08:03"
    warm_up: TimeOfDay = "08:05"
    health_check: TimeOfDay = "08:10"
    second_renewal: TimeOfDay = "08:30"
    ready: TimeOfDay = "08:50"
    backup: TimeOfDay = "21:00"
    proactive_renewal: TimeOfDay = "23:00"

    def __post_init__(self) -> None:
        """Check every time, and the order of the phases' begins."""
        seconds = {key: _seconds_of(key, getattr(self, key)) for key in self.__struct_fields__}
        if seconds["wake_up"] > seconds["backup"]:
            raise ValueError(f"backup: {self.backup} is before wake_up: {self.wake_up}, which it follows")


class DayRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a day's plan is made of: the sessions of all venues, the times of preparation, and what the tracks collect.

    `venue` is the one whose regular session the morning and the daily bars go by. `track_a` and `track_b` name profiles
    or sessions of the rules.
    """

    sessions: SessionRules
    venue: str
    schedule: ScheduleSettings = msgspec.field(default_factory=ScheduleSettings)
    track_a: tuple[str, ...] = ("requirement",)
    track_b: tuple[str, ...] = ("requirement",)


class PhaseSpan(msgspec.Struct, frozen=True):
    """A phase from `start_ns` until just before `end_ns`."""

    phase: Phase
    start_ns: int
    end_ns: int


class DayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One calendar day (local time) in UTC nanoseconds: its moments, and its phases without gap or overlap.

    On a day on which nothing is collected the moments stand as on a usual day (reference jobs and backups may want
    them), and the only phase is IDLE.

    `sessions` are the day's by venue. `opens_ns` and `closes_ns` are the regular hours, of continuous trading and the
    closing auction; in the `closing_window_ns` (end exclusive) a quote shows them finished and nothing after them.
    Between `trades_from_ns` and `trades_to_ns` any venue may trade; `trading` are these times of each venue, `windows`
    the times in which each may have slots (end exclusive, late reports included). `venue` is the main one.
    """

    day: date
    trades: bool
    has_usual_hours: bool
    sessions: DaySessions
    venue: str
    trading: tuple[Window, ...]
    windows: tuple[Window, ...]
    opens_ns: int
    closes_ns: int
    closing_window_ns: tuple[int, int]
    trades_from_ns: int
    trades_to_ns: int
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


def plan(day: TradingDay, rules: DayRules) -> DayPlan:
    """Return the day's moments and phases.

    The tracks run from the begin of their first window to the end of their last one. The morning's preparations move
    only forward, with an opening before the usual one.
    """
    return _planned(sessions_under(rules.sessions, day.day), sessions_on(rules.sessions, day), rules)


def contradictions(rules: DayRules) -> Iterator[tuple[tuple[str, str], str]]:
    """What is wrong with the settings under the newest session rules: section and key, and the text. The times of
    preparation and backup are for the usual day; slots stay within the sweeps on special days, too.
    """
    newest = max((rule.valid_from for rule in rules.sessions.session), default=date.min)
    usual = sessions_under(rules.sessions, newest)
    tracks: tuple[Track, Track] = ("track_a", "track_b")
    for track in tracks:
        if track_span(rules, usual, track) is None:
            yield (track, "sessions"), "no venue holds any of these now; the profiles are in the file of [run] sessions"
            return
    for shift in ("", *rules.sessions.shift_names):
        made = _planned(usual, sessions_under(rules.sessions, newest, shift), rules)
        if made.track_b_start_ns < made.track_a_start_ns or made.track_b_stop_ns > made.track_a_stop_ns:
            on = f" on a day of the shift {shift}" if shift else ""
            yield ("track_b", "sessions"), f"stream beyond the sweeps of track_a.sessions{on}"
            return
    made = _planned(usual, usual, rules)
    if made.wake_up_ns > made.track_a_start_ns:
        yield ("schedule", "wake_up"), "is after the first sweep (track_a.sessions)"
    if made.backup_ns < made.track_a_stop_ns:
        yield ("schedule", "backup"), "is before the last sweep (track_a.sessions)"


def track_span(rules: DayRules, day: DaySessions, track: Track) -> tuple[int, int] | None:
    """From the begin of the track's first window of a day to the end of its last one; None without a window."""
    return span_of(windows_of(rules.sessions, day, track, getattr(rules, track)))


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


def _planned(usual: DaySessions, found: DaySessions, rules: DayRules) -> DayPlan:
    midnight_ns = local_ns(found.day)
    ends_ns = midnight_ns + DAY_S * NS_PER_S
    collected = track_span(rules, found, "track_a")
    shown = usual if collected is None else found
    track_a_start_ns, track_a_stop_ns = track_span(rules, shown, "track_a") or (ends_ns, ends_ns)
    track_b_start_ns, track_b_stop_ns = track_span(rules, shown, "track_b") or (track_a_stop_ns, track_a_stop_ns)
    opens_ns, closes_ns = shown.regular_hours(rules.venue) or (track_a_start_ns, track_a_stop_ns)
    usual_opens_ns, _ = usual.regular_hours(rules.venue) or (opens_ns, closes_ns)
    trading = tuple(trading_hours(shown, usual))
    trades_from_ns, trades_to_ns = span_of(trading) or (midnight_ns, ends_ns)
    moments = _moments(rules.schedule, midnight_ns, min(0, track_a_start_ns - usual_opens_ns))
    boundaries = (
        moments["wake_up_ns"],
        track_a_start_ns,
        track_b_start_ns,
        track_b_stop_ns,
        track_a_stop_ns,
        moments["backup_ns"],
    )
    return DayPlan(
        day=found.day,
        trades=collected is not None,
        has_usual_hours=not found.shift,
        sessions=found,
        venue=rules.venue,
        trading=trading,
        windows=tuple(with_reports(windows_of(rules.sessions, found, "track_b", rules.track_b), found)),
        opens_ns=opens_ns,
        closes_ns=closes_ns,
        closing_window_ns=shown.closing_window(rules.venue) or (closes_ns, ends_ns),
        trades_from_ns=trades_from_ns,
        trades_to_ns=trades_to_ns,
        starts_ns=midnight_ns,
        ends_ns=ends_ns,
        phases=_phases(midnight_ns, boundaries if collected is not None else ()),
        track_a_start_ns=track_a_start_ns,
        context_sync_ns=track_b_start_ns - round(CONTEXT_BEFORE_S * NS_PER_S),
        track_b_start_ns=track_b_start_ns,
        track_b_stop_ns=track_b_stop_ns,
        track_a_stop_ns=track_a_stop_ns,
        **moments,
    )


def _moments(schedule: ScheduleSettings, midnight_ns: int, preparation_ns: int) -> dict[str, Any]:
    """The moments of the schedule by their fields of the plan; those of the morning are moved by `preparation_ns`."""
    return {
        f"{key}_ns": midnight_ns
        + _seconds_of(key, getattr(schedule, key)) * NS_PER_S
        + (0 if key in _NOT_OF_THE_MORNING else preparation_ns)
        for key in schedule.__struct_fields__
    }


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
