"""Forced crash points: a process kills itself right before, in or right after a step of delivery.

The steps are methods of the real classes; in the process that is to die, and only there, one of them is wrapped. The
product knows nothing of it.
"""

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

import msgspec

import bus.outbox
from bus.delivery import Receiver, Sender
from bus.feed import FeedPublisher
from bus.journal import JournalWriter
from bus.outbox import Outbox
from observer.store.transaction import Transaction
from observer.store.writer import StoreWriter


class CrashPoint(msgspec.Struct, frozen=True):
    """Die before, in the middle of or after the `pass_number`-th call."""

    when: Literal["before", "half", "after"]
    owner: object
    call: str
    pass_number: int = 1


IN_COMMIT = "with the rows in the transaction, before its commit"

OF_PRODUCER: Mapping[str, CrashPoint] = {
    "before an append": CrashPoint("before", JournalWriter, "append", 20),
    "in an append": CrashPoint("half", JournalWriter, "_append", 20),
    "after an append": CrashPoint("after", JournalWriter, "append", 20),
    "before a send": CrashPoint("after", Sender, "sent", 10),
    "after a send": CrashPoint("before", Sender, "next_to_send", 30),
    "on hearing an acknowledgement": CrashPoint("before", Sender, "acknowledged", 10),
    "before a trim": CrashPoint("before", Outbox, "_put_away", 2),
    "after a trim": CrashPoint("after", Outbox, "_put_away", 2),
    "before a segment change": CrashPoint("before", Outbox, "_start_segment", 3),
    "in the head of a new segment": CrashPoint("half", JournalWriter, "_append", 1),
    "after a segment change": CrashPoint("after", Outbox, "_start_segment", 3),
    "before an earlier stream is noted as finished": CrashPoint("before", bus.outbox, "note_finished"),
    "after an earlier stream is noted as finished": CrashPoint("after", bus.outbox, "note_finished"),
}

OF_WRITER: Mapping[str, CrashPoint] = {
    "after a hello": CrashPoint("after", Receiver, "greeted"),
    "before a batch is judged": CrashPoint("before", Receiver, "admit", 20),
    "after a batch is taken": CrashPoint("after", Receiver, "admit", 20),
    "before a transaction": CrashPoint("before", StoreWriter, "commit", 10),
    IN_COMMIT: CrashPoint("before", Transaction, "commit", 10),
    "after a commit, before its acknowledgement": CrashPoint("after", StoreWriter, "commit", 10),
    "after an acknowledgement, before the feed": CrashPoint("before", FeedPublisher, "publish", 10),
}


def run_until(point: str, part: Callable[..., None], *arguments: object) -> None:
    """Run the part with the crash point armed."""
    _arm(OF_PRODUCER[point] if point in OF_PRODUCER else OF_WRITER[point])
    part(*arguments)


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _arm(point: CrashPoint) -> None:
    real = getattr(point.owner, point.call)
    passes = 0

    def armed(*arguments: Any, **named: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes < point.pass_number:
            return real(*arguments, **named)
        if point.when == "half":
            _write_half(*arguments)
        if point.when == "after":
            real(*arguments, **named)
        _die()

    setattr(point.owner, point.call, armed)


def _write_half(writer: JournalWriter, data: bytes) -> None:
    os.write(writer._descriptor, data[: len(data) // 2])
