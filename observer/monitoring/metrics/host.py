"""What the host itself knows, as samples: processes, alerts, the machine. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from bus.commands import ProcessStatus, Sample, StatusReply
from observer.base.units import NS_PER_S

_RUNNING = "RUNNING"

WAITING: Final = "observer_events_unacknowledged"
ACKNOWLEDGEMENT: Final = "observer_acknowledgement_seconds"
DELIVERY_METRICS: Final = frozenset({WAITING, ACKNOWLEDGEMENT})
"""What the status of a system carries of its processes' figures."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes since the machine's start, of the network without loopback and of the disks; None where the system does not
    count them.
    """

    received: int | None = None
    transmitted: int | None = None
    read: int | None = None
    written: int | None = None


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes on the disk, outboxes and archives by process; and the market time of the newest verified package of each
    kind.
    """

    disk_free_bytes: int | None = None
    database_bytes: int | None = None
    outbox_bytes: Mapping[str, int] = {}
    archive_bytes: Mapping[str, int] = {}
    backups_ns: Mapping[str, int] = {}


def system_samples(status: StatusReply, version: str) -> Iterator[Sample]:
    """The figures of the system, of its processes and alerts. A process that does not run has no figures but its state
    and `process_up` 0.
    """
    yield Sample("observer_build_info", (version,), 1)
    yield Sample("observer_uptime_seconds", (), status.uptime_s)
    yield Sample("observer_market_time_seconds", (), status.market_time_ns / NS_PER_S)
    yield Sample("observer_phase", (status.phase,), 1)
    yield Sample("observer_orphans_ended_total", (), status.orphans_ended)
    yield Sample("observer_zygote_fallbacks_total", (), status.zygote_fallbacks)
    for process in status.processes:
        yield from _process_samples(process)
    loud = [alert for alert in status.alerts if alert.silenced_until_ns is None]
    for severity in ("warning", "critical"):
        yield Sample("observer_alerts_open", (severity,), sum(each.severity == severity for each in loud))
    for each in loud:
        yield Sample("observer_alert_open", (each.process, each.identity, each.severity), 1)


def _process_samples(process: ProcessStatus) -> Iterator[Sample]:
    is_up = process.state == _RUNNING
    yield Sample("observer_process_up", (process.name,), is_up)
    yield Sample("observer_process_state", (process.name, process.state), 1)
    yield Sample("observer_process_restarts_total", (process.name,), process.restarts)
    cpu_ratio = None if process.cpu_percent is None else process.cpu_percent / 100
    figures = {
        "observer_process_uptime_seconds": process.uptime_s,
        "observer_process_cpu_ratio": cpu_ratio,
        "observer_process_resident_memory_bytes": process.rss_bytes,
        "observer_process_open_files": process.open_files,
        "observer_process_threads": process.threads,
        "observer_heartbeat_age_seconds": process.heartbeat_age_s,
        "observer_loop_lag_seconds": process.loop_lag_s,
    }
    for name, value in figures.items():
        if is_up and value is not None:
            yield Sample(name, (process.name,), value)


def machine_samples(traffic: Traffic, storage: Storage) -> Iterator[Sample]:
    """The figures of the machine's traffic and of the disk; those that are not known are left out."""
    known: Mapping[tuple[str, tuple[str, ...]], float | None] = {
        ("observer_machine_network_bytes_total", ("received",)): traffic.received,
        ("observer_machine_network_bytes_total", ("transmitted",)): traffic.transmitted,
        ("observer_machine_disk_bytes_total", ("read",)): traffic.read,
        ("observer_machine_disk_bytes_total", ("written",)): traffic.written,
        ("observer_disk_free_bytes", ()): storage.disk_free_bytes,
        ("observer_database_bytes", ()): storage.database_bytes,
    }
    for (name, labels), value in known.items():
        if value is not None:
            yield Sample(name, labels, value)
    for process, size_bytes in storage.outbox_bytes.items():
        yield Sample("observer_outbox_bytes", (process,), size_bytes)
    for process, size_bytes in storage.archive_bytes.items():
        yield Sample("observer_archive_bytes", (process,), size_bytes)
    for kind, taken_ns in storage.backups_ns.items():
        yield Sample("observer_backup_timestamp_seconds", (kind,), taken_ns / NS_PER_S)
