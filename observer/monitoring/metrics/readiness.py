"""Is the system ready to collect? The checklist: slots, database, token, stream, calendar. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from bus.commands import Sample, StatusReply
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
    """The processes that the lines are about, and the identities of the alerts that it takes no events."""

    database: str
    tokens: str
    slots: str
    database_alerts: Sequence[str]


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

    def check(name: str, owner: str, problem: str, detail: str) -> Check:
        process = processes.get(owner)
        if process is None:
            return Check(name, False, "its process is not configured", None)
        if process.state != "RUNNING":
            problem = f"{owner} is {process.state}"
        return Check(name, not problem, problem or detail, process.heartbeat_age_s)

    slots = [each for each in samples.get(owners.slots, ()) if each.metric == "observer_slots"]
    total = sum(each.value for each in slots)
    streaming = sum(each.value for each in slots if each.labels[-1:] == ("streaming",))
    is_refused = any(alert.identity in owners.database_alerts for alert in status.alerts)
    tokens = _by_account(samples.get(owners.tokens, ()), _EXPIRES)
    expired = [account for account, expires_s in tokens.items() if expires_s * NS_PER_S <= status.market_time_ns]
    connected = _by_account(samples.get("", ()), STREAM_CONNECTED)
    absent = [account for account in accounts if not connected.get(account)]
    checks = (
        check(
            "slots",
            owners.slots,
            "no slots are reported in the hours of streaming" if day.streams and not total else "",
            f"{streaming:.0f} of {total:.0f} slots stream" if total else "no slots at this hour",
        ),
        check(
            "database",
            owners.database,
            "the database refuses or does not answer" if is_refused else "",
            "the writer runs and the database takes events",
        ),
        check(
            "token",
            owners.tokens,
            _named("expired", expired) if tokens else "no account has an access token",
            f"{len(tokens)} valid",
        ),
        check("stream", owners.slots, _named("not connected", absent), f"{len(accounts)} connected")
        if day.connects
        else Check("stream", True, "no stream is due at this hour", 0.0),
        Check("calendar", day.is_known, "the day is known" if day.is_known else "the trading day is not known", 0.0),
    )
    return Readiness(all(check.ready for check in checks), checks)


def _by_account(samples: Sequence[Sample], metric: str) -> Mapping[str, float]:
    return {each.labels[-1]: each.value for each in samples if each.metric == metric}


def _named(problem: str, accounts: Collection[str]) -> str:
    """The problem of these accounts; empty without any."""
    return f"{problem}: {', '.join(sorted(accounts))}" if accounts else ""
