"""Every request and reply of the control socket: what a process tells its supervisor, and what a person asks of it.

All are MessagePack maps whose `type` names the struct. What a reader does not know it ignores, and new fields have
defaults, so that a command line and a supervisor of different age understand each other. Spans are seconds of machine
time (`_s`); only `market_time_ns` is market time.
"""

from typing import Annotated

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Pid = Annotated[int, msgspec.Meta(gt=0)]


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """What all requests and replies share: immutable, a map on the wire, told apart by `type`."""


# --- from a supervised process; none of these is answered ----------------------------------------------------


class Ready(Message, frozen=True):
    """The process can do its work: what depends on it may start."""

    process: Name
    pid: Pid


class Heartbeat(Message, frozen=True):
    """The process is alive and its event loop turns.

    `loop_lag_s` is how late its loop last woke; `progress` a count of its work, which stands still when it does.
    """

    process: Name
    pid: Pid
    loop_lag_s: float
    progress: int


class Stopping(Message, frozen=True):
    """The process ends by its own decision; it needs its grace and sends no more heartbeats."""

    process: Name
    pid: Pid


# --- from a person -------------------------------------------------------------------------------------------


class Status(Message, frozen=True):
    """What runs? Answered with `StatusReply`."""


class Start(Message, frozen=True):
    """Start a process that is stopped, done or given up. Done when it is ready."""

    process: Name


class Stop(Message, frozen=True):
    """Stop a process and keep it stopped. Done when nothing of it is left."""

    process: Name


class Restart(Message, frozen=True):
    """Stop a process and start it again, alone. Done when it is ready."""

    process: Name


class Shutdown(Message, frozen=True):
    """Stop everything in order and end. Answered with `UnderWay`."""


Request = Ready | Heartbeat | Stopping | Status | Start | Stop | Restart | Shutdown


# --- replies -------------------------------------------------------------------------------------------------


class ProcessStatus(Message, frozen=True, tag="process_status"):
    """One process. What is not known, or not there because it does not run, is None.

    `uptime_s` counts from its start; `restarts` counts those that nobody asked for; `cpu_percent` is of one core, over
    the last sample; the figures include the process's own children; `exit` tells how its last run ended.
    """

    name: str
    state: str
    pid: int | None = None
    uptime_s: float | None = None
    restarts: int = 0
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    open_files: int | None = None
    threads: int | None = None
    heartbeat_age_s: float | None = None
    loop_lag_s: float | None = None
    progress: int | None = None
    exit: str | None = None


class StatusReply(Message, frozen=True, tag="status"):
    """All processes in the order of their start, and the market's time and phase of the day."""

    processes: list[ProcessStatus]
    phase: str
    market_time_ns: int
    supervisor_pid: int
    uptime_s: float


class Done(Message, frozen=True):
    """It has happened."""

    process: str
    detail: str


class UnderWay(Message, frozen=True, tag="under_way"):
    """It was begun and takes longer than an answer may: ask for the status."""

    detail: str


class Refused(Message, frozen=True):
    """Nothing was done, or it went wrong. `code` is for programs, `message` for people.

    Codes: malformed, busy, internal, unknown_process, not_supervised, failed, superseded, shutting_down.
    """

    code: str
    message: str


Reply = StatusReply | Done | UnderWay | Refused
