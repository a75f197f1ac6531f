"""Regular requests to the brokers: a health check of each account, and a check of the coming sessions."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from bus.events import AccountChecked, Severity
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.errors import ProviderError, StoreError
from observer.base.units import NS_PER_S
from observer.brokers.accounts.clients import BrokerAccount, Brokers
from observer.brokers.accounts.health import (
    Check,
    Health,
    Reported,
    believed,
    is_alert_of_account,
    is_news,
    judge,
    streams_up,
)
from observer.brokers.broker import QuoteSource
from observer.calendar.checks import doubts
from observer.calendar.day_file import read_trading_days
from observer.calendar.phases import DayPlan, moment_of
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS
from observer.selection.allocation import held_by_account
from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

CHECK_S: Final = 0.5  # machine seconds between checks at least, however fast the market's clock runs
MORNING: Final = "05:00"  # Korean time, before the universe is built
EVENING: Final = "20:00"  # the evening before, when a person can still put a day right
RATE_LIMIT: Final = "rate_limit:"
"""How the identity of an alert begins that a broker admits fewer calls than configured."""
HOSTS: Final = "broker_host:"
"""How the identity of an alert begins that a host does less than its broker."""
DAYS_ASKED: Final = 14  # longer than any closure so far, and one answer of the broker's


class InUse(NamedTuple):
    """By account: whether its stream is up (absent while not streaming, or unknown), and its number of slots; and the
    accounts whose streams reported an outage, which is an alert.
    """

    connected: Mapping[str, bool]
    slots_held: Mapping[str, int]
    lost: Collection[str] = ()


class HealthChecks:
    """Checks the health of all accounts, writes it for every process that calls a broker, publishes it.

    `reader` is None while the database does not answer; streams and slots are then unknown.
    """

    def __init__(
        self,
        probes: Mapping[BrokerAccount, QuoteSource],
        interval_s: float,
        *,
        today: TradingDayService,
        clock: Clock,
        producer: Producer,
        alerts: Alerts,
    ) -> None:
        self._today = today
        self._clock = clock
        self._alerts = alerts
        self._interval_s = interval_s
        self._producer = producer
        self._probes = probes
        self._reported: dict[str, Reported] = {}
        self._began_ns = self._clock.now_ns()
        self.reader: StoreReader | None = None

    async def run(self) -> None:
        """Check from 08:10 to the end of Track A on each trading day."""
        while True:
            plan = await self._today.plan()
            if plan.trades and self._clock.now_ns() < plan.track_a_stop_ns:
                await self._clock.sleep_until(plan.health_check_ns)
            while plan.trades and self._clock.now_ns() < plan.track_a_stop_ns:
                began_ns = self._clock.now_ns()
                await self._check_all(plan)
                await asyncio.sleep(CHECK_S)
                await self._clock.sleep_until(began_ns + round(self._interval_s * NS_PER_S))
            await self._today.end_of(plan)

    async def _check_all(self, plan: DayPlan) -> None:
        self._report_limits()
        use = await asyncio.to_thread(self._in_use, plan)
        await asyncio.gather(*[self._check(account, probe, use) for account, probe in self._probes.items()])

    def _report_limits(self) -> None:
        """Report accounts that call at a lower rate than configured, as their broker refused more."""
        learned = {account.name: account.learned_limit() for account in self._probes}
        low = {f"{RATE_LIMIT}{name}": (name, most) for name, most in learned.items() if most is not None}
        self._alerts.resolve_all(RATE_LIMIT, "the configured rate limit is in force again", low)
        for identity, (name, most) in low.items():
            text = f"account {name} calls at most {most} times a second: its broker refused more; set rate_limit to it"
            self._alerts.report(identity, "warning", text)

    def _in_use(self, plan: DayPlan) -> InUse:
        """The state of streams and the slots in use today, from the database."""
        if self.reader is None:
            return InUse({}, {})
        try:
            connections = self.reader.latest_connections(plan.starts_ns)
            held = [assigned.slot for assigned in self.reader.open_slots(plan.starts_ns)]
        except StoreError as error:
            logger.warning("streams and slots are not known: %s", error)
            return InUse({}, {})
        slots = held_by_account({account.name: account.subscriptions for account in self._probes}, held)
        now_ns = self._clock.now_ns()
        if now_ns >= plan.track_b_stop_ns:
            return InUse({}, slots)
        reported = {name: change.state == "connected" for name, change in connections.items()}
        due_for_ns = now_ns - max(plan.stream_connect_ns, self._began_ns)
        connected = streams_up(reported, (account.name for account in self._probes), due_for_ns)
        lost = {name for name, change in connections.items() if change.state not in ("connected", "closed")}
        return InUse(connected, slots, lost)

    async def _check(self, account: BrokerAccount, probe: QuoteSource, use: InUse) -> None:
        token_valid = account.has_valid_token()
        problem = "" if token_valid else "no valid token"
        if token_valid:
            try:
                await probe.quotes([account.broker.probe_symbol], priority="normal")
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
        except OSError as error:  # readers stop to believe the last decision by themselves; tokens must go on
            logger.error("health of %s is not written: %s", account.name, error)
        COUNTERS.set("observer_account_healthy", account.name, to=after.healthy)
        self._report(account, check, after, problem, use.slots_held.get(account.name, 0))
        self._alert(account.name, after, problem, is_stream_lost=account.name in use.lost)

    def _report(self, account: BrokerAccount, check: Check, health: Health, detail: str, slots_held: int) -> None:
        now_ns, name = self._clock.now_ns(), account.name
        if is_news(self._reported.get(name), check, health.healthy, now_ns):
            self._reported[name] = Reported(check, health.healthy, now_ns)
            self._producer.publish(
                AccountChecked(
                    account.provider,
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

    def _alert(self, name: str, health: Health, detail: str, *, is_stream_lost: bool) -> None:
        identity = f"account:{name}"
        if health.healthy:
            self._alerts.settle(identity, f"account {name} is healthy again")
        elif is_alert_of_account(health, is_stream_lost=is_stream_lost, is_open=identity in self._alerts.identities):
            self._alerts.report(identity, "critical", f"account {name} is not healthy: {detail}")


def report_hosts(brokers: Brokers, alerts: Alerts) -> None:
    """Report at the start which hosts are for practice, and what does not work there."""
    found = {f"{HOSTS}{number}": notice for number, notice in enumerate(brokers.notices)}
    alerts.resolve_all(HOSTS, "the hosts are the brokers' real ones", found)
    for identity, notice in found.items():
        alerts.report(identity, "warning", notice)


class CalendarCheck:
    """Compares the broker's calendar with ours, for today and the next session.

    The broker asks for one call a day. The evening check makes it; the morning check reuses that answer, and calls only
    in a process that has none.
    """

    def __init__(
        self,
        brokers: Brokers,
        runtime: Path,
        *,
        today: TradingDayService,
        clock: Clock,
        alerts: Alerts,
    ) -> None:
        self._runtime = runtime
        self._today = today
        self._clock = clock
        self._alerts = alerts
        self._brokers = brokers
        self._opens: dict[date, bool] = {}  # the broker's latest answer

    async def run(self) -> None:
        """Check each morning and each evening; after a missed check, run the latest one."""
        while True:
            plan = await self._today.plan()
            evening_ns = moment_of(plan, EVENING)
            if self._clock.now_ns() < evening_ns:
                await self._clock.sleep_until(moment_of(plan, MORNING))
                if plan.day not in self._opens:
                    await self._ask(plan.day)
                self._report(plan.day)
            await self._clock.sleep_until(evening_ns)
            await self._ask(plan.day)
            self._report(plan.day)
            await self._today.end_of(plan)

    async def _ask(self, today: date) -> None:
        try:
            async with self._brokers.usable("sessions")[0].rest() as calendar:
                days = await calendar.sessions(today, today + timedelta(days=DAYS_ASKED))
        except ProviderError as error:
            logger.warning("the broker's calendar is not known: %s", error)
            return
        self._opens = {each.day: each.opens for each in days}

    def _report(self, today: date) -> None:
        found = {f"calendar:{each.day}": each for each in doubts(read_trading_days(self._runtime), self._opens, today)}
        self._alerts.resolve_all("calendar:", "no source contradicts the calendar, or the day is over", found)
        for identity, doubt in found.items():
            severity: Severity = "critical" if doubt.day == today else "warning"
            self._alerts.report(identity, severity, doubt.text)
