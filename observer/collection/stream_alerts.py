"""The alerts that end with the day's stream."""

from collections.abc import Iterable, Mapping
from typing import Final

from observer.base.units import NS_PER_S
from observer.calendar.phases import DayPlan
from observer.collection.halt_poller import HALTS_UNKNOWN
from observer.collection.receiver import NOT_STREAMED
from observer.collection.stream_monitor import STREAM
from observer.collection.unreadable import QUARANTINE_FULL, QUARANTINE_UNCOUNTED, UNREADABLE
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS
from observer.selection.market_stops import MarketStop

OVERFLOW: Final = "overflow"
MARKET_STOPPED: Final = "market_stopped:"
"""How the identity of an alert begins that the exchange has stopped a market."""
HELD_BACK: Final = "subscriptions_held_back:"
"""How the identity of an alert begins that changes of an account's subscriptions wait."""
_HELD_BACK_S: Final = 900  # in ten minutes all lines of an account are replaced, as when a venue opens
_OF_THE_STREAM: Final = (
    *(STREAM, NOT_STREAMED, "load_relief", OVERFLOW, "stale_subscriptions", "repeated_trades"),
    *(MARKET_STOPPED, HELD_BACK, UNREADABLE, QUARANTINE_FULL, QUARANTINE_UNCOUNTED, HALTS_UNKNOWN),
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


def report_held_back(alerts: Alerts, held_back_since_ns: Mapping[str, int | None], now_ns: int) -> None:
    """State how long changes of each account's subscriptions wait for the bound of changes a minute; more than a
    quarter of an hour is an alert, which ends when all is as wanted.
    """
    for account, since_ns in held_back_since_ns.items():
        identity = f"{HELD_BACK}{account}"
        waits_s = 0.0 if since_ns is None else (now_ns - since_ns) / NS_PER_S
        COUNTERS.set("observer_subscription_changes_held_back_seconds", account, to=waits_s)
        if since_ns is None:
            alerts.resolve(identity, f"the subscriptions of account {account} are as wanted")
        elif waits_s > _HELD_BACK_S:
            text = f"account {account}: changes_per_minute has held subscriptions back for {waits_s / 60:.0f} minutes"
            alerts.report(identity, "warning", text)


def resolve_stream_alerts(alerts: Alerts) -> None:
    for prefix in _OF_THE_STREAM:
        alerts.resolve_all(prefix, "the day's stream has ended")


def resolve_earlier_alerts(alerts: Alerts, plan: DayPlan, now_ns: int) -> None:
    """Resolve what an earlier day's stream left open, where the system was off at that day's close. Within this day's
    stream the alerts may be those of an earlier process of this day.
    """
    if not plan.trades or now_ns < plan.stream_connect_ns:
        resolve_stream_alerts(alerts)
