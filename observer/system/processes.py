"""The table of processes: module, start order, settings read, jobs owned, and the policy after an end."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.settings import TARGET_VARIABLES
from observer.base.programs import program
from observer.brokers.accounts.pool import key_variables
from observer.supervisor.child import Child
from observer.system.config import Settings


class Process(msgspec.Struct, frozen=True):
    """One process: its name, the module that is its `main`, its position in the start order, and the parts of the
    configuration it reads ("selection.universe": that table of [selection]), so that a reload restarts no other. One
    that reads the keys' digest gets the keys.

    Start follows the data: a receiver is ready before its senders. Stop is the reverse, so the writer ends last but for
    the simulated broker.
    """

    name: str
    module: str
    order: int
    reads: tuple[str, ...]


_DAY: Final = ("run", "schedule", "sessions", "track_a.sessions", "track_b.sessions")  # what a day's plan is made of
_OUTBOX: Final = ("backup.archive_bytes_max", "backup.archive_days_max")  # the limits of its archive
_COLLECTOR: Final = ("store", "pool", "keys_digest", "brokers", *_OUTBOX)
_SELECTION: Final = ("selection.triggers", "selection.slots", "selection.context")

CORE_WRITER: Final = "core-writer"
SIMULATOR: Final = Process("simulator", "workers.simulator", 0, ("run", "simulator"))
LAKE: Final = Process("lake", "workers.lake", 3, (*_DAY, "instance", "pool", "store", "backup", "lake"))
TAPE: Final = Process("tape", "workers.tape", 3, (*_DAY, *_COLLECTOR, "tape", "track_a", "universe"))
WEB: Final = Process(
    "web",
    "workers.web",
    3,
    (*_DAY, "instance", "pool", "store", "backup", "tape", "lake", "web", "selection.slots", "track_a", "track_b"),
)

PROCESSES: Final = (
    Process(CORE_WRITER, "workers.core_writer", 1, (*_DAY, "instance", "pool", "store", "backup", "lake")),
    Process("accounts", "workers.accounts", 2, (*_DAY, *_COLLECTOR)),
    Process(
        "master-file", "workers.master_file", 3, (*_DAY, *_COLLECTOR, "reference", "selection.universe", "universe")
    ),
    Process("gap-recovery", "workers.gap_recovery", 3, (*_DAY, *_COLLECTOR, "recovery", "selection.triggers")),
    Process("etf", "workers.etf", 3, (*_DAY, *_COLLECTOR, "etf", "sectors")),
    Process("track-a", "workers.track_a", 3, (*_DAY, *_COLLECTOR, "selection.triggers", "track_a", "universe")),
    Process("track-b", "workers.track_b", 3, (*_DAY, *_COLLECTOR, *_SELECTION, "track_a", "track_b")),
)

PRELOADED: Final = (
    *(process.module for process in PROCESSES),
    *("bus.producer", "observer.brokers.accounts.clients", "observer.store.reader"),
    *("anyio._backends._asyncio", "concurrent.futures.thread", "encodings.idna", "httpcore._async.http11", "tomllib"),
    *("sqlalchemy.dialects.sqlite.pysqlite", "websockets.asyncio.client"),
    "observer.brokers.http:trusted_certificates",
)
"""The zygote's preload (`supervisor.zygote`): the workers, and modules that most of them load later.

A worker that loads the last three lines for itself has 22 MB of its own, with them 13.
"""

GAPS_OWNER: Final = "gap-recovery"
"""The process that fills gaps."""

JOB_OWNERS: Final[Mapping[str, str]] = {
    "universe": "master-file",
    "master_files": "master-file",
    "master_approve": "master-file",
    "master_restore": "master-file",
    "backup": CORE_WRITER,
    "integrity": CORE_WRITER,
    "quality": GAPS_OWNER,
    "etf_list": "etf",
    "etf_values": "etf",
    "etf_ranges": "etf",
    "etf_measures": "etf",
}
"""The process that runs each job of the day."""

SLOTS_OWNER: Final = "track-b"
"""The process that allocates slots."""

WRONG_CONFIGURATION: Final = frozenset({2})  # a worker's exit status: the next start would end alike


def children_of(settings: Settings, configuration: Path) -> Sequence[Child]:
    """The supervisor's children for these settings; they read `configuration` themselves."""
    simulator = () if settings.simulator is None else (SIMULATOR,)
    lake = () if settings.lake is None else (LAKE,)
    tape = () if settings.tape is None or settings.tape.share_of_limit == 0 else (TAPE,)
    web = () if settings.web is None else (WEB,)
    return [_child(process, settings, configuration) for process in (*simulator, *PROCESSES, *lake, *tape, *web)]


def _child(process: Process, settings: Settings, configuration: Path) -> Child:
    return Child(
        name=process.name,
        secrets=_secrets_of(process, settings),
        argv=program(process.module, "--config", str(configuration)),
        log_path=Path(settings.run.data) / "logs" / f"{process.name}.log",
        order=process.order,
        revision=revision_of(settings, process.reads),
        ready_deadline_s=settings.supervision.ready_deadline_s,
        stop_grace_s=settings.supervision.stop_grace_s,
        heartbeat_limit_s=settings.supervision.heartbeat_limit_s,
        log_bytes_max=settings.supervision.log_bytes_max,
        logs_kept=settings.supervision.logs_kept,
        rss_bytes_max=settings.supervision.process_memory_bytes_max,
        final_exits=WRONG_CONFIGURATION,
        is_essential=process.name == CORE_WRITER,
    )


def _secrets_of(process: Process, settings: Settings) -> tuple[str, ...]:
    """The variables with secrets that the process needs."""
    if process is LAKE:
        return TARGET_VARIABLES
    return key_variables(settings.pool.accounts) if "keys_digest" in process.reads else ()


def revision_of(settings: Settings, reads: Sequence[str]) -> str:
    """A digest of these parts of the configuration: another one when any key in them has another value."""
    document = msgspec.to_builtins(settings)
    return hashlib.sha256(msgspec.json.encode([_part(document, path) for path in reads])).hexdigest()


def _part(document: Mapping[str, object], path: str) -> object:
    name, _, rest = path.partition(".")
    part = document[name]
    if not rest:
        return part
    assert isinstance(part, Mapping), f"{name} is a section"
    return _part(part, rest)
