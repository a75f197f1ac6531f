"""Keeps the access tokens and checks the health of all accounts, and compares the broker's calendar with ours."""

import asyncio
import contextlib

from observer.brokers.accounts.health_checks import CalendarCheck, HealthChecks, report_hosts
from observer.brokers.accounts.token_issuer import TokenIssuer
from observer.system.worker import Worker, run


async def accounts(worker: Worker) -> None:
    """Keep every account's token as the policy says, and check the accounts' health in trading hours."""
    brokers, today, clock, alerts = worker.brokers(), worker.today, worker.clock, worker.alerts
    async with worker.producer() as producer, contextlib.AsyncExitStack() as stack:
        issuers = [
            TokenIssuer(
                account,
                await stack.enter_async_context(account.issuing()),
                today=today,
                clock=clock,
                producer=producer,
                alerts=alerts,
            )
            for account in brokers.accounts
            if account.broker.issuing is not None
        ]
        probes = {account: await stack.enter_async_context(account.probe()) for account in brokers.accounts}
        await asyncio.gather(*[each.check_once() for each in issuers])  # later processes find tokens
        report_hosts(brokers, alerts)
        await worker.ready()
        interval_s = worker.settings.pool.health_check_interval_seconds
        checks = HealthChecks(probes, interval_s, today=today, clock=clock, producer=producer, alerts=alerts)
        calendar = CalendarCheck(brokers, worker.runtime, today=today, clock=clock, alerts=alerts)
        async with asyncio.TaskGroup() as tasks:
            for each in issuers:
                tasks.create_task(each.keep())
            tasks.create_task(checks.run())
            tasks.create_task(calendar.run())
            tasks.create_task(_open_database(worker, checks))


async def _open_database(worker: Worker, checks: HealthChecks) -> None:
    """Open the database for the checks that need it; tokens and probes do not wait for it."""
    async with worker.reader() as reader:
        checks.reader = reader
        await asyncio.Event().wait()


if __name__ == "__main__":
    run("accounts", accounts)
