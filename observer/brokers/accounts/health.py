"""Health of an account: a decision over several checks. Pure.

The checks: a token, a REST call, the stream. `FAILURES_TO_FALL` failed checks in a row make an account unhealthy; one
good check makes it healthy again. Calls and stream have separate decisions: an account whose stream is down still
answers calls, and Track A goes on with it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from observer.base.units import NS_PER_S

FAILURES_TO_FALL: Final = 2
REPORTED_AT_LEAST_EVERY_NS: Final = 600 * NS_PER_S
SILENT_STREAM_NS: Final = 300 * NS_PER_S
"""The longest time without a first report after streaming began: the process may still be starting."""
_BELIEVED_INTERVALS: Final = 10  # after so many missed checks a decision is out of date


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check; `stream_connected` is None while not streaming, or unknown."""

    token_valid: bool
    rest_answers: bool
    stream_connected: bool | None


class HealthDecision(msgspec.Struct, frozen=True):
    """Healthy or not, and the number of failed checks in a row."""

    fit: bool = True
    failures: int = 0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The health of an account at `checked_ns` (UTC ns of market time)."""

    checked_ns: int
    calls: HealthDecision = HealthDecision()
    stream: HealthDecision = HealthDecision()

    @property
    def healthy(self) -> bool:
        return self.calls.fit and self.stream.fit


class Reported(msgspec.Struct, frozen=True):
    """The last published health, and its time."""

    check: Check
    healthy: bool
    reported_ns: int


def judge(before: Health | None, check: Check, now_ns: int) -> Health:
    """Return the health after one more check. `before` None: this is the first check."""
    known = before or Health(checked_ns=now_ns)
    return Health(
        checked_ns=now_ns,
        calls=_after(known.calls, passed=check.token_valid and check.rest_answers),
        stream=_after(known.stream, passed=check.stream_connected is not False),
    )


def streams_up(reported: Mapping[str, bool], accounts: Iterable[str], due_for_ns: int) -> Mapping[str, bool]:
    """By account whether its stream is up, from the last report of each (True: connected) and the time since streaming
    began. An account without a report is down after `SILENT_STREAM_NS`, and absent before. Empty while not streaming.
    """
    if due_for_ns < 0:
        return {}
    return reported if due_for_ns < SILENT_STREAM_NS else {**dict.fromkeys(accounts, False), **reported}


def believed(health: Health | None, interval_s: float, now_ns: int) -> Health | None:
    """The health, or None if `checked_ns` is too old or too far ahead of now (another clock)."""
    if health is None:
        return None
    age_ns = now_ns - health.checked_ns
    life_ns = round(_BELIEVED_INTERVALS * interval_s * NS_PER_S)
    return health if -life_ns < age_ns < life_ns else None


def is_alert_of_account(health: Health, *, is_stream_lost: bool, is_open: bool) -> bool:
    """Whether the account's own alert states its bad health. The alert of a lost stream states it already where that
    came first: one outage of the network takes stream and calls.
    """
    return not health.healthy and (is_open or not is_stream_lost)


def is_alert_of_stream(health: Health | None) -> bool:
    """Whether an alert of its own states that the account's stream is down: not while its calls fail too, which the
    account's alert states.
    """
    return health is None or health.calls.fit


def is_news(reported: Reported | None, check: Check, healthy: bool, now_ns: int) -> bool:
    """Whether to publish this check: it differs from the published check, or the published check is ten minutes old."""
    if reported is None or (reported.check, reported.healthy) != (check, healthy):
        return True
    return now_ns - reported.reported_ns >= REPORTED_AT_LEAST_EVERY_NS


def _after(decision: HealthDecision, *, passed: bool) -> HealthDecision:
    if passed:
        return HealthDecision()
    failures = decision.failures + 1
    return HealthDecision(decision.fit and failures < FAILURES_TO_FALL, failures)
