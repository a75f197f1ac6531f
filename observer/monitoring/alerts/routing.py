"""Which message about alerts a target outside this machine gets next. Pure.

The state of a target is the list of the alerts that it has, or has to get. A message is the difference between that
list and the open alerts, so what comes while no message may be sent is in the next one, once: nothing is lost by quiet
hours, by the limit of messages, or by a target that refuses. Times are UTC nanoseconds, those of alerts of market time,
all others of machine time.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from bus.commands import OpenAlert
from bus.events import Severity
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.decisions import URGENCY, full_processes, key_of
from observer.monitoring.alerts.settings import AlertSettings, AlertTarget

GATHER_NS: Final = 2 * NS_PER_S  # an alert waits so long for others of the same cause, which share its message
FIRST_RETRY_NS: Final = 10 * NS_PER_S  # after a failed delivery; doubles
LONGEST_RETRY_NS: Final = 1_800 * NS_PER_S
CRITICAL_RETRY_NS: Final = 60 * NS_PER_S  # the longest while the target does not know a critical alert
TRACKED_MAX: Final = 300  # alerts of a target that accepts nothing
LINES_MAX: Final = 20  # of a message
HOUR_NS: Final = 3_600 * NS_PER_S

Change = Literal["raised", "resolved", "over"]


class Tracked(msgspec.Struct, frozen=True):
    """An alert of one target: `seen_ns` when it was first seen, `gone_ns` when it was first seen no more (None: it is
    open), `ended_ns` the market time of that; `sent` the severity that the target knows, None while it knows nothing.
    """

    alert: OpenAlert
    seen_ns: int
    sent: Severity | None = None
    gone_ns: int | None = None
    ended_ns: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Its process and its identity."""
        return key_of(self.alert)


class TargetState(msgspec.Struct, frozen=True):
    """The alerts of a target, the times of the last hour's messages, and its failures in a row; `dropped` counts alerts
    without room.
    """

    tracked: tuple[Tracked, ...] = ()
    messages_ns: tuple[int, ...] = ()
    failures: int = 0
    next_attempt_ns: int = 0
    dropped: int = 0


class Line(msgspec.Struct, frozen=True):
    """One change in a message, of the alert as it was then."""

    change: Change
    tracked: Tracked

    @property
    def alert(self) -> OpenAlert:
        """The alert."""
        return self.tracked.alert


class Message(msgspec.Struct, frozen=True):
    """What a target gets; `severity` is the highest of its raised alerts, "info" without any."""

    title: str
    body: str
    severity: Severity
    lines: tuple[Line, ...] = ()


def after_look(
    state: TargetState,
    open_alerts: Sequence[OpenAlert],
    target: AlertTarget,
    settings: AlertSettings,
    *,
    now_ns: int,
    market_ns: int,
) -> TargetState:
    """The state after one look at the open alerts.

    A silenced alert is not new. Of a process whose heartbeat is full, an absent alert may be one without room.
    """
    found = {key_of(each): each for each in open_alerts}
    full = full_processes(open_alerts)
    known = {each.key for each in state.tracked}
    kept: list[Tracked] = []
    for each in state.tracked:
        now = found.get(each.key)
        if now is not None:
            kept.append(_still_open(each, now))
        elif each.alert.process in full or each.gone_ns is not None:
            kept.append(each)
        else:
            kept.append(msgspec.structs.replace(each, gone_ns=now_ns, ended_ns=market_ns))
    for key, new in found.items():
        if key not in known and new.silenced_until_ns is None and URGENCY[new.severity] >= URGENCY[target.severity]:
            kept.append(Tracked(new, now_ns))
    if not target.resolved:
        kept = [each for each in kept if each.sent is None or not _is_calm(each, settings, now_ns)]
    recent = tuple(at_ns for at_ns in state.messages_ns if now_ns - HOUR_NS < at_ns <= now_ns)
    state = _bounded(msgspec.structs.replace(state, messages_ns=recent), kept)
    # A critical alert may be new, and the machine's clock may be set back.
    next_attempt_ns = min(state.next_attempt_ns, now_ns + _longest_retry_ns(state))
    return msgspec.structs.replace(state, next_attempt_ns=next_attempt_ns)


def _longest_retry_ns(state: TargetState) -> int:
    is_urgent = any(each.alert.severity == "critical" != each.sent for each in state.tracked)
    return CRITICAL_RETRY_NS if is_urgent else LONGEST_RETRY_NS


def _still_open(tracked: Tracked, now: OpenAlert) -> Tracked:
    """The open alert with its highest severity; its newest text, as long as the target has to get it."""
    before = tracked.alert
    severity = max(before.severity, now.severity, key=URGENCY.__getitem__)
    text = before.text if tracked.sent == severity else now.text
    alert = msgspec.structs.replace(before, severity=severity, text=text)
    return msgspec.structs.replace(tracked, alert=alert, gone_ns=None, ended_ns=None)


def _bounded(state: TargetState, kept: Sequence[Tracked]) -> TargetState:
    """The state with these alerts; beyond TRACKED_MAX the oldest are dropped, first those that are over."""
    surplus = max(0, len(kept) - TRACKED_MAX)
    first = sorted(kept, key=lambda each: (each.gone_ns is None, each.seen_ns))[:surplus]
    dropped = {each.key for each in first}
    tracked = tuple(each for each in kept if each.key not in dropped)
    return msgspec.structs.replace(state, tracked=tracked, dropped=state.dropped + surplus)


