"""Delivers messages about alerts to targets outside this machine, beside everything else of the host process.

It reads the open alerts as the processes' heartbeats carry them, so it needs neither the database nor the writer. Each
message is sent by a process of its own. A failed delivery is an alert of the host, and is tried again.

A target may have several URLs. Where some of them accept a message and others do not, each of the others gets a state
of its own, TARGET.DIGEST, and its messages alone, until it has got what the target's other URLs have. Where the digest
is that of no URL of the target any more, as of a corrected one, each URL that may lack the same gets that state.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from bus.commands import ProcessAlert
from observer.base.clock import Clock
from observer.base.errors import MissingKeysError
from observer.base.files import make_private_folder, read_file
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.alerts.routing import (
    Message,
    TargetState,
    after_delivery,
    after_failure,
    after_look,
    due_message,
    knows_the_same,
    lacking_both,
)
from observer.monitoring.alerts.sending import Parcel, Result, deliver, failure_text
from observer.monitoring.alerts.settings import AlertSettings, AlertTarget
from observer.supervisor.mark import MARK_VARIABLE, own_mark
from observer.system.alert_targets import url_of

UNDELIVERED: Final = "alerts_undelivered:"
FOLDER: Final = "alert_targets"  # in the runtime directory: the state of each target
STOP_S: Final = 3.0  # machine seconds at an orderly stop for what is being sent
_SALT: Final = "salt"  # in the folder
_POLL_S: Final = 0.5  # machine seconds; a heartbeat comes each second

logger = logging.getLogger(__name__)
_decoder: Final = msgspec.json.Decoder(TargetState)


class AlertDelivery:
    """The messages of one system to all its targets.

    Args:
        settings: of the targets.
        open_alerts: returns the open alerts of all processes.
        own: the host's alerts, which get the failures.
        runtime: the runtime directory, which exists when the delivery runs.
        market: market time, for the times in messages and for quiet hours.
        machine: machine time, for waits and limits.
        system: names the system in messages.
    """

    def __init__(
        self,
        settings: AlertSettings,
        open_alerts: Callable[[], Sequence[ProcessAlert]],
        own: Alerts,
        runtime: Path,
        *,
        market: Clock,
        machine: Clock,
        system: str,
    ) -> None:
        self.settings = settings
        self._open_alerts = open_alerts
        self._own = own
        self._runtime = runtime
        self._folder = runtime / FOLDER
        self._market = market
        self._machine = machine
        self._system = system
        self._states: dict[str, TargetState] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._salt = ""  # until the first message
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
        self._end_dismissed()
        for key, target in [(key, each) for name, each in self.settings.targets.items() for key in self._keys(name)]:
            try:
                self._look_for(key, target)
            except Exception:
                if key not in self._faulty:  # not twice a second
                    logger.exception("what %s has to get cannot be found; each look tries it again", _said(key))
                self._faulty.add(key)
                text = f"{_said(key)} gets no alerts: an error of the host process, see its log"
                self._own.report(UNDELIVERED + key, "warning", text)
            else:
                self._end_fault(key)

    def _keys(self, name: str) -> Sequence[str]:
        """The names of a target's states: its own, and of its URLs that lack what the others have."""
        if name not in self._states:
            self._states[name] = self._kept(name)
            for path in self._folder.glob(f"{name}.*.json"):  # an earlier version wrote NAME.PLACE
                self._states[path.stem] = self._kept(path.stem)
        return [name, *(key for key in self._states if key.startswith(f"{name}."))]

    def _rejoin(self, name: str) -> None:
        """Send to those URLs again with the others that have got the same by now."""
        for key in self._keys(name)[1:]:
            is_still = not {name, key} & self._sending.keys()
            if is_still and knows_the_same(self._states[key], self._states[name]):
                self._forget(key)

    def _forget(self, key: str) -> None:
        del self._states[key]
        (self._folder / f"{key}.json").unlink(missing_ok=True)

    def _look_for(self, name: str, target: AlertTarget) -> None:
        state = after_look(
            self._states[name],
            self._open_alerts(),
            target,
            self.settings,
            now_ns=self._machine.now_ns(),
            market_ns=self._market.now_ns(),
            besides=(UNDELIVERED + name,),
        )
        self._adopt(name, state)
        if name not in self._sending and (message := self._due(target, state)) is not None:
            self._sending[name] = asyncio.create_task(self._send(name, message))
            self._sending[name].add_done_callback(partial(self._ended, name))

    def _end_fault(self, name: str) -> None:
        if name in self._faulty:
            self._faulty.remove(name)
            if not self._states[name].failures:
                self._own.resolve(UNDELIVERED + name, f"{_said(name)} gets alerts again")

    def _ended(self, key: str, _task: asyncio.Task[None]) -> None:
        self._sending.pop(key, None)
        self._rejoin(key.partition(".")[0])

    def _due(self, target: AlertTarget, state: TargetState) -> Message | None:
        return due_message(
            state,
            target,
            self.settings,
            now_ns=self._machine.now_ns(),
            market_ns=self._market.now_ns(),
            system=self._system,
        )

    async def _send(self, key: str, message: Message) -> None:
        name, _, only = key.partition(".")
        besides = [each.partition(".")[2] for each in self._keys(name)[1:]]
        try:
            mark = {MARK_VARIABLE: str(own_mark(self._runtime))}  # so that it does not outlive the system
            self._salt = self._kept_salt()
            send = partial(results_of, name, message, self.settings, mark, salt=self._salt)
            results = await send(only=only or None, besides=besides)
            if only and not results:  # it is no URL of the target any more
                results = await send(besides=self._states[key].reached)
                if all(each.digest for each in results):
                    self._hand_over(key, message, results)
                    return
            failure = failure_text(results, self.settings.timeout_s)
        except MissingKeysError as error:
            results, failure = [Result("failed")], str(error)
        except Exception as error:  # noqa: BLE001 - its text may have the URL
            results = [Result("failed")]
            failure = failure_text(results, self.settings.timeout_s)
            logger.warning("%s: %s with %s", _said(key), failure, type(error).__name__)
        failed = [each for each in results if each.outcome != "sent"]
        before, now_ns = self._states[key], self._machine.now_ns()
        if not failed or (not only and len(failed) < len(results)):
            self._adopt(key, after_delivery(before, message, now_ns))
            self._own.resolve(UNDELIVERED + key, f"{_said(key)} gets alerts again")
            reached = tuple(each.digest for each in results if each.outcome == "sent")
            for each in failed:
                lacking = self._lacking(f"{key}.{each.digest}", msgspec.structs.replace(before, reached=reached))
                text = failure_text([each], self.settings.timeout_s)
                self._fail(f"{key}.{each.digest}", each.number, lacking, text, now_ns)
        else:
            self._fail(key, failed[0].number if only else 0, before, failure, now_ns)

    def _hand_over(self, key: str, message: Message, results: Sequence[Result]) -> None:
        """Give the state of what is no URL any more to the URLs that the message was sent to instead."""
        before, now_ns = self._states[key], self._machine.now_ns()
        for each in results:
            to = f"{key.partition('.')[0]}.{each.digest}"
            lacking = self._lacking(to, before)
            if each.outcome == "sent":
                self._adopt(to, after_delivery(lacking, message, now_ns))
                self._own.resolve(UNDELIVERED + to, f"{_said(to)} gets alerts again")
            else:
                self._fail(to, each.number, lacking, failure_text([each], self.settings.timeout_s), now_ns)
        self._forget(key)
        self._own.resolve(UNDELIVERED + key, "it is no URL of the target any more")

    def _lacking(self, key: str, state: TargetState) -> TargetState:
        """The state of a URL that lacks what this state lacks, and what it lacked before."""
        return lacking_both(self._states[key], state) if key in self._states else state

    def _fail(self, key: str, number: int, before: TargetState, failure: str, now_ns: int) -> None:
        """Try it again later, and report it; `number` is the URL's place by now, 0 if it is not known."""
        self._adopt(key, state := after_failure(before, now_ns))
        wait_s = (state.next_attempt_ns - now_ns) / NS_PER_S
        text = f"{_said(key, number)} gets no alerts: {failure}; tried again in {wait_s:.0f} s (`observer alerts test`)"
        self._own.report(UNDELIVERED + key, "warning", text)

    def _end_dismissed(self) -> None:
        """End the alerts about targets that are not configured any more."""
        configured = {UNDELIVERED + key for name in self.settings.targets for key in self._keys(name)}
        self._own.resolve_all(UNDELIVERED, "it is no target of the configuration", configured)

    def _adopt(self, name: str, state: TargetState) -> None:
        if state == self._states.get(name):
            return
        self._states[name] = state
        self._write(f"{name}.json", msgspec.json.encode(state))

    def _write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:  # without waiting for the disk: a power failure may cost the file, a kill does not
            make_private_folder(self._folder)
            beside.write_bytes(content)
            beside.replace(path)
        except (OSError, ValueError) as error:  # a full disk is itself an alert; the state in memory is whole
            logger.warning("%s is not kept for the next start: %s", path, error)

    def _kept_salt(self) -> str:
        """The salt of the URLs' digests. With another one, each URL gets once more what one of them lacks."""
        try:
            return self._salt or read_file(self._folder / _SALT).decode()
        except (OSError, ValueError):
            self._write(_SALT, (salt := secrets.token_hex(16)).encode())
            return salt

    def _kept(self, name: str) -> TargetState:
        """The state that an earlier host kept; an empty one where the file is missing or damaged."""
        try:
            return _decoder.decode(read_file(self._folder / f"{name}.json"))
        except (OSError, ValueError, RecursionError):
            return TargetState()


def _said(key: str, number: int = 0) -> str:
    name, _, digest = key.partition(".")
    if not digest:
        return f"target {name}"
    return f"URL {number} of target {name}" if number else f"one URL of target {name}"


async def results_of(
    name: str,
    message: Message,
    settings: AlertSettings,
    variables: Mapping[str, str] = MappingProxyType({}),
    *,
    only: str | None = None,
    besides: Collection[str] = (),
    salt: str = "",
) -> Sequence[Result]:
    """Send one message to a target now, by a process with these variables: to all its URLs but those of `besides`, or
    to one. Returns the result of each.

    Raises:
        MissingKeysError: the target has no URL, or others may read the file; names the remedy.
    """
    parcel = Parcel(url_of(name, settings), message.title, message.body, message.severity, only, besides, salt)
    return await deliver(parcel, settings.timeout_s, variables)


def system_name(instance: str) -> str:
    """The name of a system in messages: its instance and its machine."""
    return f"{instance}@{socket.gethostname()}"
