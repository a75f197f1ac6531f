"""The table of our processes: which module, in which order, and what happens when one ends."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.config import Settings
from observer.supervisor.child import Child


class Process(msgspec.Struct, frozen=True):
    """A process of ours: its name, the module that is its `main`, and its place in the order of start.

    Start follows the data: what receives is ready before what sends; stop is the reverse, so the writer ends last but
    for the simulated broker.
    """

    name: str
    module: str
    order: int


SIMULATOR: Final = Process("simulator", "workers.simulator", 0)

PROCESSES: Final = (
    Process("core-writer", "workers.core_writer", 1),
    Process("accounts", "workers.accounts", 2),
    Process("master-file", "workers.master_file", 3),
    Process("gap-recovery", "workers.gap_recovery", 3),
    Process("track-a", "workers.track_a", 3),
    Process("track-b", "workers.track_b", 3),
)

WRONG_CONFIGURATION: Final = frozenset({2})  # a worker's exit status (workers.runtime): the next start would end alike


def children_of(settings: Settings, configuration: Path) -> Sequence[Child]:
    """What the supervisor runs for these settings, which the processes read themselves from `configuration`."""
    processes = PROCESSES if settings.simulator is None else (SIMULATOR, *PROCESSES)
    return [_child(process, settings, configuration) for process in processes]


def _child(process: Process, settings: Settings, configuration: Path) -> Child:
    return Child(
        name=process.name,
        argv=(sys.executable, "-m", process.module, "--config", str(configuration)),
        log_path=Path(settings.run.data) / "logs" / f"{process.name}.log",
        order=process.order,
        ready_deadline_s=settings.supervision.ready_deadline_s,
        stop_grace_s=settings.supervision.stop_grace_s,
        heartbeat_limit_s=settings.supervision.heartbeat_limit_s,
        log_bytes_max=settings.supervision.log_bytes_max,
        logs_kept=settings.supervision.logs_kept,
        rss_bytes_max=settings.supervision.process_memory_bytes_max,
        final_exits=WRONG_CONFIGURATION,
    )
