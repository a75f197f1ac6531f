"""Whether an account is fit for work: what each check found, judged over several of them. Pure.

Requirement 004 (Provider Pool, `health_check_all`; EnhancedTokenManager, `_run_health_check`): a token, a REST call,
the stream. One failed check is a hiccup; `FAILURES_TO_FALL` on end are an illness; one good check heals. Calls and
stream are judged apart: an account whose stream is down still answers calls, and Track A goes on with it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

_NS_PER_S: Final = 1_000_000_000
FAILURES_TO_FALL: Final = 2
TOLD_AT_LEAST_EVERY_NS: Final = 600 * _NS_PER_S
SILENT_STREAM_NS: Final = 300 * _NS_PER_S
"""How long a stream may say nothing at all after it is due: its process may be on its way."""
_BELIEVED_INTERVALS: Final = 10  # beyond so many missed checks a verdict says nothing of today


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found; `stream_connected` None: nobody should stream now, or nobody knows."""

    token_valid: bool
    rest_answers: bool
    stream_connected: bool | None


class Verdict(msgspec.Struct, frozen=True):
    """Fit or not, and how many checks on end have failed."""

    fit: bool = True
    failures: int = 0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an account since `checked_ns` (UTC ns of market time)."""

    checked_ns: int
    calls: Verdict = Verdict()
    stream: Verdict = Verdict()

    @property
    def healthy(self) -> bool:
        """Fit for calls and for the stream."""
        return self.calls.fit and self.stream.fit


class Told(msgspec.Struct, frozen=True):
    """What was published last, and when."""

    check: Check
    healthy: bool
    told_ns: int


def judge(before: Health | None, check: Check, now_ns: int) -> Health:
    """The health after one more check; None: the first one."""
    known = before or Health(checked_ns=now_ns)
    return Health(
        checked_ns=now_ns,
        calls=_after(known.calls, passed=check.token_valid and check.rest_answers),
        stream=_after(known.stream, passed=check.stream_connected is not False),
    )


def streams_up(told: Mapping[str, bool], accounts: Iterable[str], due_for_ns: int) -> Mapping[str, bool]:
    """By account whether its stream is up, given what each told last (True: connected) and how long streams have been
    due. One that never told anything is down once it is due for `SILENT_STREAM_NS`; before, nothing is known of it.
    """
    if due_for_ns < 0:
        return {}
    return told if due_for_ns < SILENT_STREAM_NS else {**dict.fromkeys(accounts, False), **told}


def believed(health: Health | None, interval_s: float, now_ns: int) -> Health | None:
    """The health, unless it was found so long ago, or so far ahead of now (another clock's), that it says nothing."""
    if health is None:
        return None
    age_ns = now_ns - health.checked_ns
    life_ns = round(_BELIEVED_INTERVALS * interval_s * _NS_PER_S)
    return health if -life_ns < age_ns < life_ns else None


def is_news(told: Told | None, check: Check, healthy: bool, now_ns: int) -> bool:
    """Whether this check is to be published: something is other than it was told, or that is ten minutes ago."""
    if told is None or (told.check, told.healthy) != (check, healthy):
        return True
    return now_ns - told.told_ns >= TOLD_AT_LEAST_EVERY_NS


def _after(verdict: Verdict, *, passed: bool) -> Verdict:
    if passed:
        return Verdict()
    failures = verdict.failures + 1
    return Verdict(verdict.fit and failures < FAILURES_TO_FALL, failures)
