"""Requests and replies of the control socket: reports of a process to its supervisor, and commands of a person.

All are MessagePack maps whose `type` names the struct. New fields have defaults and readers ignore unknown fields, so
that a command line and a supervisor of different versions understand each other. An unknown field of a command is
refused: without it the command would mean something else (a dry run would be a real one). Spans are seconds of machine
time (`_s`); only `market_time_ns` is market time.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, dataclass_transform, get_args

import msgspec

from bus.decoding import decoder_of, tag_of
from bus.roles import Role

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Pid = Annotated[int, msgspec.Meta(gt=0)]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


@dataclass_transform(frozen_default=True)
class Message(msgspec.Struct, frozen=True, tag_field="type", tag=tag_of):
    """Base of all requests and replies: immutable, a map on the wire, distinguished by `type`."""


class OpenAlert(msgspec.Struct, frozen=True):
    """An open alert of a process (`bus.events.AlertRaised`): reported `count` times since `since_ns`, last at
    `last_ns`; silenced by an operator until `silenced_until_ns`, all in market time. A heartbeat states neither its
    process nor a silence.
    """

    identity: str
    severity: Literal["info", "warning", "critical"]
    since_ns: int
    text: str
    count: int = 1
    last_ns: int = 0
    process: str = ""
    silenced_until_ns: int | None = None


# --- from a supervised process; none of these is answered ----------------------------------------------------


class Ready(Message):
    """The process is ready: dependent processes may start."""

    process: Name
    pid: Pid


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A process's figure for the exporter: the metric's name, the values of its labels but for the process, its value.

    `counts` are set for a histogram alone (`bus.histogram`): durations by bucket; then `value` is their sum.
    """

    metric: str
    labels: tuple[str, ...]
    value: float
    counts: tuple[int, ...] = ()


class Heartbeat(Message):
    """The process is alive and its event loop turns.

    `loop_lag_s` is how late its loop last woke; `progress` a count of its work, which stands still when it does.
    `alerts` are the open ones of severity warning and above, bounded in number: they are known without the database.
    `samples` are the process's figures for the exporter, bounded in number; nothing stores them.
    """

    process: Name
    pid: Pid
    loop_lag_s: float
    progress: int
    alerts: list[OpenAlert] = []
    samples: list[Sample] = []


class Stopping(Message):
    """The process ends by its own decision: it needs its grace period and sends no more heartbeats."""

    process: Name
    pid: Pid


# --- from a person -------------------------------------------------------------------------------------------


class Command(Message, forbid_unknown_fields=True):
    """Base of a person's commands; one with an unknown field is refused."""


class Status(Command):
    """Request the status of all processes. Answered with `StatusReply`."""


class Start(Command):
    """Start a process that is stopped, done or given up. Done when it is ready."""

    process: Name


class Stop(Command):
    """Stop a process and keep it stopped. Done when all its processes are gone."""

    process: Name


class Restart(Command):
    """Stop a process and start it again, alone. Done when it is ready."""

    process: Name


class Shutdown(Command):
    """Stop everything in order and end. Answered with `UnderWay`."""


class Reload(Command):
    """Read the configuration again and restart what it changes. Answered with `ReloadReply`.

    A wrong configuration is refused with every wrong key; then nothing happens. With `dry_run` nothing happens either.
    """

    dry_run: bool = False


class StartCapture(Command, tag="capture_start"):
    """Record committed events of these kinds, or all, to the new file `out`, an absolute path below the data folder.
    Done once it records.
    """

    out: Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,4096}\Z")]
    kinds: Annotated[list[Name], msgspec.Meta(max_length=256)] = []


class StopCapture(Command, tag="capture_stop"):
    """End the recording. Done when its file is whole and nothing that was committed meanwhile is missing in it."""


# --- orders: from a person, passed on to the process that is meant ---------------------------------------------


class Drain(Command):
    """Is all committed that the process has published until now? Done when it is; None asks every process."""

    process: Name | None = None


class RunJob(Command):
    """Run one of the day's jobs now, whether or not it ran today. Done when it has ended well.

    `arguments` are words of the job's own.
    """

    job: Name
    arguments: list[Name] = []


class SetLogLevel(Command, tag="log_level"):
    """Log from this level on, until the process ends."""

    process: Name
    level: Level


class Pin(Command):
    """Give the symbol a slot, whatever its score, today and every day until it is unpinned."""

    symbol: Symbol


class Unpin(Command):
    """Take the pin back: the slot is free; a trigger that holds may win it again."""

    symbol: Symbol


