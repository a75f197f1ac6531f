"""Three accounts: each has its own token and health, and a failure of one stops no other."""

import asyncio
import contextlib
import datetime as dt
import os

from bus.delivery import Delivered
from bus.events import AccountChecked, AlertRaised, AlertRepeated, AlertResolved, ConnectionChanged, TokenRenewed
from observer.base.local_time import local_ns
from observer.brokers.accounts.failover import StreamOutages
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY
from observer.store.writer import StoreWriter
from tests.brokers.teaching import teach
from tests.workers.three_accounts import ILL, NAMES, scene


def is_healthy(day, name):
    """Whether calls and stream of the account are healthy by its last check."""
    health = day.brokers.health_of(name)
    return health is None or health.healthy


async def test_each_account_has_a_token_of_its_own_and_is_checked_in_the_morning():
    async with scene(8, 8) as day:
        await day.until(lambda: len({check.account for check in day.reported(AccountChecked)}) == 3, "checks")
        records = [day.token(name) for name in NAMES]
        assert len({record.access_token for record in records}) == 3
        assert len({record.approval_key for record in records}) == 3
        assert all(check.healthy and check.token_valid and check.rest_answers for check in day.reported(AccountChecked))
        assert min(check.checked_ns for check in day.reported(AccountChecked)) >= local_ns(DAY, 8, 10)
        assert day.usable() == list(NAMES)
        assert not day.reported(AlertRaised)


async def test_an_account_that_the_broker_refuses_is_unhealthy_alone_and_recovers():
    async with scene(9) as day, day.brokers.rest() as rest:
        await day.until(lambda: all(day.account(name).health.read() for name in NAMES), "all were checked")
        day.refuse(ILL)
        await day.until(lambda: not is_healthy(day, ILL), "it is ill")
        assert day.usable() == [NAMES[0], NAMES[2]]
        streams = StreamOutages(NAMES, 0, after_s=0.0)
        for name in NAMES:
            streams.came_up(name, 0)
        assert day.brokers.closed(streams, 1) == frozenset(), "its stream runs on"
        assert await rest.quotes([day.simulator.market.instruments[0].symbol], priority="normal")
        day.admit(ILL)
        await day.until(lambda: is_healthy(day, ILL), "it is healthy again")
        assert day.usable() == list(NAMES)
        await day.until(
            lambda: (
                not day.open_alerts() and any("is healthy again" in each.text for each in day.reported(AlertResolved))
            ),
            "the alert has settled",
        )
        alerts = day.reported(AlertRaised)
        assert [alert.severity for alert in alerts if "healthy" in alert.text] == ["critical"]
        assert all(ILL in alert.text for alert in alerts)
        ill = [check for check in day.reported(AccountChecked) if not check.healthy]
        assert {check.account for check in ill} == {ILL}
        assert all("EGW00103" in check.detail for check in ill)


async def test_calls_move_to_the_second_account_while_the_first_is_unhealthy_and_return():
    async with scene(9) as day, day.brokers.rest() as rest:
        await day.until(lambda: all(day.account(name).health.read() for name in NAMES), "all were checked")
        assert next(iter(rest.usable("quotes"))).name == NAMES[0]
        day.refuse(NAMES[0])
        await day.until(lambda: next(iter(rest.usable("quotes"))).name == NAMES[1], "the second account takes over")
        assert await rest.daily_bars(
            day.simulator.market.instruments[0].symbol, DAY - dt.timedelta(days=20), DAY - dt.timedelta(days=1)
        )
        day.admit(NAMES[0])
        await day.until(lambda: next(iter(rest.usable("quotes"))).name == NAMES[0], "the first one is back")


async def test_a_token_that_cannot_be_renewed_is_a_critical_alert_until_it_is():
    async with scene(10) as day:
        tokens = day.account(ILL).tokens
        now_ns = day.clock.now_ns()
        await day.clock.sleep_until(max(now_ns, day.token(ILL).renewed_ns + 61 * 10**9))  # the broker's minute
        day.refuse(ILL)
        tokens.note_rejection(day.token(ILL))  # as a call does whose token is refused
        identity = f"token:{ILL}"
        await day.until(lambda: identity in day.open_alerts(), "the alert")
        day.admit(ILL)
        await day.until(lambda: identity not in day.open_alerts(), "the token is renewed")
        assert [each.severity for each in day.reported(AlertRaised) if each.identity == identity] == ["critical"]
        assert not tokens.pending_rejection()


