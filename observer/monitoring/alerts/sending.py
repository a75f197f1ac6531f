"""The process that sends one message to one target: `python -m observer.monitoring.alerts.sending`.

It reads a `Parcel` as JSON from its input and prints a `Result`. Its own process, because the library takes some 20 MB
and half a second, and because a target that hangs can be ended with it. The URL is a secret: it comes by the pipe,
nothing that the library says is passed on but the status of an HTTP answer, and no variable of the parent's environment
that may be a secret of another target or program.
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
from observer.base.programs import program

_STATUS: Final = re.compile(r"error=(\d{3})\b")
_PROGRAM: Final = "observer.monitoring.alerts.sending"
_INHERITED: Final = re.compile(  # the variables that Python, the library, TLS or a desktop target may need
    r"PATH|HOME|TMPDIR|TZ|LANG|LC_\w+|PYTHON\w+|VIRTUAL_ENV|LD_LIBRARY_PATH|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE"
    r"|(HTTPS?|ALL|NO)_PROXY|DBUS_SESSION_BUS_ADDRESS|XDG_RUNTIME_DIR|DISPLAY",
    re.IGNORECASE,
)

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
            return "it is not one URL that apprise knows: github.com/caronc/apprise/wiki lists them"
        case "timeout":
            return f"no end within {timeout_s:g} s"
        case "failed":
            return "the sending process failed"


async def deliver(parcel: Parcel, timeout_s: float, variables: Mapping[str, str]) -> Result:
    """Send the message by a process of its own, which is killed after `timeout_s` machine seconds. Of the parent's
    variables it has only those of `_INHERITED`, and these.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *program(_PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Its own group, so that ctrl-C does not end it; the session stays the supervisor's, which reaps others.
            process_group=0,
            env={**{name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}, **variables},
        )
    except OSError:
        return Result("failed")
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    result: Result | None = None
    try:
        async with asyncio.timeout(timeout_s):
            process.stdin.write(msgspec.json.encode(parcel))
            process.stdin.write_eof()
            result = msgspec.json.decode(await process.stdout.readline(), type=Result)
            await process.wait()
    except TimeoutError:
        return result or Result("timeout")
    except (msgspec.DecodeError, OSError):
        return Result("failed")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return result


class _Statuses(logging.Handler):
    """Keeps the HTTP statuses that the library's log names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one record."""
        self.found += map(int, _STATUS.findall(record.getMessage()))


def send(parcel: Parcel) -> Result:
    """Send the message by this process."""
    import apprise
    from apprise.utils.parse import parse_urls

    statuses = _Statuses()
    log = logging.getLogger("apprise")
    log.handlers, log.propagate = [statuses], False
    kinds = {"info": "info", "warning": "warning", "critical": "failure"}
    sender = apprise.Apprise(asset=apprise.AppriseAsset(service_timeout=0))  # the caller has a limit
    url = parcel.url.strip(" \t\r\n,;")
    try:
        # The library takes several URLs with a comma between them; which of them failed it does not say.
        is_one = len(parse_urls(url)) == 1  # type: ignore[no-untyped-call]  # it states no types
        if not is_one or not sender.add(url):
            return Result("wrong_url")
        for service in sender:
            service.overflow_mode = apprise.OverflowMode.TRUNCATE  # of a long text: the urgent alerts come first
        is_sent = sender.notify(
            body=parcel.body,
            title=parcel.title,
            notify_type=apprise.NotifyType(kinds[parcel.severity]),
            body_format=apprise.NotifyFormat.TEXT,
            interpret_escapes=False,
        )
    except Exception:  # noqa: BLE001 - of a plugin; its text may have the URL
        return Result("refused" if len(sender) else "wrong_url")
    return Result("sent") if is_sent else Result("refused", statuses.found[-1] if statuses.found else None)


def main() -> None:
    """Send the message of the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parcel = msgspec.json.decode(sys.stdin.buffer.read(), type=Parcel)
    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a plugin prints is not passed on
    os.write(output, msgspec.json.encode(send(parcel)) + b"\n")


if __name__ == "__main__":
    main()
