"""Delivers messages about alerts to targets outside this machine, beside everything else of the host process.

It reads the open alerts as the processes' heartbeats carry them, so it needs neither the database nor the writer. Each
message is sent by a process of its own. A failed delivery is an alert of the host, and is tried again.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from bus.commands import OpenAlert
from observer.base.clock import Clock
from observer.base.errors import MissingKeysError
from observer.base.state_file import StateFile
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.alerts.routing import (
    Message,
    TargetState,
    after_delivery,
    after_failure,
    after_look,
    due_message,
)
from observer.monitoring.alerts.sending import Parcel, Result, deliver, result_text
from observer.monitoring.alerts.settings import AlertSettings, AlertTarget
from observer.monitoring.alerts.targets import url_of

UNDELIVERED: Final = "alerts_undelivered:"
FOLDER: Final = "alert_targets"  # in the runtime directory: the state of each target
STOP_S: Final = 3.0  # machine seconds at an orderly stop for what is being sent
_POLL_S: Final = 0.5  # machine seconds; a heartbeat comes each second

logger = logging.getLogger(__name__)


class DeliveryParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the delivery works with.

    Args:
        open_alerts: returns the open alerts of all processes.
        own: the host's alerts, which get the failures.
        runtime: the runtime directory, which exists when the delivery runs.
        market: market time, for the times in messages and for quiet hours.
        machine: machine time, for waits and limits.
        system: names the system in messages.
        variables: returns those that a sending process gets beside its own.
    """

    open_alerts: Callable[[], Sequence[OpenAlert]]
    own: Alerts
    runtime: Path
    market: Clock
    machine: Clock
    system: str
    variables: Callable[[], Mapping[str, str]] = dict


class AlertDelivery:
    """The messages of one system to all its targets."""

    def __init__(self, settings: AlertSettings, parts: DeliveryParts) -> None:
        self.settings = settings
        self._parts = parts
        self._own = parts.own
        self._states: dict[str, TargetState] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._faulty: set[str] = set()  # targets for which the last look failed

    async def run(self) -> None:
        """Deliver until cancelled; then give what is being sent STOP_S machine seconds."""
        try:
            while True:
                self.look()
                await asyncio.sleep(_POLL_S)
        finally:
            if self._sending:
                await asyncio.wait(self._sending.values(), timeout=STOP_S)
            for task in self._sending.values():
                task.cancel()
            await asyncio.gather(*self._sending.values(), return_exceptions=True)

    def adopt(self, settings: AlertSettings) -> None:
        """Take the settings of a reload; what was not accepted is sent again at once."""
        self.settings = settings
        for name, state in self._states.items():
            self._states[name] = msgspec.structs.replace(state, next_attempt_ns=0)

    def look(self) -> None:
        """Take the open alerts, and begin to send what is due; an error concerns one target and one look."""
        configured = {UNDELIVERED + name for name in self.settings.targets}
        self._own.resolve_all(UNDELIVERED, "it is no target of the configuration", configured)
        for name, target in self.settings.targets.items():
            try:
                self._look_for(name, target)
            except Exception:
                if name not in self._faulty:  # not twice a second
                    logger.exception("what target %s has to get cannot be found; each look tries it again", name)
                self._faulty.add(name)
                text = f"target {name} gets no alerts: an error of the host process, see its log"
                self._own.report(UNDELIVERED + name, "warning", text)
            else:
                if name in self._faulty and not self._states[name].failures:
                    self._resolve(name)
                self._faulty.discard(name)

    def _look_for(self, name: str, target: AlertTarget) -> None:
        times = {"now_ns": self._parts.machine.now_ns(), "market_ns": self._parts.market.now_ns()}
        state = self._states[name] if name in self._states else self._file(name).read() or TargetState()
        alerts = [each for each in self._parts.open_alerts() if each.identity != UNDELIVERED + name]
        state = after_look(state, alerts, target, self.settings, **times)
        self._keep(name, state)
        message = due_message(state, target, self.settings, system=self._parts.system, **times)
        if message is not None and name not in self._sending:
            self._sending[name] = asyncio.create_task(self._send(name, message))
            self._sending[name].add_done_callback(lambda _: self._sending.pop(name))

    async def _send(self, name: str, message: Message) -> None:
        try:
            result = await result_of(name, message, self.settings, self._parts.variables())
            failure = "" if result.outcome == "sent" else result_text(result, self.settings.timeout_s)
        except MissingKeysError as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 - its text may have the URL
            failure = result_text(Result("failed"), self.settings.timeout_s)
            logger.warning("target %s: %s with %s", name, failure, type(error).__name__)
        now_ns = self._parts.machine.now_ns()
        if not failure:
            self._keep(name, after_delivery(self._states[name], message, now_ns))
            self._resolve(name)
            return
        self._keep(name, state := after_failure(self._states[name], now_ns))
        wait_s = (state.next_attempt_ns - now_ns) / NS_PER_S
        text = f"target {name} gets no alerts: {failure}; tried again in {wait_s:.0f} s (`observer alerts test`)"
        self._own.report(UNDELIVERED + name, "warning", text)

    def _resolve(self, name: str) -> None:
        self._own.resolve(UNDELIVERED + name, f"target {name} gets alerts again")

    def _file(self, name: str) -> StateFile[TargetState]:
        return StateFile(self._parts.runtime / FOLDER / f"{name}.json", TargetState, survives_power_failure=False)

    def _keep(self, name: str, state: TargetState) -> None:
        if state == self._states.get(name):
            return
        self._states[name] = state
        try:
            self._file(name).write(state)
        except (OSError, ValueError) as error:  # a full disk is itself an alert; the state in memory is whole
            logger.warning("what target %s has got is not kept for the next start: %s", name, error)


async def result_of(
    target: str, message: Message, settings: AlertSettings, variables: Mapping[str, str] = MappingProxyType({})
) -> Result:
    """Send one message to a target now, by a process with these variables.

    Raises:
        MissingKeysError: the target has no URL, or others may read the file; names the remedy.
    """
    parcel = Parcel(url_of(target, settings), message.title, message.body, message.severity)
    return await deliver(parcel, settings.timeout_s, variables)


def system_name(instance: str) -> str:
    """The name of a system in messages: its instance and its machine."""
    return f"{instance}@{socket.gethostname()}"
