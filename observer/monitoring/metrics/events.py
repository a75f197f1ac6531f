"""What the exporter counts of the feed: events whose figures no process counts itself. Pure."""

from typing import Final

from bus.events import (
    AlertRaised,
    AttentionCompleted,
    ConnectionChanged,
    Event,
    Fact,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapRecovered,
    GapTimesMeasured,
    GapUnrecoverable,
    MasterFileChecked,
    PhaseChanged,
    ProcessChanged,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    SweepCompleted,
    TapeProgressed,
    TokenRenewed,
    TriggerFired,
)
from observer.base.units import NS_PER_S
from observer.monitoring.metrics.counters import Counters

STREAM_CONNECTED: Final = "observer_stream_connected"
_RUNNING: Final = "RUNNING"

KINDS: Final[tuple[type[Fact], ...]] = (
    *(AlertRaised, ConnectionChanged, TokenRenewed, PhaseChanged, ProcessChanged),
    *(SweepCompleted, AttentionCompleted, TriggerFired, SlotAssigned, SlotReleased, SlotOverflowed),
    *(GapOpened, GapEmpty, GapDetected, GapRecovered, GapUnrecoverable, GapTimesMeasured),
    *(TapeProgressed, MasterFileChecked),
)
"""Kinds with few events: the host must not read every trade."""


_OF_A_DAY: Final = (
    *("observer_gap_seconds", "observer_gap_in_time_ratio", "observer_tape_lines", "observer_tape_calls"),
    *("observer_tape_held_ratio", "observer_tape_left_seconds"),
)


class FeedFigures:
    """Counts events of the feed. What is known of a day is forgotten when the next one begins, and what is known of the
    streams when their process, `streams_owner`, does not run.
    """

    def __init__(self, counters: Counters, streams_owner: str) -> None:
        self._counters = counters
        self._streams_owner = streams_owner
        self._day: str | None = None

    def count(self, event: Event, now_ns: int) -> None:
        """Count an event that arrived now, in market time."""
        match event:
            case PhaseChanged():
                if self._day not in (None, event.session_date):
                    for metric in _OF_A_DAY:
                        self._counters.forget_all(metric)
                self._day = event.session_date
            case ProcessChanged() if event.process == self._streams_owner and event.current != _RUNNING:
                self._counters.forget_all(STREAM_CONNECTED)
        _count(event, self._counters, now_ns)


def _count(event: Event, counters: Counters, now_ns: int) -> None:
    _count_gap(event, counters)
    match event:
        case AlertRaised():
            counters.add("observer_alerts_raised_total", event.severity)
        case ConnectionChanged():
            counters.add("observer_stream_connection_changes_total", event.account, event.state)
            counters.set(STREAM_CONNECTED, event.account, to=event.state == "connected")
        case TokenRenewed():
            outcome = "succeeded" if event.succeeded else "failed"
            counters.add("observer_token_renewals_total", event.account, outcome)
        case TriggerFired():
            counters.add("observer_triggers_fired_total", event.kind)
        case SlotAssigned():
            counters.add("observer_slot_changes_total", "assigned")
        case SlotReleased():
            counters.add("observer_slot_changes_total", "released")
        case SlotOverflowed():
            counters.add("observer_slot_changes_total", "refused")
        case TapeProgressed():
            _count_tape(event, counters)
        case MasterFileChecked():
            _count_file(event, counters)
    if (published_ns := _published_ns(event)) is not None:
        counters.set("observer_feed_lag_seconds", to=max(0.0, (now_ns - published_ns) / NS_PER_S))


def _count_gap(event: Event, counters: Counters) -> None:
    outcome = ""
    match event:
        case GapOpened():
            outcome = "opened"
        case GapEmpty():
            outcome = "empty"
        case GapDetected():
            outcome = "detected"
        case GapRecovered():
            outcome = "recovered" if event.complete else "recovered_in_part"
        case GapUnrecoverable():
            outcome = "unrecoverable"
        case GapTimesMeasured():
            times = {"0.5": event.p50_s, "0.95": event.p95_s, "0.99": event.p99_s, "1": event.max_s}
            for quantile, value_s in times.items():
                counters.set("observer_gap_seconds", event.measure, quantile, to=value_s)
            if event.gaps:
                counters.set("observer_gap_in_time_ratio", event.measure, to=event.met / event.gaps)
    if outcome:
        counters.add("observer_gaps_total", outcome)


def _count_tape(event: TapeProgressed, counters: Counters) -> None:
    counters.set("observer_tape_lines", "complete", to=event.complete_lines)
    counters.set("observer_tape_lines", "incomplete", to=event.lines - event.complete_lines)
    counters.set("observer_tape_calls", to=event.calls)
    if event.day_volume:
        counters.set("observer_tape_held_ratio", to=event.held_volume / event.day_volume)
    counters.forget("observer_tape_left_seconds")
    if event.seconds_left is not None:
        counters.set("observer_tape_left_seconds", to=event.seconds_left)


def _count_file(event: MasterFileChecked, counters: Counters) -> None:
    counters.add("observer_master_file_checks_total", event.exchange, event.outcome)
    if event.records:  # the file was downloaded and read
        counters.set("observer_master_file_listings", event.exchange, to=event.records)
        counters.set("observer_master_file_bytes", event.exchange, to=event.size_bytes)
        readable = event.records / (event.records + event.quarantined)
        counters.set("observer_master_file_readable_ratio", event.exchange, to=readable)


def _published_ns(event: Event) -> int | None:
    """When the event was published, where it states that moment."""
    match event:
        case AttentionCompleted() | SweepCompleted():
            return event.completed_ns
        case PhaseChanged() | ConnectionChanged():
            return event.changed_ns
        case TriggerFired():
            return event.fired_ns
        case SlotOverflowed():
            return event.overflowed_ns
        case TokenRenewed():
            return event.renewed_ns
        case _:
            return None