class SilenceAlert(Command):
    """Silence an open alert for `for_s` market seconds; 0 ends its silence. It stays listed."""

    identity: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    for_s: Annotated[float, msgspec.Meta(ge=0, le=366 * 86_400)]


class RetryGaps(Command):
    """Fill these gaps at once, given-up and partly filled gaps included. An empty list means all open gaps."""

    gap_ids: list[Name] = []


Order = Drain | RunJob | SetLogLevel | Pin | Unpin | RetryGaps

HostRequest = Reload | StartCapture | StopCapture | SilenceAlert | Order
"""Requests that the host of the supervisor answers: they go beyond starting and stopping processes."""

Request = Ready | Heartbeat | Stopping | Status | Start | Stop | Restart | Shutdown | HostRequest

Report = Ready | Heartbeat | Stopping
"""What a supervised process says of itself."""

_ROLE_OF_REQUEST: Final[Mapping[type[Request], Role]] = {
    **dict.fromkeys(get_args(Report), "collector"),
    Status: "reader",
}


def allows(role: Role, request: Request) -> bool:
    """Whether a client with this role may send the request; what is not a report or a question is an operator's."""
    return role == "operator" or role == _ROLE_OF_REQUEST.get(type(request), "operator")


# --- replies -------------------------------------------------------------------------------------------------


class ProcessStatus(Message):
    """The state of one process. None: unknown, or the process does not run.

    `uptime_s` counts from the process's start. `restarts` counts unrequested restarts. `cpu_percent` is of one core,
    over the last sample, child processes included. `exit` states how the last run ended. `says` is the last `STATUS=`
    that the process sent over sd_notify.
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
    says: str | None = None


class StatusReply(Message, tag="status"):
    """All processes in the order of their start, the market's time and phase of the day, and the open alerts of
    severity warning and above.

    `zygote_fallbacks` counts the failures of the supervisor's zygote; each cost a start a fresh interpreter.
    `orphans_ended` counts processes that outlived their worker or an earlier supervisor, and were killed; with
    `is_contained` a control group of the kernel holds all processes, without it they are found by their marks.
    `samples` are a few figures of the running processes' last heartbeats, by process: those of their deliveries.
    """

    processes: list[ProcessStatus]
    phase: str
    market_time_ns: int
    supervisor_pid: int
    uptime_s: float
    zygote_fallbacks: int = 0
    alerts: list[OpenAlert] = []
    orphans_ended: int = 0
    is_contained: bool = False
    samples: dict[str, list[Sample]] = {}


class Done(Message):
    """The request succeeded."""

    process: str
    detail: str


class UnderWay(Message):
    """The request began and takes longer than an answer may: ask for the status."""

    detail: str


class Refused(Message):
    """The request was refused or failed. `code` is for programs, `message` for people.

    Codes: malformed, not_allowed, busy, internal, unknown_process, unknown_job, unknown_symbol, unknown_kind,
    unknown_alert, not_supervised, not_running, not_an_order, wrong_configuration, no_slot, not_pinned, not_now,
    needs_shutdown, failed, superseded, shutting_down, unknown_gap, not_needed, pending_approval.
    """

    code: str
    message: str


class ReloadReply(Message, tag="reload"):
    """Effects of a reload on the processes, by name, in the order of their start.

    `at_next_start` are changed processes that do not run now; `failed` those that did not restart. `progress` is
    "dry_run" (only planned), "under_way" (ask for the status) or "done".
    """

    restarted: list[str]
    started: list[str]
    stopped: list[str]
    at_next_start: list[str]
    progress: Literal["dry_run", "under_way", "done"]
    failed: list[str] = []


class EachReply(Message, tag="each"):
    """The answers of several processes, by name."""

    replies: dict[str, Done | UnderWay | Refused]


OrderReply = Done | UnderWay | Refused

Reply = StatusReply | ReloadReply | EachReply | OrderReply


# --- bytes ---------------------------------------------------------------------------------------------------

REQUEST_BYTES_MAX: Final = 65_536  # the largest real one is far below 1 KiB; libzmq disconnects a peer that sends more
REPLY_BYTES_MAX: Final = 4 * 1024 * 1024  # a status with some thousand alerts

# Each raises `DecodeError` for anything else.
decode_request: Final[Callable[[bytes], Request]] = decoder_of(Request, REQUEST_BYTES_MAX)
decode_reply: Final[Callable[[bytes], Reply]] = decoder_of(Reply, REPLY_BYTES_MAX)
decode_order: Final[Callable[[bytes], Order]] = decoder_of(Order, REPLY_BYTES_MAX)
decode_order_reply: Final[Callable[[bytes], OrderReply]] = decoder_of(OrderReply, REQUEST_BYTES_MAX)
