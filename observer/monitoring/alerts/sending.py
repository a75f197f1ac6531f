"""The process that sends one message to one target: `python -m observer.monitoring.alerts.sending`.

It reads a `Parcel` as JSON from its input and prints a `Result` of each of the target's URLs as a line of JSON, as soon
as it is known. Its own process, because the library takes some 20 MB and half a second, and because a target that hangs
can be ended with it. The URLs are secrets: they come by the pipe, nothing that the library says is passed on but the
status of an HTTP answer, and no variable of the parent's environment that may be a secret of another target or program.
"""

import asyncio
import hashlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from bus.events import Severity

if TYPE_CHECKING:
    from apprise import NotifyBase

_STATUS: Final = re.compile(r"error=(\d{3})\b")
# A variable of the context: the library sends by threads of its own, which get a copy of their caller's context.
_statuses: ContextVar[list[int | None]] = ContextVar("_statuses")
_PROGRAM: Final = "observer.monitoring.alerts.sending"
_INHERITED: Final = re.compile(  # the variables that Python, the library, TLS or a desktop target may need
    r"PATH|HOME|TMPDIR|TZ|LANG|LC_\w+|PYTHON\w+|VIRTUAL_ENV|LD_LIBRARY_PATH|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE"
    r"|(HTTPS?|ALL|NO)_PROXY|DBUS_SESSION_BUS_ADDRESS|XDG_RUNTIME_DIR|DISPLAY",
    re.IGNORECASE,
)

Outcome = Literal["sent", "refused", "wrong_url", "timeout", "failed"]


class Parcel(msgspec.Struct, frozen=True):
    """The message, and the URL of its target, or several with a space or a comma between them. `only` is the digest of
    the one that gets the message (None: all do but those of `besides`). `salt` is that of the digests.
    """

    url: str
    title: str
    body: str
    severity: Severity
    only: str | None = None
    besides: Collection[str] = ()
    salt: str = ""

    def __repr__(self) -> str:
        """Shows no URL."""
        return f"Parcel({self.title!r}, ...)"

    __str__ = __repr__


class Result(msgspec.Struct, frozen=True):
    """How it ended; `status` is that of the target's last HTTP answer, if it gave one that refuses. `number` is the
    URL's place among the target's, the first has 1; 0: it concerns all of them. `digest` is the URL's.
    """

    outcome: Outcome
    status: int | None = None
    number: int = 0
    digest: str = ""


def digest_of(url: str, salt: str) -> str:
    """The name of a URL where the URL may not stand: in a file, a log, an alert. It stays when its place changes.
    Without the salt it does not show whether a guess of the URL is right.
    """
    return hashlib.blake2b(url.encode(), key=salt.encode(), digest_size=4).hexdigest()


def failure_text(results: Sequence[Result], timeout_s: float) -> str:
    """Why a message was not accepted, in words; empty if each URL accepted it."""
    failed = {each.number: result_text(each, timeout_s) for each in results if each.outcome != "sent"}
    if len(results) == 1:
        return "".join(failed.values())
    return "; ".join(f"URL {number}: {text}" for number, text in sorted(failed.items()))


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


async def deliver(parcel: Parcel, timeout_s: float, variables: Mapping[str, str]) -> Sequence[Result]:
    """Send the message by a process of its own, which is killed after `timeout_s` machine seconds; return a result of
    each URL that the parcel asks for. Of the parent's variables it has only those of `_INHERITED`, and these.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", _PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Its own group, so that ctrl-C does not end it; the session stays the supervisor's, which reaps others.
            process_group=0,
            env={**{name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}, **variables},
        )
    except OSError:
        return [Result("failed")]
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    found: dict[int, Result] = {}
    ended: Outcome = "failed"  # the outcome of what has none yet
    try:
        async with asyncio.timeout(timeout_s):
            process.stdin.write(msgspec.json.encode(parcel))
            process.stdin.write_eof()
            async for line in process.stdout:
                result = msgspec.json.decode(line, type=Result)
                found[result.number] = result
            await process.wait()
    except TimeoutError:
        ended = "timeout"
    except (msgspec.DecodeError, OSError):
        pass
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not found and process.returncode != 0:
        return [Result(ended)]
    return [
        msgspec.structs.replace(each, outcome=ended) if each.outcome == "failed" else each for each in found.values()
    ]


class _Statuses(logging.Handler):
    """Keeps the HTTP statuses that the library's log names, in the list of the URL that is sent to."""

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one record."""
        if found := _STATUS.search(record.getMessage()):
            _statuses.get([]).append(int(found[1]))


def send(parcel: Parcel, report: Callable[[Result], object]) -> None:
    """Send the message by this process, to all its URLs at the same time, so that none waits for one that hangs; report
    each as failed, which holds until its own thread reports how it ended.
    """
    import apprise
    from apprise.utils.parse import parse_urls

    log = logging.getLogger("apprise")
    log.handlers, log.propagate = [_Statuses()], False
    # Without a limit of its own the library sends by the thread that asks it; with one, by a pool of a few threads.
    sender = apprise.Apprise(asset=apprise.AppriseAsset(service_timeout=0))
    url = parcel.url.strip(" \t\r\n,;")  # what stands behind the last URL would be a part of it
    try:
        is_known = sender.add(url)
        texts = parse_urls(url)  # type: ignore[no-untyped-call]  # it states no types
        urls = list(zip(texts, sender, strict=True))
    except Exception:  # noqa: BLE001 - of a plugin; its text may have the URL
        is_known = False
    if not is_known:
        report(Result("wrong_url"))
        return
    services = {digest_of(each, parcel.salt): (number, service) for number, (each, service) in enumerate(urls, 1)}
    wanted = [
        (Result("failed", None, number, digest), service)
        for digest, (number, service) in services.items()
        if (digest not in parcel.besides if parcel.only is None else digest == parcel.only)
    ]
    for begun, _ in wanted:
        report(begun)

    def send_one(begun: Result, service: "NotifyBase") -> None:
        statuses: list[int | None] = []
        _statuses.set(statuses)
        if _is_sent(service, parcel):
            report(msgspec.structs.replace(begun, outcome="sent"))
        else:
            report(msgspec.structs.replace(begun, outcome="refused", status=(statuses or [None])[-1]))

    threads = [threading.Thread(target=send_one, args=each) for each in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _is_sent(service: "NotifyBase", parcel: Parcel) -> bool:
    import apprise

    service.overflow_mode = apprise.OverflowMode.TRUNCATE  # of a text that is too long: the urgent alerts come first
    kinds = {"info": "info", "warning": "warning", "critical": "failure"}
    sender = apprise.Apprise()
    sender.add(service)
    try:
        return bool(
            sender.notify(
                body=parcel.body,
                title=parcel.title,
                notify_type=apprise.NotifyType(kinds[parcel.severity]),
                body_format=apprise.NotifyFormat.TEXT,
                interpret_escapes=False,
            )
        )
    except Exception:  # noqa: BLE001 - of a plugin; its text may have the URL
        return False


def main() -> None:
    """Send the message of the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parcel = msgspec.json.decode(sys.stdin.buffer.read(), type=Parcel)
    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a plugin prints is not passed on
    send(parcel, lambda result: os.write(output, msgspec.json.encode(result) + b"\n"))  # one write is one whole line


if __name__ == "__main__":
    main()
