"""All open alerts of a system: those in the processes' heartbeats and the host's own, with silences, as log lines."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from bus.commands import Done, OpenAlert, OrderReply, Refused, SilenceAlert
from observer.base.clock import Clock
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.decisions import (
    Conditions,
    after_time,
    full_processes,
    history_text,
    key_of,
    sent_alerts,
)
from observer.monitoring.alerts.process import DAMAGES, LEVELS, Alerts
from observer.monitoring.alerts.silences import Silences, silenced_text

_POLL_S: Final = 0.5  # machine seconds; a heartbeat comes each second

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # whatever the level of the log: alerts are for the operator

AlertsByKey = Mapping[tuple[str, str], OpenAlert]


class News(msgspec.Struct, frozen=True):
    """What to print: raised alerts (also with another severity), and alerts that are not open any more; `printed` are
    those that a later end concerns.
    """

    printed: AlertsByKey
    raised: Sequence[OpenAlert]
    resolved: Sequence[OpenAlert]


def news_of(printed: AlertsByKey, now: Sequence[OpenAlert]) -> News:
    """The difference between the printed alerts and the open ones. A silenced alert is not printed; of a process
    whose heartbeat is full, an absent alert may be one that had no room.
    """
    current = {key_of(each): each for each in now if each.silenced_until_ns is None}
    open_now, full = set(map(key_of, now)), full_processes(now)
    gone = [each for key, each in printed.items() if key not in open_now and each.process not in full]
    kept = {key: each for key, each in printed.items() if each not in gone}
    raised = [each for key, each in current.items() if key not in kept or kept[key].severity != each.severity]
    return News({**kept, **current}, raised, gone)


class SystemAlerts:
    """The open alerts of all processes.

    Args:
        own: the host's alerts, which write log lines themselves.
        silences: of the system.
        clock: market time.
        children: returns the open alerts of each process's last heartbeat; None of one that has sent none yet.
        kept: what the processes of an earlier system left open, by name: open until such a process sends a heartbeat.
    """

    def __init__(
        self,
        own: Alerts,
        silences: Silences,
        clock: Clock,
        children: Callable[[], Mapping[str, Sequence[OpenAlert] | None]],
        kept: Mapping[str, Conditions] = MappingProxyType({}),
    ) -> None:
        self._own = own
        self._silences = silences
        self._clock = clock
        self._children = children
        self._kept = dict(kept)

    def all(self) -> list[OpenAlert]:
        """Every open alert of severity warning and above, the host's last; of damage that several met one."""
        now_ns = self._clock.now_ns()
        silenced = self._silences.until(now_ns)
        children = self._children()
        self.forget(name for name, alerts in children.items() if alerts is not None)
        by_process = {
            name: self._left_by(name, now_ns) if alerts is None else alerts for name, alerts in children.items()
        }
        by_process[self._own.source] = self._own.open
        found = [
            msgspec.structs.replace(alert, process=name, silenced_until_ns=silenced.get(alert.identity))
            for name, alerts in by_process.items()
            for alert in alerts
        ]
        first = {alert.identity: alert for alert in reversed(found)}
        return [alert for alert in found if alert.identity not in DAMAGES or alert is first[alert.identity]]

    def forget(self, names: Iterable[str]) -> None:
        """Take what these processes left open in an earlier system for over: a later child of such a name has none."""
        for name in names:
            self._kept.pop(name, None)

    def _left_by(self, name: str, now_ns: int) -> Sequence[OpenAlert]:
        return sent_alerts(after_time(self._kept.get(name, {}), now_ns, name).conditions)

    def silence(self, order: SilenceAlert) -> OrderReply:
        """Silence an open alert, or end its silence."""
        identities = sorted({each.identity for each in self.all()})
        if order.identity not in identities:
            names = f"; open are {', '.join(identities)}" if identities else ": none is open"
            return Refused("unknown_alert", f"no open alert is named {order.identity!r}{names}")
        now_ns = self._clock.now_ns()
        try:
            self._silences.silence(order.identity, now_ns + round(order.for_s * NS_PER_S), now_ns)
        except OSError as error:
            return Refused("failed", f"the silence is not kept: {error}")
        return Done(self._own.source, silenced_text(order.identity, order.for_s))

    async def announce(self) -> None:
        """Write a log line when a process raises or resolves an alert, and the host's due counts, until cancelled."""
        printed: AlertsByKey = {}
        while True:
            self._own.tick()
            others = [each for each in self.all() if each.process != self._own.source]
            news = news_of(printed, others)
            printed = news.printed
            for each in news.raised:
                _print(LEVELS[each.severity], each, each.text)
            for each in news.resolved:
                _print(logging.INFO, each, resolved_text(each, self._clock.now_ns()))
            await asyncio.sleep(_POLL_S)


def resolved_text(alert: OpenAlert, now_ns: int) -> str:
    """The line for an alert that is not open any more: without its text, which states an alarm."""
    return f"resolved ({history_text(alert.since_ns, now_ns, alert.count)})"


def _print(level: int, alert: OpenAlert, text: str) -> None:
    """Write the line in the name of the alert's process."""
    logger.log(level, "%s: %s", alert.identity, text, extra={"process_name": alert.process})
