"""Tokens and health of all accounts: one process issues for all, so that none of the others ever does. It also asks the
broker which of the next days are sessions, since the calendar alone may be wrong.

Each account has its own life here: what one is refused, or waits for, holds up no other.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final, NamedTuple

from bus.events import AccountChecked, AlertRaised, Severity, TokenRenewed
from bus.producer import Producer
from observer import logs
from observer.accounts.health import Check, Health, Told, believed, is_news, judge, streams_up
from observer.accounts.token_cache import TokenRecord
from observer.accounts.tokens import (
    Cause,
    TokenSchedule,
    TokenState,
    after_failure,
    after_rejection,
    after_success,
    after_token_alone,
    due,
    renews_approval_key,
    tells_failure,
)
from observer.brokers import PROBE_SYMBOL, PROVIDER, BrokerAccount, Brokers
from observer.clock import NS_PER_S
from observer.errors import DataFileError, ProviderError, StoreError
from observer.providers.day_file import read_trading_days
from observer.providers.interfaces import QuoteSource
from observer.providers.kis.calls import KisIssuing
from observer.providers.kis.issued import IssuedToken
from observer.schedule.phases import DayPlan, moment_of
from observer.schedule.second_opinion import doubts
from observer.store.reader import StoreReader
from workers.runtime import Worker, run

logger = logging.getLogger(__name__)

CHECK_S: Final = 0.5  # machine seconds between checks at least, however fast the market's clock runs
MORNING: Final = "05:00"  # Korean time, before the universe is built
EVENING: Final = "20:00"  # the evening before, when a person can still put a day right
DAYS_ASKED: Final = 14  # longer than any closure so far, and one answer of the broker's
LOOK_S: Final = 0.1  # machine seconds between looks: whoever was refused waits for the next token


async def accounts(worker: Worker) -> None:
    """Keep every account's token as the policy says, and check the accounts' health in trading hours."""
    brokers = worker.brokers()
    async with worker.producer() as producer, contextlib.AsyncExitStack() as stack:
        tokens = [
            Tokens(worker, producer, account, await stack.enter_async_context(account.issuing()))
            for account in brokers.accounts
        ]
        probes = {account: await stack.enter_async_context(account.probe()) for account in brokers.accounts}
        await asyncio.gather(*[each.look_once() for each in tokens])  # what starts after this process finds tokens
        await worker.ready()
        checks = Checks(worker, producer, probes)
        async with asyncio.TaskGroup() as tasks:
            for each in tokens:
                tasks.create_task(each.keep())
            tasks.create_task(checks.run())
            tasks.create_task(SecondOpinion(worker, producer, brokers).run())
            tasks.create_task(_open_database(worker, checks))


async def _open_database(worker: Worker, checks: "Checks") -> None:
    """Tokens and probes wait for no database; what it knows is looked at once it answers."""
    async with worker.reader() as reader:
        checks.reader = reader
        await asyncio.Event().wait()


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
        cause = due(self._state, schedule, self._worker.clock.now_ns())
        if cause is not None:
            await self._issue(cause)

    async def _issue(self, cause: Cause) -> None:
        """Issue what the cause asks for. A token that came without the stream's new key is used all the same: the
        calls go on with it, the stream with its old key, and both are asked for again as after any failure.
        """
        try:
            token = await self._issuing.issue_token(self._account.keys.app_key, self._account.keys.app_secret)
            logs.conceal(token.access_token)
            old = self._record()
            try:
                approval_key = await self._approval_key(cause, old)
            except ProviderError:
                if old is not None:
                    self._put_in_force(token, old.approval_key, old.renewed_ns)
                    self._state = after_token_alone(self._state, token.issued_ns, token.expires_ns)
                raise
            now_ns = self._worker.clock.now_ns()
            self._put_in_force(token, approval_key, now_ns)
        except (ProviderError, OSError) as error:
            self._tell_failure(cause, error)
            return
        self._state = after_success(token.issued_ns, token.expires_ns, now_ns)
        logger.info("token of %s renewed (%s)", self._account.name, cause)
        self._publish_renewal(now_ns, token.expires_ns, cause, "")

    async def _approval_key(self, cause: Cause, old: TokenRecord | None) -> str:
        """The stream's key: that in force where it is to stay, otherwise a new one."""
        if old is not None and not renews_approval_key(cause):
            return old.approval_key
        keys = self._account.keys
        approval_key = await self._issuing.issue_approval_key(keys.app_key, keys.app_secret)
        logs.conceal(approval_key)
        return approval_key

    def _put_in_force(self, token: IssuedToken, approval_key: str, renewed_ns: int) -> None:
        """Write them down for all processes.

        Raises:
            OSError: the disk does not take them; what was in force stays so.
        """
        self._account.tokens.write(
            TokenRecord(
                access_token=token.access_token,
                approval_key=approval_key,
                issued_ns=token.issued_ns,
                expires_ns=token.expires_ns,
                renewed_ns=renewed_ns,
            )
        )

    def _tell_failure(self, cause: Cause, error: ProviderError | OSError) -> None:
        """The old token stays in use; a person should know (requirement 004, failure recovery scenario 1)."""
        now_ns = self._worker.clock.now_ns()
        is_told = tells_failure(self._state, now_ns)
        self._state = after_failure(self._state, now_ns)
        logger.error("token of %s not renewed (%s): %s", self._account.name, cause, error)
        self._publish_renewal(now_ns, self._state.expires_ns, cause, str(error))
        if is_told:
            text = f"token of account {self._account.name} not renewed ({cause}): {error}"
            self._producer.publish(AlertRaised(now_ns, "critical", self._worker.name, text))

    def _publish_renewal(self, now_ns: int, expires_ns: int | None, cause: Cause, error: str) -> None:
        renewed = TokenRenewed(PROVIDER, self._account.name, now_ns, expires_ns, cause, not error, error)
        self._producer.publish(renewed)

    def _recalled(self) -> TokenState:
        """What an earlier process left on disk."""
        record = self._record()
        return TokenState() if record is None else after_success(record.issued_ns, record.expires_ns, record.renewed_ns)

    def _record(self) -> TokenRecord | None:
        """What is in force, whose secrets no log shows from now on; an unreadable record is no record."""
        with contextlib.suppress(DataFileError):
            if record := self._account.tokens.read():
                logs.conceal(record.access_token)
                logs.conceal(record.approval_key)
                return record
        return None


