"""Tokens and the health of the account: one process issues for all, so that none of the others ever does."""

import asyncio
import contextlib
import logging
from typing import Final

import msgspec

from bus.events import AccountChecked, AlertRaised, TokenRenewed
from bus.producer import Producer
from observer import logs
from observer.accounts.token_cache import TokenRecord
from observer.accounts.tokens import (
    Cause,
    IssueNow,
    TokenSchedule,
    TokenState,
    after_failure,
    after_rejection,
    after_success,
    decide,
)
from observer.brokers import PROBE_SYMBOL, PROVIDER, BrokerAccount
from observer.errors import DataFileError, ProviderError
from observer.providers.interfaces import QuoteSource
from observer.providers.kis.calls import KisIssuing
from observer.schedule.phases import DayPlan
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.1  # machine seconds between looks: whoever was refused waits for the next token


async def accounts(worker: Worker) -> None:
    """Keep the account's token as the policy says, and check the account's health in the morning."""
    account = worker.broker_account()
    async with worker.producer() as producer, account.issuing() as issuing, account.rest() as rest:
        tokens = Tokens(worker, producer, account, issuing)
        await tokens.look_once()  # what starts after this process finds a token
        await worker.ready()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(tokens.keep())
            tasks.create_task(_check_daily(worker, producer, account, rest))


class Tokens:
    """The token of one account: looks, decides (observer.accounts.tokens), issues, tells."""

    def __init__(self, worker: Worker, producer: Producer, account: BrokerAccount, issuing: KisIssuing) -> None:
        self._worker = worker
        self._producer = producer
        self._account = account
        self._issuing = issuing
        self._state = self._recalled()

    async def keep(self) -> None:
        """Look again and again; the policy says whether anything is to be done."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look_once()

    async def look_once(self) -> None:
        """Issue a token if there is a cause to."""
        with contextlib.suppress(DataFileError):  # an unreadable record is no record, and nobody was refused with it
            if self._account.tokens.pending_rejection():
                self._state = after_rejection(self._state)
        schedule = _schedule(self._worker.today.known())
        decision = decide(self._state, schedule, self._worker.clock.now_ns())
        if isinstance(decision, IssueNow):
            await self._issue(decision.cause)

    async def _issue(self, cause: Cause) -> None:
        keys = self._account.keys
        try:
            token = await self._issuing.issue_token(keys.app_key, keys.app_secret)
            approval_key = await self._issuing.issue_approval_key(keys.app_key, keys.app_secret)
        except ProviderError as error:
            self._tell_failure(cause, error)
            return
        logs.conceal(token.access_token)
        logs.conceal(approval_key)
        now_ns = self._worker.clock.now_ns()
        self._state = after_success(token.issued_ns, token.expires_ns, now_ns)
        self._account.tokens.write(
            TokenRecord(
                access_token=token.access_token,
                approval_key=approval_key,
                issued_ns=token.issued_ns,
                expires_ns=token.expires_ns,
                renewed_ns=now_ns,
            )
        )
        logger.info("token renewed (%s)", cause)
        self._publish_renewal(now_ns, token.expires_ns, cause, "")

    def _tell_failure(self, cause: Cause, error: ProviderError) -> None:
        """The old token stays in use; a person should know (requirement 004, failure recovery scenario 1)."""
        now_ns = self._worker.clock.now_ns()
        self._state = after_failure(self._state, now_ns)
        logger.error("token not renewed (%s): %s", cause, error)
        self._publish_renewal(now_ns, self._state.expires_ns, cause, str(error))
        text = f"token of account {self._account.name} not renewed ({cause}): {error}"
        self._producer.publish(AlertRaised(now_ns, "critical", self._worker.name, text))

    def _publish_renewal(self, now_ns: int, expires_ns: int | None, cause: Cause, error: str) -> None:
        renewed = TokenRenewed(PROVIDER, self._account.name, now_ns, expires_ns, cause, not error, error)
        self._producer.publish(renewed)

    def _recalled(self) -> TokenState:
        """What an earlier process left on disk; an unreadable record is no record."""
        with contextlib.suppress(DataFileError):
            if record := self._account.tokens.read():
                logs.conceal(record.access_token)
                logs.conceal(record.approval_key)
                return after_success(record.issued_ns, record.expires_ns, record.renewed_ns)
        return TokenState()


def _schedule(plan: DayPlan | None) -> TokenSchedule:
    """The day's occasions; a day that is not known yet, or does not trade, has no morning."""
    if plan is None:
        return TokenSchedule(wake_up_ns=None, pre_market_ns=None, scheduled_ns=None)
    return TokenSchedule(
        wake_up_ns=plan.token_renewal_ns if plan.trades else None,
        pre_market_ns=plan.second_renewal_ns if plan.trades else None,
        scheduled_ns=plan.proactive_renewal_ns,
    )


async def _check_daily(worker: Worker, producer: Producer, account: BrokerAccount, quotes: QuoteSource) -> None:
    """Check at 08:10 of each trading day whether the account has a token and a REST call gets through."""
    while True:
        plan = await worker.today.plan()
        if plan.trades and worker.clock.now_ns() < plan.track_a_stop_ns:
            await worker.clock.sleep_until(plan.health_check_ns)
            await _check(worker, producer, account, quotes)
        await worker.today.end_of(plan)


async def _check(worker: Worker, producer: Producer, account: BrokerAccount, quotes: QuoteSource) -> None:
    record = None
    with contextlib.suppress(DataFileError):  # an unreadable record is no record
        record = account.tokens.read()
    token_valid = record is not None and record.expires_ns > worker.clock.now_ns()
    checked = AccountChecked(PROVIDER, account.name, worker.clock.now_ns(), token_valid, True, token_valid, "")
    try:
        await quotes.quotes([PROBE_SYMBOL], lane="normal")
    except ProviderError as error:
        checked = msgspec.structs.replace(checked, rest_answers=False, healthy=False, detail=str(error))
    producer.publish(checked)
    if not checked.healthy:
        text = f"account {account.name} is not healthy: {checked.detail or 'no valid token'}"
        producer.publish(AlertRaised(worker.clock.now_ns(), "critical", worker.name, text))


if __name__ == "__main__":
    run("accounts", accounts)
