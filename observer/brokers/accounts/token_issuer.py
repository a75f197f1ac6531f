"""Issues access tokens in one process for all accounts and processes.

Each account has its own loop, so a refusal or a wait of one account delays no other account.
"""

import asyncio
import contextlib
import logging
from typing import Final

import msgspec

from bus.events import TokenRenewed
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.errors import DataFileError, ProviderError
from observer.base.text import conceal
from observer.base.units import NS_PER_S
from observer.brokers.accounts.clients import BrokerAccount
from observer.brokers.accounts.token_cache import TokenRecord
from observer.brokers.accounts.tokens import (
    Cause,
    TokenSchedule,
    TokenState,
    after_failure,
    after_key_rejection,
    after_key_renewal,
    after_rejection,
    after_success,
    after_token_alone,
    due,
    renews_approval_key,
)
from observer.brokers.broker import CredentialIssuer, IssuedToken
from observer.calendar.phases import DayPlan
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS

logger = logging.getLogger(__name__)

POLL_S: Final = 0.1  # machine seconds between checks: a process whose token was refused waits for the next one


class TokenIssuer:
    """Keeps one account's token: checks, decides (observer.brokers.accounts.tokens), issues, publishes."""

    def __init__(
        self,
        account: BrokerAccount,
        issuing: CredentialIssuer,
        *,
        today: TradingDayService,
        clock: Clock,
        producer: Producer,
        alerts: Alerts,
    ) -> None:
        self._today = today
        self._clock = clock
        self._alerts = alerts
        self._producer = producer
        self._account = account
        self._issuing = issuing
        self._state = self._recalled()

    async def keep(self) -> None:
        """Check again and again; issue when the policy demands it."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.check_once()

    async def check_once(self) -> None:
        with contextlib.suppress(DataFileError):  # an unreadable record is no record, so no call used it
            if self._account.tokens.pending_rejection():
                self._state = after_rejection(self._state)
            if self._account.tokens.pending_rejection("approval_key"):
                self._state = after_key_rejection(self._state)
        schedule = _schedule(self._today.known())
        cause = due(self._state, schedule, self._clock.now_ns())
        if cause == "key_rejected":
            await self._issue_key()
        elif cause is not None:
            await self._issue(cause)
        self._record_ages()

    def _record_ages(self) -> None:
        name, state = self._account.name, self._state
        for what, moment_ns in (("issued", state.issued_ns), ("expires", state.expires_ns)):
            if moment_ns is not None:
                COUNTERS.set(f"observer_token_{what}_timestamp_seconds", name, to=moment_ns / NS_PER_S)

    async def _issue_key(self) -> None:
        """Issue an approval key alone: the token in force stays, and the account's owner gets no message."""
        old = self._record()
        if old is None:
            return  # then a token is due, with a key
        try:
            approval_key = await self._new_approval_key()
            now_ns = self._clock.now_ns()
            self._account.tokens.write(msgspec.structs.replace(old, approval_key=approval_key, key_renewed_ns=now_ns))
        except (ProviderError, OSError) as error:
            self._report_failure("key_rejected", error)
            return
        self._state = after_key_renewal(self._state, now_ns)
        self._report_success("key_rejected", now_ns, old.expires_ns)

    async def _issue(self, cause: Cause) -> None:
        """Issue what the cause asks for. A token without the stream's new key is still used: calls use the token, the
        stream keeps its old key, and both are requested again as after any failure.
        """
        try:
            token = await self._issuing.issue_token(self._account.keys.app_key, self._account.keys.app_secret)
            conceal(token.access_token)
            old = self._record()
            try:
                approval_key = await self._approval_key(cause, old)
            except ProviderError:
                if old is not None:
                    self._put_in_force(token, old.approval_key, old.renewed_ns, old.key_renewed_ns)
                    self._state = after_token_alone(self._state, token.issued_ns, token.expires_ns)
                raise
            now_ns = self._clock.now_ns()
            is_old_key = old is not None and old.approval_key == approval_key
            self._put_in_force(token, approval_key, now_ns, old.key_renewed_ns if old and is_old_key else now_ns)
        except (ProviderError, OSError) as error:
            self._report_failure(cause, error)
            return
        self._state = after_success(token.issued_ns, token.expires_ns, now_ns)
        self._report_success(cause, now_ns, token.expires_ns)

    def _report_success(self, cause: Cause, now_ns: int, expires_ns: int) -> None:
        logger.info("token of %s renewed (%s)", self._account.name, cause)
        self._publish_renewal(now_ns, expires_ns, cause, "")
        self._alerts.resolve(self._identity, f"token of account {self._account.name} renewed ({cause})")

    async def _approval_key(self, cause: Cause, old: TokenRecord | None) -> str:
        """Return the stream's key: the key in force, or a new one if the cause asks for it."""
        if old is not None and not renews_approval_key(self._state, cause):
            return old.approval_key
        return await self._new_approval_key()

    async def _new_approval_key(self) -> str:
        keys = self._account.keys
        approval_key = await self._issuing.issue_approval_key(keys.app_key, keys.app_secret)
        conceal(approval_key)
        return approval_key

    def _put_in_force(self, token: IssuedToken, approval_key: str, renewed_ns: int, key_renewed_ns: int) -> None:
        """Write token and key for all processes. Raises OSError: what was in force stays so."""
        self._account.tokens.write(
            TokenRecord(
                access_token=token.access_token,
                approval_key=approval_key,
                issued_ns=token.issued_ns,
                expires_ns=token.expires_ns,
                renewed_ns=renewed_ns,
                key_renewed_ns=key_renewed_ns,
            )
        )

    def _report_failure(self, cause: Cause, error: ProviderError | OSError) -> None:
        now_ns = self._clock.now_ns()
        self._state = after_failure(self._state, now_ns)
        logger.error("token of %s not renewed (%s): %s", self._account.name, cause, error)
        self._publish_renewal(now_ns, self._state.expires_ns, cause, str(error))
        text = f"token of account {self._account.name} not renewed ({cause}): {error}"
        self._alerts.report(self._identity, "critical", text)

    @property
    def _identity(self) -> str:
        return f"token:{self._account.name}"

    def _publish_renewal(self, now_ns: int, expires_ns: int | None, cause: Cause, error: str) -> None:
        renewed = TokenRenewed(self._account.provider, self._account.name, now_ns, expires_ns, cause, not error, error)
        self._producer.publish(renewed)

    def _recalled(self) -> TokenState:
        """The state that an earlier process left on disk."""
        record = self._record()
        return TokenState() if record is None else after_success(record.issued_ns, record.expires_ns, record.renewed_ns)

    def _record(self) -> TokenRecord | None:
        """Return the record in force, its secrets concealed in the log; None for an unreadable record."""
        with contextlib.suppress(DataFileError):
            if record := self._account.tokens.read():
                conceal(record.access_token)
                conceal(record.approval_key)
                return record
        return None


def _schedule(plan: DayPlan | None) -> TokenSchedule:
    """The day's occasions. An unknown day and a day without trading have no morning occasions."""
    if plan is None:
        return TokenSchedule(wake_up_ns=None, pre_market_ns=None, scheduled_ns=None)
    return TokenSchedule(
        wake_up_ns=plan.token_renewal_ns if plan.trades else None,
        pre_market_ns=plan.second_renewal_ns if plan.trades else None,
        scheduled_ns=plan.proactive_renewal_ns,
    )
