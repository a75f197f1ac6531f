"""When to issue a token: the policy matrix and the wake-up table (docs/requirement.md). Pure.

A token lives 24 hours. Asked again within six hours a broker may give the same token, so a renewal that
returns the token in hand is a success; asked again within a minute it refuses. Whatever fails, the old token stays in
use.

Causes, the first that holds wins:

| cause | holds when | tries | the stream |
| --- | --- | --- | --- |
| rejected | the broker refused the token in use (HTTP 401 or its own code) | each minute | stays |
| key_rejected | the broker refused the stream's approval key | each minute | begins anew, the token stays |
| none_yet | there is no token, or it has expired | each minute | begins anew |
| pre_market | 08:30 has passed and nothing was renewed since 08:01 | three | begins anew |
| wake_up | 08:01 has passed and nothing was renewed since | three | begins anew |
| scheduled | 23:00 has passed and nothing was renewed since | one, optional | stays |
| age | the token is 23 hours old | each minute | stays |
"""

from typing import Final, Literal

import msgspec

from observer.base.units import NS_PER_S

ISSUE_SPACING_NS: Final = 60 * NS_PER_S  # a broker may refuse a second issue within the minute
AGE_LIMIT_NS: Final = 23 * 3600 * NS_PER_S  # one hour before the end of life
MORNING_TRIES: Final = 3
SCHEDULED_TRIES: Final = 1
_FAILURES_KEPT: Final = 8  # more than any occasion counts

Cause = Literal["rejected", "key_rejected", "none_yet", "pre_market", "wake_up", "scheduled", "age"]


class TokenState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an account's token; all moments in UTC ns of market time.

    `issued_ns` is when the broker made the token, `renewed_ns` when a renewal last succeeded: they differ when the same
    token came back, `key_renewed_ns` when the approval key alone was renewed. `failed_ns` are the latest failed
    attempts, oldest first. `rejected` and `key_rejected`: the broker refused the token, the approval key.
    """

    issued_ns: int | None = None
    expires_ns: int | None = None
    renewed_ns: int | None = None
    failed_ns: tuple[int, ...] = ()
    rejected: bool = False
    key_rejected: bool = False
    key_renewed_ns: int | None = None


class TokenSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The occasions of one day in UTC ns; None for an occasion that the day does not have (a holiday's morning)."""

    wake_up_ns: int | None
    pre_market_ns: int | None
    scheduled_ns: int | None


def due(state: TokenState, schedule: TokenSchedule, now_ns: int) -> Cause | None:
    """The cause to issue a token at `now_ns`; None: the token stays, or the last attempt was within the minute."""
    return _cause(state, schedule, now_ns) if now_ns >= _last_attempt_ns(state, now_ns) + ISSUE_SPACING_NS else None


def renews_approval_key(state: TokenState, cause: Cause) -> bool:
    """Whether the stream gets a new key too, and so reconnects.

    A renewal for the token's age, or at 23:00, leaves the stream as it is ("WS 유지"). So does a refused token: token
    and key are issued apart, and only the refusal of a key says that it is void.
    """
    return state.key_rejected or cause not in ("age", "scheduled", "rejected")


def after_success(issued_ns: int, expires_ns: int, now_ns: int) -> TokenState:
    """The state after a token came, whether a new one or the same again."""
    return TokenState(issued_ns=issued_ns, expires_ns=expires_ns, renewed_ns=now_ns)


def after_token_alone(state: TokenState, issued_ns: int, expires_ns: int) -> TokenState:
    """The state after a token came without the stream's key: the renewal is still due."""
    return msgspec.structs.replace(state, issued_ns=issued_ns, expires_ns=expires_ns)


def after_failure(state: TokenState, now_ns: int) -> TokenState:
    """The state after an attempt failed: everything stays, and the attempt counts."""
    return msgspec.structs.replace(state, failed_ns=(*state.failed_ns, now_ns)[-_FAILURES_KEPT:])


def after_key_renewal(state: TokenState, now_ns: int) -> TokenState:
    """The state after a new approval key came without a token: all about the token stays."""
    return msgspec.structs.replace(state, key_rejected=False, key_renewed_ns=now_ns)


def after_key_rejection(state: TokenState) -> TokenState:
    """The state after the broker refused the approval key in use."""
    return msgspec.structs.replace(state, key_rejected=True)


def after_rejection(state: TokenState) -> TokenState:
    """The state after the broker refused the token in use."""
    return msgspec.structs.replace(state, rejected=True)


def _cause(state: TokenState, schedule: TokenSchedule, now_ns: int) -> Cause | None:
    """The first cause of the table whose condition holds."""
    if state.rejected:
        return "rejected"
    if state.expires_ns is None or now_ns >= state.expires_ns:
        return "none_yet"
    if state.key_rejected:
        return "key_rejected"
    if _is_due(state, now_ns, schedule.pre_market_ns, schedule.wake_up_ns, MORNING_TRIES):
        return "pre_market"
    if _is_due(state, now_ns, schedule.wake_up_ns, schedule.wake_up_ns, MORNING_TRIES):
        # Later than 08:30 it is the other occasion's turn, and its tries are used up.
        before_pre_market = schedule.pre_market_ns is None or now_ns < schedule.pre_market_ns
        return "wake_up" if before_pre_market else _age_cause(state, now_ns)
    if _is_due(state, now_ns, schedule.scheduled_ns, schedule.scheduled_ns, SCHEDULED_TRIES):
        return "scheduled"
    return _age_cause(state, now_ns)


def _is_due(state: TokenState, now_ns: int, occasion_ns: int | None, since_ns: int | None, tries: int) -> bool:
    """Whether an occasion has come, nothing was renewed since `since_ns`, and fewer than `tries` failed since it."""
    if occasion_ns is None or now_ns < occasion_ns:
        return False
    needed_since_ns = occasion_ns if since_ns is None else since_ns
    if state.renewed_ns is not None and state.renewed_ns >= needed_since_ns:
        return False
    return sum(failed_ns >= occasion_ns for failed_ns in state.failed_ns) < tries


def _age_cause(state: TokenState, now_ns: int) -> Cause | None:
    return "age" if state.issued_ns is not None and now_ns - state.issued_ns >= AGE_LIMIT_NS else None


def _last_attempt_ns(state: TokenState, now_ns: int) -> int:
    """The time of the last request to the broker; a time long ago without a request. A time in the future comes from a
    clock that was set back: the request's age is unknown, which is no reason to wait.
    """
    attempts_ns = [
        moment_ns for moment_ns in (state.renewed_ns, state.key_renewed_ns, *state.failed_ns) if moment_ns is not None
    ]
    return max((moment_ns for moment_ns in attempts_ns if moment_ns <= now_ns), default=now_ns - ISSUE_SPACING_NS)