def due_message(
    state: TargetState, target: AlertTarget, settings: AlertSettings, *, now_ns: int, market_ns: int, system: str
) -> Message | None:
    """The message that the target gets now; None for none. A critical alert passes quiet hours, and the last quarter of
    the hour's messages is for messages with one.
    """
    if now_ns < state.next_attempt_ns:
        return None
    is_quiet = target.is_quiet(f"{local_datetime(market_ns):%H:%M}")
    lines = [
        Line(change, each)
        for each in state.tracked
        if (change := _change_of(each, target, settings, now_ns)) is not None
        and (not is_quiet or each.alert.severity == "critical")
    ]
    if not lines or all(line.change == "raised" and 0 <= now_ns - line.tracked.seen_ns < GATHER_NS for line in lines):
        return None
    is_critical = any(line.change == "raised" and line.alert.severity == "critical" for line in lines)
    messages_max = settings.messages_per_hour if is_critical else settings.messages_per_hour * 3 // 4
    if sum(now_ns - HOUR_NS < at_ns <= now_ns for at_ns in state.messages_ns) >= messages_max:
        return None
    return message_of(lines, state.dropped, system)


def _change_of(tracked: Tracked, target: AlertTarget, settings: AlertSettings, now_ns: int) -> Change | None:
    if tracked.gone_ns is None:
        is_news = tracked.sent is None or URGENCY[tracked.alert.severity] > URGENCY[tracked.sent]
        return "raised" if is_news else None
    if not _is_calm(tracked, settings, now_ns):
        return "raised" if tracked.sent is None else None
    if tracked.sent is None:
        return "over"
    return "resolved" if target.resolved else None


def _is_calm(tracked: Tracked, settings: AlertSettings, now_ns: int) -> bool:
    """Whether the alert is gone for so long that it would be another one if it came back."""
    if tracked.gone_ns is None:
        return False
    return not 0 <= now_ns - tracked.gone_ns < settings.calm_s * NS_PER_S


def after_delivery(state: TargetState, message: Message, now_ns: int) -> TargetState:
    """The state after the target accepted the message."""
    carried = {line.tracked.key: line for line in message.lines}
    kept = []
    for each in state.tracked:
        line = carried.get(each.key)
        if line is None:
            kept.append(each)
        elif line.change == "raised":
            kept.append(msgspec.structs.replace(each, sent=line.alert.severity))
        elif each.gone_ns is None:  # it has come back meanwhile: it is another one
            kept.append(msgspec.structs.replace(each, sent=None, seen_ns=now_ns))
    return TargetState(tuple(kept), (*state.messages_ns, now_ns))


def after_failure(state: TargetState, now_ns: int) -> TargetState:
    """The state after a failed delivery: the next attempt waits, each time twice as long up to a limit, which is
    CRITICAL_RETRY_NS while the target does not know a critical alert.
    """
    wait_ns = min(FIRST_RETRY_NS * 2 ** min(state.failures, 20), _longest_retry_ns(state))
    return msgspec.structs.replace(state, failures=state.failures + 1, next_attempt_ns=now_ns + wait_ns)


def message_of(lines: Sequence[Line], dropped: int, system: str) -> Message:
    """The message about these changes, the most urgent first."""
    order: dict[Change, int] = {"raised": 0, "over": 1, "resolved": 2}
    ordered = sorted(lines, key=lambda line: (order[line.change], -URGENCY[line.alert.severity], line.alert.since_ns))
    more = [f"and {len(lines) - LINES_MAX} more: observer show alerts"] if len(lines) > LINES_MAX else []
    lost = [f"{dropped} alerts had no room here: observer show alerts"] if dropped else []
    body = "\n".join([*map(_line_text, ordered[:LINES_MAX]), *more, *lost])
    raised: list[Severity] = [line.alert.severity for line in lines if line.change == "raised"]
    severity: Severity = max(raised, key=URGENCY.__getitem__) if raised else "info"
    return Message(f"Observer {system}: {_counts_text(lines)}", body, severity, tuple(ordered))


def trial_message(target: str, system: str) -> Message:
    """The message of `observer alerts test`."""
    text = "This is a test by `observer alerts test`. Nothing is wrong."
    return Message(f"Observer {system}: test of target {target}", text, "info")


def _counts_text(lines: Iterable[Line]) -> str:
    counts = Counter(f"new {each.alert.severity}" if each.change == "raised" else each.change for each in lines)
    words = {"new critical": "new critical", "new warning": "new warning", "over": "past", "resolved": "resolved"}
    return ", ".join(f"{counts[name]} {word}" for name, word in words.items() if counts[name])


def _line_text(line: Line) -> str:
    alert = line.alert
    name = f"{alert.process}: {alert.identity}"
    since = f"{local_datetime(alert.since_ns):%m-%d %H:%M:%S}"
    if line.change == "raised":
        return f"{alert.severity.upper()} {name}: {alert.text} (since {since})"
    ended = f"{local_datetime(line.tracked.ended_ns or alert.since_ns):%m-%d %H:%M:%S}"
    if line.change == "resolved":
        return f"resolved {name} (open {since} to {ended})"
    return f"past {alert.severity} {name}: {alert.text} (open {since} to {ended})"
