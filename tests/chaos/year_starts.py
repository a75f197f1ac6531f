"""What a start of the system adds to its folder: a stream, an outbox and log lines of each process."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from bus import events
from bus.archive import ArchiveLimits
from bus.delivery import Delivered
from bus.events import Event
from bus.outbox import Outbox
from observer.base.local_time import local_datetime, local_ns
from observer.base.units import NS_PER_S
from observer.store.kinds import KINDS, TABLE_NAMES
from observer.store.writer import StoreWriter
from observer.supervisor.output import open_log, rotate
from observer.system.processes import LAKE, PROCESSES, WEB
from tests.archive.stored import made_of

PRODUCERS = (*(process.name for process in (*PROCESSES, LAKE, WEB)), "supervisor")
LOG_BYTES_MAX = 131_072  # the least that the configuration takes
LOGS_KEPT = 2
LOG_LINES = 100  # of a process and day, some 200 bytes each: a log is as long as it may be after some weeks
BEGINS_S = 8 * 3_600

SYSTEM_ROWS: Mapping[type[Any], int] = {
    events.AccountChecked: 24,
    events.TokenRenewed: 2,
    events.AlertRaised: 3,
    events.AlertRepeated: 3,
    events.AlertResolved: 3,
    events.BackupCompleted: 1,
    events.MasterFileChecked: 3,
    events.MasterFileApproved: 1,
    events.ListingChanged: 4,
    events.ListingValued: 40,
    events.SectorAssigned: 4,
    events.EnrichmentCompleted: 1,
    events.InputQuarantined: 1,
    events.VolumeProfiled: 40,
}
"""Rows of a day by kind, of the kinds that no day is sealed with; starts of processes come to them."""

UNSEALED = {event_type for event_type, name in TABLE_NAMES.items() if name not in KINDS}


def start_processes(folder: Path, writer: StoreWriter, session_date: str, backed_up: Mapping[str, int]) -> None:
    """Start every process once, publish and store what it says of the day, and stop it. Two backups have the numbers
    `backed_up`, by stream.
    """
    midnight_ns = local_ns(date.fromisoformat(session_date))
    for number, producer in enumerate(PRODUCERS):
        begins_ns = midnight_ns + (BEGINS_S + number) * NS_PER_S
        found = [*_of_start(producer, begins_ns), *(_of_day(session_date) if producer == "accounts" else ())]
        outbox = Outbox(folder / "run/outbox" / producer, producer, uuid.uuid4().hex, ArchiveLimits())
        outbox.keep_behind(backed_up)
        outbox.append(found)
        writer.commit([Delivered(producer, outbox.stream, 1, found)])
        outbox.acknowledge(outbox.stream, len(found))
        outbox.close(delivered=True)
        _log(folder / f"data/logs/{producer}.log", producer, begins_ns)


def _of_start(producer: str, begins_ns: int) -> Sequence[Event]:
    states = ("STOPPED", "STARTING", "RUNNING")
    return [
        events.ProcessChanged(producer, begins_ns + after * NS_PER_S, before, now, 4_000, "the system starts")
        for after, (before, now) in enumerate(pairwise(states))
    ]


def _of_day(session_date: str) -> Iterator[Event]:
    """The rows of a day; each alert is raised, repeated and resolved. Alerts have few identities, which come again."""
    for event_type, count in SYSTEM_ROWS.items():
        for number in range(1, count + 1):
            event = made_of(event_type, session_date, f"{number:06}", number)
            if event_type in (events.AlertRaised, events.AlertRepeated, events.AlertResolved):
                later = {"resolved_ns": event.resolved_ns + NS_PER_S} if isinstance(event, events.AlertResolved) else {}
                event = msgspec.structs.replace(
                    event, **later, source="track-a", identity=f"{session_date[-1]} {number}"
                )
            yield event


def _log(path: Path, producer: str, begins_ns: int) -> None:
    """A head and a day's lines, and the rotation that the supervisor does."""
    head = f"log begins: version=0 pid=4000 instance=main accounts=main configuration={path.parents[2]}/observer.toml"
    lines = [_line(begins_ns, producer, "observer.base.logs", head)]
    lines += [
        _line(begins_ns + number * NS_PER_S, producer, "observer.synthetic", f"line {number} of the day, {'.' * 60}")
        for number in range(LOG_LINES)
    ]
    with open(open_log(path), "a") as file:  # noqa: PTH123 - of a descriptor
        file.write("".join(lines))
    rotate(path, LOG_BYTES_MAX, LOGS_KEPT)


def _line(at_ns: int, producer: str, logger: str, event: str) -> str:
    said = {"time": local_datetime(at_ns).isoformat(), "level": "info", "process": producer}
    return msgspec.json.encode({**said, "logger": logger, "event": event}).decode() + "\n"
