"""The table of metrics: each name with its type, its labels and its meaning. docs/metrics.md shows it.

Names follow Prometheus: a unit at the end, `_total` for counters, `_ratio` for shares from 0 to 1,
`_timestamp_seconds` for moments in Unix time. "Market seconds" and moments of the market are those of the market's
clock, which a demo speeds up; every other second is the machine's.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

MetricType = Literal["counter", "gauge", "histogram"]


class Metric(msgspec.Struct, frozen=True):
    """One metric. The name of a counter ends with `_total`."""

    name: str
    type: MetricType
    labels: tuple[str, ...]
    help: str


def _counter(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"observer_{name}_total", "counter", tuple(labels.split()), meaning)


def _gauge(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"observer_{name}", "gauge", tuple(labels.split()), meaning)


def _histogram(name: str, labels: str, meaning: str) -> Metric:
    return Metric(f"observer_{name}", "histogram", tuple(labels.split()), meaning)


_SYSTEM: Final = (
    _gauge("build_info", "version", "1, with the version of the program"),
    _gauge("uptime_seconds", "", "Since the start of the supervisor"),
    _gauge("market_time_seconds", "", "The market's clock, in Unix time"),
    _gauge("phase", "phase", "1 for the phase of the day"),
    _gauge("process_up", "process", "1 while the process runs, 0 while it does not; its other figures are absent then"),
    _gauge("process_state", "process state", "1 for the state of the process"),
    _counter("process_restarts", "process", "Starts that nothing asked for"),
    _gauge("process_uptime_seconds", "process", "Since the start of the process"),
    _gauge("process_cpu_ratio", "process", "CPU use over the last second, of one core; with its own children"),
    _gauge("process_resident_memory_bytes", "process", "Resident memory, with its own children"),
    _gauge("process_open_files", "process", "Open file descriptors, with its own children"),
    _gauge("process_threads", "process", "Threads, with its own children"),
    _gauge("heartbeat_age_seconds", "process", "Since the last heartbeat; the process's own figures are as old"),
    _gauge("heartbeat_left_out", "process", "Figures beyond the size of a heartbeat; absent while all fit"),
    _gauge("loop_lag_seconds", "process", "How late the event loop of the process last woke"),
    _counter("orphans_ended", "", "Processes that outlived their worker or an earlier supervisor, and were killed"),
    _counter("zygote_fallbacks", "", "Starts that needed a fresh interpreter"),
    _gauge("alerts_open", "severity", "Open alerts that are not silenced"),
    _gauge("alert_open", "process identity severity", "1 for each open alert that is not silenced"),
    _counter("alerts_raised", "severity", "Alerts that began since the start of the system"),
)

_MACHINE: Final = (
    _gauge("machine_cpu_ratio", "", "CPU use of all cores over the last second"),
    _gauge("memory_bytes", "", "Resident memory of all processes of the system together"),
    _gauge("disk_used_ratio", "", "Use of the disk that holds the data"),
    _gauge("disk_free_bytes", "", "Free bytes on the disk that holds the data"),
    _counter("machine_network_bytes", "direction", "Bytes of all network interfaces but loopback"),
    _counter("machine_disk_bytes", "direction", "Bytes read from and written to all disks"),
    _gauge("database_bytes", "", "Size of SQLite's files; absent with PostgreSQL"),
    _gauge("outbox_bytes", "process", "Events on the disk that are not acknowledged, and the current segment"),
    _gauge("archive_bytes", "process", "Delivered events that are kept until two packages hold them"),
    _gauge("backup_timestamp_seconds", "kind", "Market time of the newest verified package"),
)

_DELIVERY: Final = (
    _counter("events_published", "process", "Events that the process appended to its outbox"),
    _counter("events_refused", "process", "Events that its disk or a batch did not take"),
    _gauge("events_unacknowledged", "process", "Events in its outbox that are not known to be committed"),
    _histogram("acknowledgement_seconds", "process", "From the append of a batch to its acknowledgement"),
    _counter("events_stored", "kind", "Committed events"),
    _counter("events_quarantined", "", "Events that could not be decoded, or that the database refused"),
    _counter("commits", "", "Transactions of the writer"),
    _gauge("delivery_losses_events", "", "Events that the database states as lost; 0 is right"),
    _gauge("feed_lag_seconds", "", "Market seconds from the newest event's own time to its arrival at the exporter"),
    _counter("feed_missed_events", "", "Committed events that the exporter missed: its counts by kind lack them"),
    _counter("feed_possible_losses", "", "How often the exporter may have missed some: the writer was restarted, say"),
)

_BROKER: Final = (
    _counter("calls", "process account call outcome", "REST calls: `sent` counts attempts, `ok` and errors their ends"),
    _histogram("limiter_wait_seconds", "process account priority", "Market seconds that calls waited for the limiter"),
    _gauge("token_issued_timestamp_seconds", "account", "When the access token in force was issued, market time"),
    _gauge("token_expires_timestamp_seconds", "account", "When it expires, market time"),
    _counter("token_renewals", "account outcome", "Renewals of access tokens"),
    _gauge("account_healthy", "account", "1 when the last health check passed, 0 when not; absent before the first"),
    _gauge(
        "stream_connected",
        "account",
        "1 while the account's market data stream is connected; absent before, and while its process does not run",
    ),
    _counter(
        "stream_connection_changes",
        "account state",
        "Changes to connected, lost, refused, closed, suspended",
    ),
    _counter("subscription_changes", "account action", "Subscriptions and removals that were requested"),
    _gauge("subscription_changes_held_back_seconds", "account", "For how long some wait for the bound a minute"),
)

_COLLECTION: Final = (
    _gauge("universe_symbols", "", "Lines of the universe that is swept"),
    _gauge("universe_age_days", "", "Days from the session of the universe to today's"),
    _counter("sweeps", "", "Sweeps that ended"),
    _gauge("sweep_completed_timestamp_seconds", "", "When the last sweep ended, market time"),
    _gauge("sweep_duration_seconds", "", "Market seconds of the last sweep"),
    _gauge("sweep_floor_ratio", "", "Its duration by the least that the rate limit allows"),
    _gauge("sweep_coverage_ratio", "", "Share of its lines that answered"),
    _gauge("slots", "account state", "Slots by state: streaming, requested (no acknowledgement yet), free"),
    _gauge("slot_candidates_waiting", "", "Symbols that want a slot and have none"),
    _gauge("slot_overflow_ratio", "", "Share of the last hour's symbols that found no slot; absent below 20 symbols"),
    _counter("slot_changes", "change", "Assignments, releases and refusals of slots"),
    _counter("unwatched_trades_dropped", "", "Streamed trades of lines without a slot, after the end of their watch"),
    _counter("triggers_fired", "kind", "Trigger conditions that began"),
    _counter("gaps", "outcome", "Gaps: opened by a cut, empty, detected, recovered, recovered in part, unrecoverable"),
    _gauge("gap_seconds", "measure quantile", "How soon the day's gaps were detected, recovered, closed; 1: longest"),
    _gauge("gap_in_time_ratio", "measure", "Share of the day's gaps that meet the measure's target"),
    _gauge("gap_queue", "", "Gaps that wait for recovery"),
    _gauge("gap_rate_ratio", "", "Share of the last judged day's streamed volume that the stream did not bring"),
)

_REFERENCE: Final = (
    _gauge("master_file_checked_timestamp_seconds", "exchange", "The last check that succeeded, market time"),
    _counter("master_file_checks", "exchange outcome", "Checks of master files"),
    _gauge("master_file_listings", "exchange", "Listings in the last file that was read"),
    _gauge("master_file_bytes", "exchange", "Size of the last file that was read"),
    _gauge("master_file_readable_ratio", "exchange", "Share of its lines that could be read"),
    _gauge("etf_job_ended_timestamp_seconds", "etf_job", "When the job last ended, market time"),
    _gauge("etf_job_answered_ratio", "etf_job", "Share of the ETFs that answered it"),
    _gauge("tape_held_ratio", "", "Share of the day's volume that is stored trade by trade"),
    _gauge("tape_lines", "state", "Lines of the day's tape: complete, or not yet"),
    _gauge("tape_calls", "", "Calls for the day's tape"),
    _gauge("tape_left_seconds", "", "Estimate until the tape is done, market seconds; absent before anything is known"),
)

_PAGE: Final = (
    _counter(
        "page_connections_dropped",
        "reason",
        "Connections that the page's server ended: no whole `request` came, `reading` stopped, or it waited longest as "
        "another came (`displaced`)",
    ),
)

GROUPS: Final[Mapping[str, tuple[Metric, ...]]] = {
    "System and processes": _SYSTEM,
    "Machine and storage": _MACHINE,
    "Delivery": _DELIVERY,
    "Broker": _BROKER,
    "Collection": _COLLECTION,
    "Reference data and tape": _REFERENCE,
    "Page": _PAGE,
}

METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for group in GROUPS.values() for metric in group}


def table_text() -> str:
    """The tables of docs/metrics.md, in Markdown."""
    lines: list[str] = []
    for group, metrics in GROUPS.items():
        lines += [f"## {group}", "", "| name | type | labels | meaning |", "| --- | --- | --- | --- |"]
        for each in metrics:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            lines.append(f"| `{each.name}` | {each.type} | {labels} | {each.help} |")
        lines.append("")
    return "\n".join(lines)
