"""The alerts that end with the day's stream."""

from typing import Final

from observer.alerts.process import Alerts
from observer.calendar.phases import DayPlan
from observer.streaming.halt_poller import HALTS_UNKNOWN
from observer.streaming.receiver import NOT_STREAMED
from observer.streaming.stream_monitor import STREAM
from observer.streaming.unreadable import QUARANTINE_FULL, QUARANTINE_UNCOUNTED, UNREADABLE

OVERFLOW: Final = "overflow"
_OF_THE_STREAM: Final = (
    *(STREAM, NOT_STREAMED, "load_relief", OVERFLOW, "stale_subscriptions", "repeated_trades"),
    *(UNREADABLE, QUARANTINE_FULL, QUARANTINE_UNCOUNTED, HALTS_UNKNOWN),
)
"""Identities, or how they begin."""


def resolve_stream_alerts(alerts: Alerts) -> None:
    """Resolve the alerts of a stream that has ended."""
    for prefix in _OF_THE_STREAM:
        alerts.resolve_all(prefix, "the day's stream has ended")


def resolve_earlier_alerts(alerts: Alerts, plan: DayPlan, now_ns: int) -> None:
    """Resolve what an earlier day's stream left open, where the system was off at that day's close. Within this day's
    stream the alerts may be those of an earlier process of this day.
    """
    if not plan.trades or now_ns < plan.stream_connect_ns:
        resolve_stream_alerts(alerts)
