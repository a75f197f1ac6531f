"""The process that sends one message to one target: `python -m observer.alerts.sending`.

It reads a `Parcel` as JSON from its input and prints a `Result` as JSON. Its own process, because the library takes
some 20 MB and half a second, and because a target that hangs can be ended with it. The URL is a secret: it comes by the
pipe, and nothing that the library says is passed on but the status of an HTTP answer.
"""

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from bus.events import Severity
from observer.alerts.routing import Message

_STATUS: Final = re.compile(r"error=(\d{3})\b")
_PROGRAM: Final = "observer.alerts.sending"

Outcome = Literal["sent", "refused", "wrong_url", "timeout", "failed"]


class Parcel(msgspec.Struct, frozen=True):
    """The message, and the URL of its target."""

    url: str
    title: str
    body: str
    severity: Severity

    def __repr__(self) -> str:
        """Shows no URL."""
        return f"Parcel({self.title!r}, ...)"

    __str__ = __repr__


class Result(msgspec.Struct, frozen=True):
    """How it ended; `status` is that of the target's last HTTP answer, if it gave one that refuses."""

    outcome: Outcome
    status: int | None = None


def result_text(result: Result, timeout_s: float) -> str:
    """The result in words."""
    match result.outcome:
        case "sent":
            return "sent"
        case "refused" if result.status is not None:
            return f"the target answers with HTTP status {result.status}"
        case "refused":
            return "the target cannot be reached, or refuses the message"
        case "wrong_url":
            return "its URL is none that apprise knows: github.com/caronc/apprise/wiki lists them"
        case "timeout":
            return f"no end within {timeout_s:g} s"
        case "failed":
            return "the sending process failed"


async def deliver(url: str, message: Message, timeout_s: float, variables: Mapping[str, str]) -> Result:
    """Send the message by a process of its own, which is killed after `timeout_s` machine seconds. Its environment has
    these variables, too.
    """
    parcel = Parcel(url, message.title, message.body, message.severity)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Its own group, so that ctrl-C does not end it; the session stays the supervisor's, which reaps others.
            process_group=0,
            env={**os.environ, **variables},
        )
    except OSError:
        return Result("failed")
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate(msgspec.json.encode(parcel))
        return msgspec.json.decode(output, type=Result)
    except TimeoutError:
        return Result("timeout")
    except (msgspec.DecodeError, OSError):
        return Result("failed")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class _Statuses(logging.Handler):
    """Keeps the last HTTP status that the library's log names."""

    def __init__(self) -> None:
        super().__init__()
        self.last: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one record."""
        if found := _STATUS.search(record.getMessage()):
            self.last = int(found[1])


def send(parcel: Parcel) -> Result:
    """Send the message by this process."""
    import apprise

    statuses = _Statuses()
    log = logging.getLogger("apprise")
    log.handlers, log.propagate = [statuses], False
    sender = apprise.Apprise()
    try:
        if not sender.add(parcel.url):
            return Result("wrong_url")
        for service in sender:  # a text that is too long for it is cut: the most urgent alerts come first
            service.overflow_mode = apprise.OverflowMode.TRUNCATE
        kinds = {"info": "info", "warning": "warning", "critical": "failure"}
        is_sent = sender.notify(
            body=parcel.body,
            title=parcel.title,
            notify_type=apprise.NotifyType(kinds[parcel.severity]),
            body_format=apprise.NotifyFormat.TEXT,
            interpret_escapes=False,
        )
    except Exception:  # noqa: BLE001 - of a plugin; its text may have the URL
        return Result("refused")
    return Result("sent") if is_sent else Result("refused", statuses.last)


def main() -> None:
    """Send the message of the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parcel = msgspec.json.decode(sys.stdin.buffer.read(), type=Parcel)
    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a plugin prints is not passed on
    os.write(output, msgspec.json.encode(send(parcel)))


if __name__ == "__main__":
    main()
