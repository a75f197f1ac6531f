"""Is the system ready to collect? The checklist: slots, database, token, stream, calendar. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from bus.commands import ProcessStatus, Sample, StatusReply
from observer.base.units import NS_PER_S
from observer.monitoring.metrics.events import STREAM_CONNECTED

_EXPIRES: Final = "observer_token_expires_timestamp_seconds"


class DayState(msgspec.Struct, frozen=True, kw_only=True):
    """What the calendar says of this moment: whether the day is known, whether streams are to be connected, whether
    slots are to be assigned.
    """

    is_known: bool
    connects: bool = False
    streams: bool = False


class Check(msgspec.Struct, frozen=True):
    """One line of the checklist. `age_s`: machine seconds since its figures were reported; None: they never were."""

    name: str
    ready: bool
    detail: str
    age_s: float | None


class Readiness(msgspec.Struct, frozen=True):
    """The checklist; ready when every line is."""

    ready: bool
    checks: tuple[Check, ...]


class Owners(msgspec.Struct, frozen=True, kw_only=True):
    """The processes that the lines are about, and the identity of the alert about the database."""

    database: str
    tokens: str
    slots: str
    database_alert: str


def readiness(
    status: StatusReply,
    samples: Mapping[str, Sequence[Sample]],
    day: DayState,
    owners: Owners,
    accounts: Collection[str],
) -> Readiness:
    """The checklist now. `samples` are those of the processes' last heartbeats; the exporter's own have the name "".
    Every configured account has to stream, and no other counts.
    """
    processes = {process.name: process for process in status.processes}
    checks = (
        _slots(processes.get(owners.slots), samples.get(owners.slots, ()), day),
        _database(processes.get(owners.database), status, owners),
        _token(processes.get(owners.tokens), samples.get(owners.tokens, ()), status.market_time_ns),
        _stream(processes.get(owners.slots), samples.get("", ()), day, accounts),
        Check("calendar", day.is_known, "the day is known" if day.is_known else "the trading day is not known", 0.0),
    )
    return Readiness(all(check.ready for check in checks), checks)


def _runs(process: ProcessStatus | None) -> str:
    """Why the process does not run; empty while it does."""
    if process is None:
        return "its process is not configured"
    return "" if process.state == "RUNNING" else f"{process.name} is {process.state}"


def _age_s(process: ProcessStatus | None) -> float | None:
    return None if process is None else process.heartbeat_age_s


def _slots(process: ProcessStatus | None, samples: Sequence[Sample], day: DayState) -> Check:
    problem = _runs(process)
    found = [each for each in samples if each.metric == "observer_slots"]
    total = sum(each.value for each in found)
    streaming = sum(each.value for each in found if each.labels[-1:] == ("streaming",))
    if not problem and day.streams and not total:
        problem = "no slots are reported in the hours of streaming"
    detail = f"{streaming:.0f} of {total:.0f} slots stream" if total else "no slots at this hour"
    return Check("slots", not problem, problem or detail, _age_s(process))


def _database(process: ProcessStatus | None, status: StatusReply, owners: Owners) -> Check:
    problem = _runs(process)
    if not problem and any(alert.identity == owners.database_alert for alert in status.alerts):
        problem = "the database refuses or does not answer"
    return Check("database", not problem, problem or "the writer runs and the database takes events", _age_s(process))


def _token(process: ProcessStatus | None, samples: Sequence[Sample], now_ns: int) -> Check:
    problem = _runs(process)
    expiring = {each.labels[-1]: each.value for each in samples if each.metric == _EXPIRES}
    expired = sorted(account for account, expires_s in expiring.items() if expires_s * NS_PER_S <= now_ns)
    if not problem and not expiring:
        problem = "no account has an access token"
    elif not problem and expired:
        problem = f"expired: {', '.join(expired)}"
    return Check("token", not problem, problem or f"{len(expiring)} valid", _age_s(process))


def _stream(
    process: ProcessStatus | None, samples: Sequence[Sample], day: DayState, accounts: Collection[str]
) -> Check:
    if not day.connects:
        return Check("stream", True, "no stream is due at this hour", 0.0)
    problem = _runs(process)
    found = {each.labels[-1]: each.value for each in samples if each.metric == STREAM_CONNECTED}
    absent = sorted(account for account in accounts if not found.get(account))
    if not problem and absent:
        problem = f"not connected: {', '.join(absent)}"
    return Check("stream", not problem, problem or f"{len(accounts)} connected", _age_s(process))