def _schedule(plan: DayPlan | None) -> TokenSchedule:
    """The day's occasions; a day that is not known yet, or does not trade, has no morning."""
    if plan is None:
        return TokenSchedule(wake_up_ns=None, pre_market_ns=None, scheduled_ns=None)
    return TokenSchedule(
        wake_up_ns=plan.token_renewal_ns if plan.trades else None,
        pre_market_ns=plan.second_renewal_ns if plan.trades else None,
        scheduled_ns=plan.proactive_renewal_ns,
    )


class InUse(NamedTuple):
    """By account: whether its stream is up (absent: none should be, or nobody knows), and how many places it has."""

    connected: Mapping[str, bool]
    slots_held: Mapping[str, int]


class Checks:
    """The health of all accounts: found out, written down for everybody who calls a broker, told.

    `reader` is None while the database does not answer: then nothing is known of streams and places.
    """

    def __init__(self, worker: Worker, producer: Producer, probes: Mapping[BrokerAccount, QuoteSource]) -> None:
        self._worker = worker
        self._clock = worker.clock
        self._interval_s = worker.settings.pool.health_check_interval_seconds
        self._producer = producer
        self._probes = probes
        self._told: dict[str, Told] = {}
        self._began_ns = self._clock.now_ns()
        self.reader: StoreReader | None = None

    async def run(self) -> None:
        """Check from 08:10 to the end of Track A on each trading day."""
        while True:
            plan = await self._worker.today.plan()
            if plan.trades and self._clock.now_ns() < plan.track_a_stop_ns:
                await self._clock.sleep_until(plan.health_check_ns)
            while plan.trades and self._clock.now_ns() < plan.track_a_stop_ns:
                began_ns = self._clock.now_ns()
                await self._check_all(plan)
                await asyncio.sleep(CHECK_S)
                await self._clock.sleep_until(began_ns + round(self._interval_s * NS_PER_S))
            await self._worker.today.end_of(plan)

    async def _check_all(self, plan: DayPlan) -> None:
        use = await asyncio.to_thread(self._in_use, plan)
        await asyncio.gather(*[self._check(account, probe, use) for account, probe in self._probes.items()])

    def _in_use(self, plan: DayPlan) -> InUse:
        """What the database knows of streams and places today."""
        if self.reader is None:
            return InUse({}, {})
        try:
            connections = self.reader.latest_connections(plan.starts_ns)
            slots = Counter(slot.slot.rpartition(":")[0] for slot in self.reader.open_slots(plan.starts_ns))
        except StoreError as error:
            logger.warning("streams and places are not known: %s", error)
            return InUse({}, {})
        now_ns = self._clock.now_ns()
        if now_ns >= plan.track_b_stop_ns:
            return InUse({}, slots)
        told = {name: change.state == "connected" for name, change in connections.items()}
        due_for_ns = now_ns - max(plan.stream_connect_ns, self._began_ns)
        return InUse(streams_up(told, (account.name for account in self._probes), due_for_ns), slots)

    async def _check(self, account: BrokerAccount, probe: QuoteSource, use: InUse) -> None:
        token_valid = account.has_valid_token()
        problem = "" if token_valid else "no valid token"
        if token_valid:
            try:
                await probe.quotes([PROBE_SYMBOL], lane="normal")
            except ProviderError as error:
                problem = str(error)
        connected = use.connected.get(account.name)
        check = Check(token_valid=token_valid, rest_answers=not problem, stream_connected=connected)
        if connected is False:
            problem = problem or "the stream is not connected"
        now_ns = self._clock.now_ns()
        before = believed(account.health.read(), self._interval_s, now_ns)
        after = judge(before, check, now_ns)
        try:
            account.health.write(after)
        except OSError as error:  # readers stop to believe the last verdict by themselves; tokens must go on
            logger.error("health of %s is not written: %s", account.name, error)
        self._tell(account.name, check, after, problem, use.slots_held.get(account.name, 0))
        self._alert(account.name, before is None or before.healthy, after.healthy, problem)

    def _tell(self, name: str, check: Check, health: Health, detail: str, slots_held: int) -> None:
        now_ns = self._clock.now_ns()
        if is_news(self._told.get(name), check, health.healthy, now_ns):
            self._told[name] = Told(check, health.healthy, now_ns)
            self._producer.publish(
                AccountChecked(
                    PROVIDER,
                    name,
                    now_ns,
                    check.token_valid,
                    check.rest_answers,
                    health.healthy,
                    detail,
                    check.stream_connected,
                    slots_held,
                )
            )

    def _alert(self, name: str, was_healthy: bool, is_healthy: bool, detail: str) -> None:
        if was_healthy == is_healthy:
            return
        severity: Severity = "info" if is_healthy else "critical"
        text = f"account {name} is healthy again" if is_healthy else f"account {name} is not healthy: {detail}"
        logger.log(logging.INFO if is_healthy else logging.ERROR, "%s", text)
        self._producer.publish(AlertRaised(self._clock.now_ns(), severity, self._worker.name, text))


