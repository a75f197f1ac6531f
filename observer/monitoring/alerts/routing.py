"""Which message about alerts a target outside this machine gets next. Pure.

The state of a target is the list of the alerts that it has, or has to get. A message is the difference between that
list and the open alerts, so what comes while no message may be sent is in the next one, once: nothing is lost by quiet
hours, by the limit of messages, or by a target that refuses. Times are UTC nanoseconds, those of alerts of market time,
all others of machine time.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal

import msgspec

from bus.commands import ProcessAlert
from bus.events import Severity
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.decisions import SENT_MAX, URGENCY
from observer.monitoring.alerts.settings import AlertSettings, AlertTarget

GATHER_NS: Final = 2 * NS_PER_S  # an alert waits so long for others of the same cause, which share its message
FIRST_RETRY_NS: Final = 10 * NS_PER_S  # after a failed delivery; doubles
LONGEST_RETRY_NS: Final = 1_800 * NS_PER_S
CRITICAL_RETRY_NS: Final = 60 * NS_PER_S  # the longest while the target does not know a critical alert
TRACKED_MAX: Final = 300  # alerts of a target that accepts nothing
LINES_MAX: Final = 20  # of a message
TEXT_LENGTH_MAX: Final = 300  # of an alert in a message
HOUR_NS: Final = 3_600 * NS_PER_S

Change = Literal["raised", "resolved", "over"]


class Tracked(msgspec.Struct, frozen=True):
    """An alert of one target: `seen_ns` when it was first seen, `gone_ns` when it was first seen no more (None: it is
    open), `ended_ns` the market time of that; `sent` the severity that the target knows, None while it knows nothing.
    """

    process: str
    identity: str
    severity: Severity
    since_ns: int
    text: str
    seen_ns: int
    sent: Severity | None = None
    gone_ns: int | None = None
    ended_ns: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Its process and its identity."""
        return self.process, self.identity


class TargetState(msgspec.Struct, frozen=True):
    """The alerts of a target, the times of the last hour's messages, and its failures in a row since `failing_ns`.
    `dropped` counts alerts without room; `reached` are the digests of URLs that have what this state's URL lacks.
    """

    tracked: tuple[Tracked, ...] = ()
    messages_ns: tuple[int, ...] = ()
    failures: int = 0
    next_attempt_ns: int = 0
    dropped: int = 0
    reached: tuple[str, ...] = ()


class Line(msgspec.Struct, frozen=True):
    """One change in a message, of the alert as it was then."""

    change: Change
    alert: Tracked


class Message(msgspec.Struct, frozen=True):
    """What a target gets; `severity` is the highest of its raised alerts, "info" without any."""

    title: str
    body: str
    severity: Severity
    lines: tuple[Line, ...] = ()


def after_look(
    state: TargetState,
    open_alerts: Sequence[ProcessAlert],
    target: AlertTarget,
    settings: AlertSettings,
    *,
    now_ns: int,
    market_ns: int,
    besides: Collection[str] = (),
) -> TargetState:
    """The state after one look at the open alerts; those with an identity of `besides` do not concern the target.

    A silenced alert is not new. Of a process whose heartbeat is full, an absent alert may be one without room.
    """
    found = {(each.process, each.identity): each for each in open_alerts if each.identity not in besides}
    counts = Counter(each.process for each in open_alerts)
    known = {each.key for each in state.tracked}
    kept: list[Tracked] = []
    for each in state.tracked:
        now = found.get(each.key)
        if now is not None:
            kept.append(_still_open(each, now))
        elif counts[each.process] >= SENT_MAX or each.gone_ns is not None:
            kept.append(each)
        else:
            kept.append(msgspec.structs.replace(each, gone_ns=now_ns, ended_ns=market_ns))
    for key, new in found.items():
        if key not in known and new.silenced_until_ns is None and _concerns(new.severity, target):
            text = new.text[:TEXT_LENGTH_MAX]
            kept.append(Tracked(new.process, new.identity, new.severity, new.since_ns, text, now_ns))
    if not target.resolved:
        kept = [each for each in kept if each.sent is None or not _is_calm(each, settings, now_ns)]
    recent = tuple(at_ns for at_ns in state.messages_ns if now_ns - HOUR_NS < at_ns <= now_ns)
    state = _bounded(msgspec.structs.replace(state, messages_ns=recent), kept)
    # A critical alert may be new, and the machine's clock may be set back.
    next_attempt_ns = min(state.next_attempt_ns, now_ns + _longest_retry_ns(state))
    return msgspec.structs.replace(state, next_attempt_ns=next_attempt_ns)