async def test_a_token_that_is_refused_in_mid_day_is_renewed_at_once_for_its_account_only():
    async with scene(10) as day, day.brokers.rest() as rest:
        symbol = day.simulator.market.instruments[0].symbol
        calls = {account.name: each for account, each in rest.usable("quotes").items()}
        for name in NAMES:
            await calls[name].quotes([symbol], priority="normal")
        others = {name: day.token(name) for name in NAMES if name != ILL}
        before = day.token(ILL)
        now_ns = day.clock.now_ns()
        await day.clock.sleep_until(max(now_ns, before.renewed_ns + 61 * 10**9))  # the broker's minute is over
        day.revoke_token(ILL)
        assert await asyncio.gather(*[calls[name].quotes([symbol], priority="normal") for name in NAMES])
        after = day.token(ILL)
        assert after.access_token != before.access_token
        assert after.approval_key == before.approval_key, "the stream and its subscriptions stay"
        await day.until(lambda: "rejected" in day.renewals(ILL), "the renewal is reported")
        assert {name: day.token(name) for name in others} == others


async def test_a_morning_without_a_renewal_is_tried_three_times_and_three_times_more_with_the_old_token_in_use():
    async with scene(8, 0, speed=720.0) as day:
        before = day.token(ILL)
        day.refuse(ILL)

        def failures():
            return [
                reported.cause
                for reported in day.reported(TokenRenewed)
                if reported.account == ILL and not reported.succeeded
            ]

        await day.until(lambda: failures().count("pre_market") == 3, "both occasions are over")
        await day.clock.sleep(120.0)
        assert failures() == ["wake_up"] * 3 + ["pre_market"] * 3
        assert day.token(ILL) == before
        alerts = [alert for alert in day.reported(AlertRaised) if "not renewed" in alert.text]
        assert {alert.severity for alert in alerts} == {"critical"}
        assert len(alerts) == 1, "one while it lasts"
        [repeated, *_] = [each for each in day.reported(AlertRepeated) if each.identity == f"token:{ILL}"]
        assert repeated.count >= 2
        assert all(day.renewals(name) == ["none_yet", "wake_up"] for name in NAMES if name != ILL)


async def test_a_renewal_in_the_night_keeps_the_key_of_the_stream():
    async with scene(22, 58) as day:
        before = {name: day.token(name) for name in NAMES}
        await day.until(lambda: all("scheduled" in day.renewals(name) for name in NAMES), "23:00")
        after = {name: day.token(name) for name in NAMES}
        assert all(after[name].renewed_ns > before[name].renewed_ns for name in NAMES)
        assert all(after[name].approval_key == before[name].approval_key for name in NAMES)


async def test_a_token_without_an_approval_key_is_used_and_the_approval_key_requested_again():
    async with scene(10, speed=720.0) as day, day.brokers.rest() as rest:
        before = day.token(ILL)
        await day.clock.sleep_until(before.renewed_ns + 61 * 10**9)  # the broker's minute is over
        admit = day.refuse_stream_keys()
        day.account(ILL).tokens.note_rejection(before, "approval_key")
        day.revoke_token(ILL)
        symbol = day.simulator.market.instruments[0].symbol
        assert await rest.usable("quotes")[day.account(ILL)].quotes([symbol], priority="normal")
        alone = day.token(ILL)
        assert alone.access_token != before.access_token
        assert (alone.approval_key, alone.renewed_ns) == (before.approval_key, before.renewed_ns)
        admit()
        await day.until(lambda: day.token(ILL).approval_key != before.approval_key, "the stream's key came too")
        assert [alert.severity for alert in day.reported(AlertRaised) if "not renewed" in alert.text] == ["critical"]
        await day.until(lambda: day.renewals(ILL)[-1] == "rejected", "the renewal is reported")


async def test_a_refused_approval_key_is_replaced_and_the_token_stays():
    async with scene(10, speed=720.0) as day:
        before = day.token(ILL)
        await day.clock.sleep_until(before.renewed_ns + 61 * 10**9)
        day.account(ILL).tokens.note_rejection(before, "approval_key")
        await day.until(lambda: day.token(ILL).approval_key != before.approval_key, "another key is there")
        assert day.token(ILL).access_token == before.access_token
        assert day.token(ILL).renewed_ns == before.renewed_ns
        await day.until(lambda: day.renewals(ILL)[-1] == "key_rejected", "the renewal is reported")


async def test_an_account_that_learned_a_lower_limit_is_an_alert_until_it_is_given_up():
    async with scene(10, speed=720.0) as day:
        identity = f"rate_limit:{ILL}"
        with contextlib.closing(day.account(ILL)._rate_limiter()) as rate_limiter:
            teach(rate_limiter, 3)
        await day.until(
            lambda: [alert for alert in day.reported(AlertRaised) if alert.identity == identity], "it is reported"
        )
        [alert, *_] = [alert for alert in day.reported(AlertRaised) if alert.identity == identity]
        assert f"account {ILL} calls at most 3 times a second" in alert.text
        await day.until(lambda: any(each.identity == identity for each in day.reported(AlertResolved)), "it is over")