class SecondOpinion:
    """Holds the broker's calendar against ours, for today and the next session (design.md, section 4).

    The broker asks to be asked once a day (kis-api.md, section 4): that is in the evening; the morning looks at that
    answer again, and asks only where a process that began since has none.
    """

    def __init__(self, worker: Worker, producer: Producer, brokers: Brokers) -> None:
        self._worker = worker
        self._clock = worker.clock
        self._producer = producer
        self._brokers = brokers
        self._opens: dict[date, bool] = {}  # the broker's latest word

    async def run(self) -> None:
        """Look each morning and each evening; what was missed last is made up for."""
        while True:
            plan = await self._worker.today.plan()
            evening_ns = moment_of(plan, EVENING)
            if self._clock.now_ns() < evening_ns:
                await self._clock.sleep_until(moment_of(plan, MORNING))
                if plan.day not in self._opens:
                    await self._ask(plan.day)
                self._tell(plan.day)
            await self._clock.sleep_until(evening_ns)
            await self._ask(plan.day)
            self._tell(plan.day)
            await self._worker.today.end_of(plan)

    async def _ask(self, today: date) -> None:
        try:
            async with self._brokers.usable()[0].sessions() as calendar:
                days = await calendar.sessions(today, today + timedelta(days=DAYS_ASKED))
        except ProviderError as error:
            logger.warning("the broker's calendar is not known: %s", error)
            return
        self._opens = {each.day: each.opens for each in days}

    def _tell(self, today: date) -> None:
        for doubt in doubts(read_trading_days(self._worker.runtime), self._opens, today):
            severity: Severity = "critical" if doubt.day == today else "warning"
            logger.warning("%s", doubt.text)
            self._producer.publish(AlertRaised(self._clock.now_ns(), severity, self._worker.name, doubt.text))


if __name__ == "__main__":
    run("accounts", accounts)
