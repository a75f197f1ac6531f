"""A sweep over several accounts: one queue, each portion once; an account takes over what another cannot fetch."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.delivery import Delivered
from bus.events import AlertRaised, AlertResolved, Event, Snapshot, SweepCompleted, UniverseBuilt, UniverseMember
from observer.calendar.phases import ScheduleSettings, plan
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY
from observer.local_time import local_ns
from observer.runtime.worker import Worker
from observer.store.writer import StoreWriter
from observer.streaming.sweeps import Portions, calls_at_once
from tests.workers.three_accounts import ILL, NAMES, Scene, run, scene
from workers.track_a import sweeps_of

# --- the queue -----------------------------------------------------------------------------------------------


def swept(count, workers, bad, seed):
    """Requests by account, and the fetched portions, when calls of the accounts in `bad` fail."""
    rng = random.Random(seed)
    asked, got = [], []

    async def work(portions, account):
        while (portion := await portions.take(account)) is not None:
            asked.append((portion.symbols[0], account))
            for _ in range(rng.randint(1, 3)):
                await asyncio.sleep(0)
            if account in bad:
                await portions.give_back(portion, account)
            else:
                got.append(portion.symbols[0])
                await portions.done()

    async def sweep():
        portions = Portions([[str(number)] for number in range(count)], set(workers))
        tasks = [work(portions, account) for account, number in workers.items() for _ in range(number)]
        await asyncio.wait_for(asyncio.gather(*tasks), 10)

    asyncio.run(sweep())
    return asked, got


accounts_at_work = st.dictionaries(st.sampled_from("ABCD"), st.integers(1, 4), min_size=1)


@given(st.integers(0, 30), accounts_at_work, st.sets(st.sampled_from("ABCD")), st.integers(0, 99))
def test_a_sweep_ends_and_asks_for_each_portion_at_most_twice_and_never_the_same_account_again(
    count, workers, bad, seed
):
    asked, got = swept(count, workers, bad, seed)
    assert len(asked) == len(set(asked))
    times = Counter(portion for portion, _ in asked)
    assert set(times) == {str(number) for number in range(count)}
    assert max(times.values(), default=0) <= 2
    assert len(got) == len(set(got))
    for lost in set(times) - set(got):
        assert times[lost] == min(2, len(workers))


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_an_account_takes_over_the_symbols_that_another_account_cannot_fetch(count, of_bad, of_good, seed):
    _, got = swept(count, {"bad": of_bad, "good": of_good}, {"bad"}, seed)
    assert len(got) == count


@given(accounts_at_work, st.integers(0, 99))
def test_every_account_takes_part(workers, seed):
    asked, _ = swept(sum(workers.values()), workers, set(), seed)
    assert {account for _, account in asked} == set(workers)


def test_portions_are_taken_in_their_order():
    asked, _ = swept(9, {"A": 1}, set(), 1)
    assert [portion for portion, _ in asked] == [str(number) for number in range(9)]


@pytest.mark.parametrize(("rate", "calls"), [(20.0, 20), (1.0, 1), (0.5, 1), (2.5, 3)])
def test_the_number_of_simultaneous_calls_hides_their_latency(rate, calls):
    assert calls_at_once(rate) == calls


# --- at the simulated broker ---------------------------------------------------------------------------------


def members_of(day: Scene) -> list[UniverseMember]:
    symbols = [instrument.symbol for instrument in day.simulator.market.instruments]
    return [
        UniverseMember("kis", "kr_stocks", DAY.isoformat(), rank, symbol, symbol, "KOSPI", 1.0, 1.0, None, None)
        for rank, symbol in enumerate(symbols, start=1)
    ]


async def sweep(day: Scene) -> tuple[list[Snapshot], SweepCompleted]:
    """One sweep over the whole market; returns the published snapshots and the sweep's end."""
    worker = Worker("track-a", day.settings, day.clock)
    try:
        async with worker.producer() as producer, day.brokers.rest() as rest, worker.reader() as reader:
            await sweeps_of(worker, producer, rest, reader)._sweep(DAY.isoformat(), 1, members_of(day))
    finally:
        worker.control.close()
    [completed] = day.reported(SweepCompleted, "track-a")
    return day.reported(Snapshot, "track-a"), completed


def test_all_accounts_together_sweep_the_market_once():
    async def scenario():
        async with scene(10, symbols=100) as day:
            snapshots, completed = await sweep(day)
            symbols = [member.symbol for member in members_of(day)]
            assert sorted(snapshot.symbol for snapshot in snapshots) == sorted(symbols)
            assert (completed.requested, completed.received) == (len(symbols), len(symbols))

    run(scenario)


