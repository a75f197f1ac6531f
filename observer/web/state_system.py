"""The parts of a state that the supervisor's status gives, and the answer to "is all well?". Pure."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from bus.commands import OpenAlert, ProcessStatus, StatusReply
from bus.histogram import BOUNDS_S
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_MINUTE
from observer.calendar.phases import DayPlan
from observer.monitoring.metrics.host import ACKNOWLEDGEMENT, WAITING
from observer.web.model import Alert, Alerts, Level, Phase, Process, Processes, Timeline

if TYPE_CHECKING:  # the store is no part of this module
    from observer.store.alerts import StoredAlert

NO_SYSTEM: Final = "the system does not answer: `observer run` starts it, `observer doctor` looks for the cause"
HEARTBEAT_S_MAX: Final = 5.0  # of a process that beats once a second
_GIVEN_UP: Final = ("FATAL", "LOOPING")
_AS_WISHED: Final = ("RUNNING", "EXITED")
_RANK: Final[dict[Level, int]] = {"ok": 0, "warning": 1, "critical": 2}
SEVERITIES: Final = ("critical", "warning", "info")
STREAMING: Final = "FULL_OPERATION"
_CLOSED: Final = "IDLE"
_MOST: Final = 0.99


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not well, in a sentence."""

    level: Level
    text: str


def local_time(moment_ns: int) -> str:
    """A moment of the market as local ISO time with its offset, exact to the second."""
    return local_datetime(moment_ns).isoformat(timespec="seconds")


def timeline_of(plan: DayPlan | None, now_ns: int | None, known_ms: int) -> Timeline:
    """The phases of a day's plan. None: the calendar does not know the day."""
    if plan is None:
        return Timeline(known_ms=0, missing="the calendar lacks this day: `observer calendar sessions` shows why")

    def minute(moment_ns: int) -> float:
        return round((moment_ns - plan.starts_ns) / NS_PER_MINUTE, 2)

    spans = [Phase(span.phase, minute(span.start_ns), minute(span.end_ns)) for span in plan.phases]
    now_minute = None if now_ns is None else minute(now_ns)
    return Timeline(known_ms=known_ms, phases=spans if plan.trades else (), now_minute=now_minute)


def processes_of(reply: StatusReply, version: str, known_ms: int) -> Processes:
    """The processes, each with its level."""
    found = [_process(process) for process in reply.processes]
    return Processes(known_ms=known_ms, version=version, uptime_s=round(reply.uptime_s, 1), processes=found)


def _process(status: ProcessStatus) -> Process:
    return Process(
        name=status.name,
        state=status.state,
        level=_level_of(status),
        pid=status.pid,
        uptime_s=status.uptime_s,
        restarts=status.restarts,
        cpu_percent=status.cpu_percent,
        rss_bytes=status.rss_bytes,
        heartbeat_age_s=status.heartbeat_age_s,
        loop_lag_s=status.loop_lag_s,
        exit=status.exit,
    )


def _level_of(status: ProcessStatus) -> Level:
    if status.state in _GIVEN_UP:
        return "critical"
    is_silent = status.heartbeat_age_s is not None and status.heartbeat_age_s > HEARTBEAT_S_MAX
    return "ok" if status.state in _AS_WISHED and not is_silent else "warning"


def alerts_of(alerts: Iterable[OpenAlert], known_ms: int) -> Alerts:
    """The open alerts, worst first; of one severity those that are not silenced, then the newest, first."""
    ordered = sorted(
        alerts,
        key=lambda each: (SEVERITIES.index(each.severity), each.silenced_until_ns is not None, -each.since_ns),
    )
    return Alerts(known_ms=known_ms, alerts=[alert_of(each, each.process, each.silenced_until_ns) for each in ordered])


def alert_of(
    alert: "OpenAlert | StoredAlert", process: str, silenced_until_ns: int | None = None, ended_ns: int | None = None
) -> Alert:
    """An alert as the page shows it."""
    return Alert(
        identity=alert.identity,
        severity=alert.severity,
        process=process,
        text=alert.text,
        since=local_time(alert.since_ns),
        count=alert.count,
        silenced_until=None if silenced_until_ns is None else local_time(silenced_until_ns),
        ended=None if ended_ns is None else local_time(ended_ns),
    )


def answer_of(
    processes: Processes, alerts: Alerts, phase: str, feed_age_s: float, feed_age_s_max: float
) -> tuple[Level, str]:
    """Whether all is well, and the worst finding in one sentence.

    Args:
        processes: as the supervisor states them now; missing when it does not answer.
        alerts: the open ones; a silenced one does not count.
        phase: of the day.
        feed_age_s: machine seconds since the last committed event arrived, or since the first one was due.
        feed_age_s_max: the longest time without an event while the market is streamed.
    """
    found = list(_findings(processes, alerts))
    if phase == STREAMING and feed_age_s > feed_age_s_max:
        found.append(Finding("warning", f"no committed event has arrived for {feed_age_s:.0f} s while slots stream"))
    if not found:
        return "ok", f"All is well: {len(processes.processes)} processes run, {_phase_words(phase)}"
    worst = max(found, key=lambda each: _RANK[each.level])  # the first of the worst ones
    others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return worst.level, f"{worst.text}{others}"


def _findings(processes: Processes, alerts: Alerts) -> Iterable[Finding]:
    if processes.missing:
        yield Finding("critical", processes.missing)
        return
    for process in processes.processes:
        if process.level == "critical":
            yield Finding("critical", f"{process.name} is {process.state}: it ended too often; its log says why")
    for level in ("critical", "warning"):
        yield from (
            Finding(level, f"{alert.process}: {alert.text}")
            for alert in alerts.alerts
            if alert.severity == level and alert.silenced_until is None
        )
    for process in processes.processes:
        if process.level == "warning":
            age = process.heartbeat_age_s
            is_silent = process.state in _AS_WISHED and age is not None
            yield Finding("warning", f"{process.name} is {f'silent for {age:.0f} s' if is_silent else process.state}")


def _phase_words(phase: str) -> str:
    return "the market is closed" if phase == _CLOSED else phase.lower().replace("_", " ")


def waiting_events(reply: StatusReply) -> int | None:
    """The events that the processes have published and the writer has not acknowledged; None if no process says."""
    found = [sample.value for samples in reply.samples.values() for sample in samples if sample.metric == WAITING]
    return round(sum(found)) if found else None


def acknowledgement_s(before: StatusReply, after: StatusReply) -> float | None:
    """The time within which 99 % of the acknowledgements between two replies came: the upper bound of a bucket, at most
    the last one. None without any.
    """
    counts = [
        max(0, late - early) for early, late in zip(_acknowledgements(before), _acknowledgements(after), strict=True)
    ]
    total, within = sum(counts), 0
    for bound_s, count in zip((*BOUNDS_S, BOUNDS_S[-1]), counts, strict=True):
        within += count
        if total and within >= _MOST * total:
            return bound_s
    return None


def _acknowledgements(reply: StatusReply) -> Sequence[int]:
    """The acknowledgements of all processes by bucket of `bus.histogram`."""
    counts = [0] * (len(BOUNDS_S) + 1)
    for sample in (each for samples in reply.samples.values() for each in samples if each.metric == ACKNOWLEDGEMENT):
        for bucket, count in enumerate(sample.counts[: len(counts)]):
            counts[bucket] += count
    return counts