async def test_a_token_that_the_disk_does_not_take_is_reported_and_the_old_one_stays_in_use():
    async with scene(9, speed=720.0) as day:
        before = day.token(ILL)
        await day.clock.sleep_until(before.renewed_ns + 61 * 10**9)
        tokens = day.folder / "run" / "tokens"
        in_the_way = tokens / f".{ILL}.json.{os.getpid()}.part"
        day.account(ILL).tokens.note_rejection(before)
        in_the_way.mkdir()  # like a full disk: the first file to write has no room
        await day.until(
            lambda: any("not renewed" in alert.text for alert in day.reported(AlertRaised)), "it is reported"
        )
        assert day.token(ILL) == before
        in_the_way.rmdir()
        await day.until(lambda: day.token(ILL) != before, "the disk has room again")


async def test_where_health_cannot_be_written_tokens_are_kept_all_the_same():
    async with scene(9) as day:
        (day.folder / "run" / "tokens" / f"{ILL}.health").mkdir()  # no file can take its name
        await day.until(day.account(NAMES[0]).health.read, "others are judged")
        assert day.brokers.health_of(ILL) is None
        assert day.usable() == list(NAMES)
        before = day.token(ILL)
        await day.clock.sleep_until(before.renewed_ns + 61 * 10**9)  # the broker's minute is over
        day.account(ILL).tokens.note_rejection(before)
        await day.until(lambda: day.token(ILL) != before, "the token is renewed")


async def test_a_stream_that_is_down_makes_its_account_unhealthy_and_leaves_its_calls_in_use():
    async with scene(10) as day:
        writer = StoreWriter(day.settings.store.url)
        writer.open()
        lost = ConnectionChanged("kis", ILL, local_ns(DAY, 9, 30), "lost", "", 0)
        writer.commit([Delivered("track-b", "5" * 32, 1, [lost])])
        writer.close()
        await day.until(lambda: not is_healthy(day, ILL), "it is ill")
        assert day.usable() == list(NAMES)
        await day.until(lambda: not all(check.healthy for check in day.reported(AccountChecked)), "it is published")
        by_account = {check.account: check for check in day.reported(AccountChecked)}
        assert [by_account[name].stream_connected for name in NAMES] == [True, False, True]


async def test_an_outage_that_a_lost_stream_reported_is_no_second_alert_of_the_account():
    async with scene(10) as day:
        writer = StoreWriter(day.settings.store.url)
        writer.open()
        lost = [ConnectionChanged("kis", name, local_ns(DAY, 9, 30), "lost", "", 0) for name in NAMES]
        writer.commit([Delivered("track-b", "5" * 32, 1, lost)])
        writer.close()
        for name in NAMES:
            day.refuse(name)
        await day.until(lambda: not any(is_healthy(day, name) for name in NAMES), "all are ill")
        calls = [day.account(name).health for name in NAMES]
        await day.until(lambda: not any(each.read().calls.fit for each in calls), "their calls fail too")
        assert not [alert for alert in day.reported(AlertRaised) if alert.identity.startswith("account:")]
        assert not any(map(day.brokers.is_outage_of_stream_alone, NAMES))


async def test_a_stream_that_never_reported_anything_is_down():
    async with scene(8, 9, streams=[name for name in NAMES if name != ILL]) as day:
        await day.until(lambda: not is_healthy(day, ILL), "it is ill")
        text = f"{ILL} is not healthy: the stream is not connected"
        await day.until(lambda: any(text in each.text for each in day.reported(AlertRaised)), "the alert")
        assert day.usable() == list(NAMES)


async def test_the_calendar_is_compared_with_the_broker_in_the_evening_and_in_the_morning():
    async with scene(19, 55, speed=20_000.0) as day:
        holiday, session = DAY + dt.timedelta(days=1), DAY + dt.timedelta(days=2)
        assert holiday.weekday() < 5, "a day that the simulated broker takes for a session"
        days = [TradingDay(each, True, "test") for each in (DAY, session)]
        write_trading_days(day.folder / "run", [*days, TradingDay(holiday, False, "test")])

        def reported():
            return [
                (alert.severity, alert.raised_ns >= local_ns(holiday, 5))
                for alert in day.reported(AlertRaised)
                if f"{holiday}: the calendar says closed, the broker says open" in alert.text
            ]

        await day.until(lambda: ("critical", True) in reported(), "the morning of the doubtful day")
        assert ("warning", False) in reported(), "the evening before it"
        assert not any(severity == "critical" and not is_late for severity, is_late in reported())
