"""The alerts that end with the day's stream."""

from collections.abc import Iterable
from typing import Final

from observer.alerts.process import Alerts
from observer.calendar.phases import DayPlan
from observer.selection.market_stops import MarketStop
from observer.streaming.halt_poller import HALTS_UNKNOWN
from observer.streaming.receiver import NOT_STREAMED
from observer.streaming.stream_monitor import STREAM
from observer.streaming.unreadable import QUARANTINE_FULL, QUARANTINE_UNCOUNTED, UNREADABLE

OVERFLOW: Final = "overflow"
MARKET_STOPPED: Final = "market_stopped:"
"""How the identity of an alert begins that the exchange has stopped a market."""
_OF_THE_STREAM: Final = (
    *(STREAM, NOT_STREAMED, "load_relief", OVERFLOW, "stale_subscriptions", "repeated_trades"),
    *(MARKET_STOPPED, UNREADABLE, QUARANTINE_FULL, QUARANTINE_UNCOUNTED, HALTS_UNKNOWN),
)
"""Identities, or how they begin."""


def report_market_stops(alerts: Alerts, running: Iterable[MarketStop]) -> None:
    """Report each stop of a market once, and resolve those that are over."""
    stopped = {f"{MARKET_STOPPED}{stop.name}": stop for stop in running}
    for identity, stop in stopped.items():
        if identity not in alerts.identities:
            text = f"{stop.name}: the exchange has stopped all trading ({stop.notice}); slots and subscriptions stay"
            alerts.report(identity, "warning", text)
    alerts.resolve_all(MARKET_STOPPED, "the market trades again, or has closed", stopped.keys())


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
