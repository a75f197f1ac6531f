"""What the exporter counts of the feed: events whose figures no process counts itself. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

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

_COUNTED: Final[Mapping[type[Fact], Callable[[Any], tuple[str, ...]]]] = {
    AlertRaised: lambda event: ("observer_alerts_raised_total", event.severity),
    ConnectionChanged: lambda event: ("observer_stream_connection_changes_total", event.account, event.state),
    GapDetected: lambda _: ("observer_gaps_total", "detected"),
    GapEmpty: lambda _: ("observer_gaps_total", "empty"),
    GapOpened: lambda _: ("observer_gaps_total", "opened"),
    GapRecovered: lambda event: ("observer_gaps_total", "recovered" if event.complete else "recovered_in_part"),
    GapUnrecoverable: lambda _: ("observer_gaps_total", "unrecoverable"),
    MasterFileChecked: lambda event: ("observer_master_file_checks_total", event.exchange, event.outcome),
    SlotAssigned: lambda _: ("observer_slot_changes_total", "assigned"),
    SlotOverflowed: lambda _: ("observer_slot_changes_total", "refused"),
    SlotReleased: lambda _: ("observer_slot_changes_total", "released"),
    TokenRenewed: lambda event: (
        "observer_token_renewals_total", event.account, "succeeded" if event.succeeded else "failed",
    ),
    TriggerFired: lambda event: ("observer_triggers_fired_total", event.kind),
}  # fmt: skip
"""The counter of each kind, and its labels."""

_PUBLISHED: Final[Mapping[type[Fact], str]] = {
    AttentionCompleted: "completed_ns",
    ConnectionChanged: "changed_ns",
    PhaseChanged: "changed_ns",
    SlotOverflowed: "overflowed_ns",
    SweepCompleted: "completed_ns",
    TokenRenewed: "renewed_ns",
    TriggerFired: "fired_ns",
}
"""The field with the moment of the publication, of kinds that have one."""

KINDS: Final = tuple({**_COUNTED, **_PUBLISHED, GapTimesMeasured: "", ProcessChanged: "", TapeProgressed: ""})
"""Kinds with few events: the host must not read every trade."""

_OF_A_DAY: Final = (
    "observer_gap_seconds",
    "observer_gap_in_time_ratio",
    "observer_tape_lines",
    "observer_tape_calls",
    "observer_tape_held_ratio",
    "observer_tape_left_seconds",
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
        counters = self._counters
        if (counted := _COUNTED.get(type(event))) is not None:
            counters.add(*counted(event))
        match event:
            case PhaseChanged():
                if self._day not in (None, event.session_date):
                    for metric in _OF_A_DAY:
                        counters.forget_all(metric)
                self._day = event.session_date
            case ProcessChanged() if event.process == self._streams_owner and event.current != _RUNNING:
                counters.forget_all(STREAM_CONNECTED)
            case ConnectionChanged():
                counters.set(STREAM_CONNECTED, event.account, to=event.state == "connected")
            case GapTimesMeasured():
                times = {"0.5": event.p50_s, "0.95": event.p95_s, "0.99": event.p99_s, "1": event.max_s}
                for quantile, value_s in times.items():
                    counters.set("observer_gap_seconds", event.measure, quantile, to=value_s)
                if event.gaps:
                    counters.set("observer_gap_in_time_ratio", event.measure, to=event.met / event.gaps)
            case TapeProgressed():
                _set_tape(event, counters)
            case MasterFileChecked() if event.records:  # the file was downloaded and read
                counters.set("observer_master_file_listings", event.exchange, to=event.records)
                counters.set("observer_master_file_bytes", event.exchange, to=event.size_bytes)
                readable = event.records / (event.records + event.quarantined)
                counters.set("observer_master_file_readable_ratio", event.exchange, to=readable)
        if field := _PUBLISHED.get(type(event)):
            counters.set("observer_feed_lag_seconds", to=max(0.0, (now_ns - getattr(event, field)) / NS_PER_S))


def _set_tape(event: TapeProgressed, counters: Counters) -> None:
    counters.set("observer_tape_lines", "complete", to=event.complete_lines)
    counters.set("observer_tape_lines", "incomplete", to=event.lines - event.complete_lines)
    counters.set("observer_tape_calls", to=event.calls)
    if event.day_volume:
        counters.set("observer_tape_held_ratio", to=event.held_volume / event.day_volume)
    counters.forget("observer_tape_left_seconds")
    if event.seconds_left is not None:
        counters.set("observer_tape_left_seconds", to=event.seconds_left)