def test_a_sweep_is_complete_when_the_broker_refuses_one_of_the_accounts():
    async def scenario():
        async with scene(10, symbols=100) as day:
            assert len(day.usable()) == len(NAMES)
            day.refuse(ILL)
            _, completed = await sweep(day)
            assert completed.received == completed.requested

    run(scenario)


# --- the day's universe --------------------------------------------------------------------------------------

YESTERDAY = (DAY - timedelta(days=1)).isoformat()
OLD = (DAY - timedelta(days=194)).isoformat()
PLAN = plan(TradingDay(DAY, local_ns(DAY, 9), local_ns(DAY, 15, 30), "test"), ScheduleSettings())


def store(day: Scene, stream: str, *events: Event) -> None:
    writer = StoreWriter(day.settings.store.url)
    writer.open()
    writer.commit([Delivered("master-file", stream * 32, 1, events)])
    writer.close()


def built(day: Scene, session_date: str, built_ns: int, count: int) -> list[Event]:
    members = [msgspec.structs.replace(each, session_date=session_date) for each in members_of(day)[:count]]
    fact = UniverseBuilt("kis", "kr_stocks", session_date, session_date, built_ns, count, count, 4_000.0)
    return [*members, fact]


@contextlib.asynccontextmanager
async def running(day: Scene) -> AsyncIterator[asyncio.Task[None]]:
    worker = Worker("track-a", day.settings, day.clock)
    try:
        async with worker.producer() as producer, day.brokers.rest() as rest, worker.reader() as reader:
            yield asyncio.create_task(sweeps_of(worker, producer, rest, reader).run(PLAN))
    finally:
        worker.control.close()


def requested(day: Scene) -> list[int]:
    return [sweep.requested for sweep in day.reported(SweepCompleted, "track-a")]


def test_a_day_without_a_universe_uses_the_last_one_to_the_end_and_raises_one_alert():
    async def scenario():
        async with scene(15, 28, speed=480, held=True) as day:
            store(day, "a", *built(day, YESTERDAY, 1, 4))
            async with running(day) as sweeping:
                await day.until(lambda: day.reported(AlertRaised, "track-a"), "the last one is taken")
                store(day, "b", *built(day, DAY.isoformat(), day.clock.now_ns(), 7))
                day.clock.start()
                await sweeping
            assert set(requested(day)) == {4}
            [alert] = day.reported(AlertRaised, "track-a")
            assert (alert.severity, YESTERDAY in alert.text) == ("critical", True)
            [resolved] = day.reported(AlertResolved, "track-a")
            assert (resolved.identity, resolved.count) == ("no_universe", 1)

    run(scenario)


def test_a_universe_older_than_allowed_is_refused_with_an_alert_until_one_is_built():
    async def scenario():
        async with scene(15, 28, speed=480, held=True) as day:
            store(day, "a", *built(day, OLD, 1, 4))
            async with running(day) as sweeping:
                await day.until(lambda: day.reported(AlertRaised, "track-a"), "the old one is refused")
                store(day, "b", *built(day, DAY.isoformat(), day.clock.now_ns(), 7))
                day.clock.start()
                await sweeping
            assert set(requested(day)) == {7}
            [alert] = day.reported(AlertRaised, "track-a")
            assert (alert.severity, f"that of {OLD} is refused" in alert.text) == ("critical", True)
            assert "track_a.universe_weekdays_max" in alert.text

    run(scenario)


def test_a_process_that_resumes_a_day_raises_no_second_alert():
    async def scenario():
        async with scene(15, 28, speed=480, held=True) as day:
            store(day, "a", *built(day, YESTERDAY, 1, 4))
            async with running(day) as sweeping:
                await day.until(lambda: day.reported(AlertRaised, "track-a"), "the alert")
                sweeping.cancel()
                await asyncio.gather(sweeping, return_exceptions=True)
            async with running(day) as sweeping:
                day.clock.start()
                await sweeping
            assert set(requested(day)) == {4}
            [alert] = day.reported(AlertRaised, "track-a")
            assert (alert.severity, alert.identity) == ("critical", "no_universe")
            assert not day.reported(AlertResolved, "track-a")

    run(scenario)


def test_a_day_without_any_universe_uses_the_first_one_that_is_built():
    async def scenario():
        async with scene(15, 28, speed=480, held=True) as day:
            async with running(day) as sweeping:
                await day.until(lambda: day.reported(AlertRaised, "track-a"), "that there is none")
                now_ns, today = day.clock.now_ns(), DAY.isoformat()
                store(day, "a", *built(day, today, now_ns, 4), *built(day, today, now_ns + 1, 7))
                day.clock.start()
                await sweeping
            assert set(requested(day)) == {4}
            [alert] = day.reported(AlertRaised, "track-a")
            assert (alert.severity, "the first one that is built" in alert.text) == ("critical", True)

    run(scenario)