def _longest_retry_ns(state: TargetState) -> int:
    is_urgent = any(each.severity == "critical" != each.sent for each in state.tracked)
    return CRITICAL_RETRY_NS if is_urgent else LONGEST_RETRY_NS


def _still_open(tracked: Tracked, now: ProcessAlert) -> Tracked:
    """The open alert with its highest severity; its newest text, as long as the target has to get it."""
    severity = max(tracked.severity, now.severity, key=URGENCY.__getitem__)
    text = tracked.text if tracked.sent == severity else now.text[:TEXT_LENGTH_MAX]
    if (severity, text, None) == (tracked.severity, tracked.text, tracked.gone_ns):
        return tracked
    return msgspec.structs.replace(tracked, severity=severity, text=text, gone_ns=None, ended_ns=None)


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
        and (not is_quiet or each.severity == "critical")
    ]
    if not lines or all(line.change == "raised" and 0 <= now_ns - line.alert.seen_ns < GATHER_NS for line in lines):
        return None
    is_critical = any(line.change == "raised" and line.alert.severity == "critical" for line in lines)
    messages_max = settings.messages_per_hour if is_critical else settings.messages_per_hour * 3 // 4
    if sum(now_ns - HOUR_NS < at_ns <= now_ns for at_ns in state.messages_ns) >= messages_max:
        return None
    return message_of(lines, state.dropped, system)


def _change_of(tracked: Tracked, target: AlertTarget, settings: AlertSettings, now_ns: int) -> Change | None:
    if tracked.gone_ns is None:
        is_news = tracked.sent is None or URGENCY[tracked.severity] > URGENCY[tracked.sent]
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


def _concerns(severity: Severity, target: AlertTarget) -> bool:
    return URGENCY[severity] >= URGENCY[target.severity]


def after_delivery(state: TargetState, message: Message, now_ns: int) -> TargetState:
    """The state after the target accepted the message."""
    carried = {line.alert.key: line for line in message.lines}
    kept = []
    for each in state.tracked:
        line = carried.get(each.key)
        if line is None:
            kept.append(each)
        elif line.change == "raised":
            kept.append(msgspec.structs.replace(each, sent=line.alert.severity))
        elif each.gone_ns is None:  # it has come back meanwhile: it is another one
            kept.append(msgspec.structs.replace(each, sent=None, seen_ns=now_ns))
    return TargetState(tuple(kept), (*state.messages_ns, now_ns), reached=state.reached)


def after_failure(state: TargetState, now_ns: int) -> TargetState:
    """The state after a failed delivery: the next attempt waits, each time twice as long up to a limit, which is
    CRITICAL_RETRY_NS while the target does not know a critical alert.
    """
    wait_ns = min(FIRST_RETRY_NS * 2 ** min(state.failures, 20), _longest_retry_ns(state))
    return msgspec.structs.replace(state, failures=state.failures + 1, next_attempt_ns=now_ns + wait_ns)


def lacking_both(state: TargetState, other: TargetState) -> TargetState:
    """The first state, as that of a URL that also lacks what the other lacks."""
    others = {each.key: each for each in other.tracked}
    tracked = [min(each, others.pop(each.key, each), key=_known_urgency) for each in state.tracked]
    reached = tuple(each for each in state.reached if each in other.reached)
    return msgspec.structs.replace(state, tracked=(*tracked, *others.values()), reached=reached)


def _known_urgency(tracked: Tracked) -> int:
    return -1 if tracked.sent is None else URGENCY[tracked.sent]


def knows_the_same(state: TargetState, other: TargetState) -> bool:
    """Whether two URLs of a target have got the same of the same alerts, and none of them fails."""
    known, others = ({each.key: each.sent for each in found.tracked} for found in (state, other))
    return known == others and not state.failures and not other.failures


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
    ended = f"{local_datetime(alert.ended_ns or alert.since_ns):%m-%d %H:%M:%S}"
    if line.change == "resolved":
        return f"resolved {name} (open {since} to {ended})"
    return f"past {alert.severity} {name}: {alert.text} (open {since} to {ended})"
