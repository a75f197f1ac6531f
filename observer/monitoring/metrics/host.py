"""What the host itself knows of its processes and alerts, as samples. Pure."""

from collections.abc import Iterator
from typing import Final

from bus.commands import ProcessStatus, Sample, StatusReply
from observer.base.units import NS_PER_S

_RUNNING = "RUNNING"

WAITING: Final = "observer_events_unacknowledged"
ACKNOWLEDGEMENT: Final = "observer_acknowledgement_seconds"
DELIVERY_METRICS: Final = frozenset({WAITING, ACKNOWLEDGEMENT})
"""What the status of a system carries of its processes' figures."""


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
