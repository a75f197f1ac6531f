"""A sweep over several accounts: one queue, each portion once; an account takes over what another cannot fetch."""

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.delivery import Delivered
from bus.events import (
    AlertRaised,
    AlertResolved,
    AttentionCompleted,
    SlotAssigned,
    Snapshot,
    SweepCompleted,
    UniverseBuilt,
    UniverseMember,
    VolumeRise,
)
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.brokers.broker import Quote
from observer.collection.sweep_times import Sweep
from observer.collection.sweeps import Portions, calls_at_once, snapshot_of
from observer.demo.configuration import DAY
from observer.simulator.market.plan import Surge
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from observer.system.worker import Worker
from tests.brokers.teaching import teach
from tests.builders import trade
from tests.day_plans import day_plan
from tests.selection.builders import seen
from tests.waiting import DEADLINE_S
from tests.workers.three_accounts import ILL, NAMES, run, scene
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
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE_S)

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

PLAN = day_plan(DAY)
SWEEP = Sweep(1, PLAN.opens_ns, frozenset({"KRX"}))


def members_of(day):
    symbols = [instrument.symbol for instrument in day.simulator.market.instruments]
    return [
        UniverseMember("kis", "kr_stocks", DAY.isoformat(), rank, symbol, symbol, "KOSPI", 1.0, 1.0, None, None)
        for rank, symbol in enumerate(symbols, start=1)
    ]


async def sweep(day):
    """One sweep over the whole market; returns the published snapshots and the sweep's end."""
    worker = Worker("track-a", day.settings, day.clock)
    try:
        async with worker.producer() as producer, day.brokers.rest() as rest, worker.reader() as reader:
            await sweeps_of(worker, producer, rest, reader)._sweep(PLAN, SWEEP, members_of(day))
    finally:
        worker.control.close()
    [completed] = day.reported(SweepCompleted, "track-a")
    return day.reported(Snapshot, "track-a"), completed


async def test_all_accounts_together_sweep_the_market_once():
    async with scene(10, symbols=100) as day:
        snapshots, completed = await sweep(day)
        symbols = [member.symbol for member in members_of(day)]
        assert sorted(snapshot.symbol for snapshot in snapshots) == sorted(symbols)
        assert (completed.requested, completed.received) == (len(symbols), len(symbols))


@pytest.mark.parametrize(("volume", "price"), [(0.0, None), (1.0, 10_000.0)])
def test_a_snapshot_has_a_price_from_the_days_first_trade_on(volume, price):
    """The broker's price before it is the previous close."""
    quote = Quote("A", 10_000.0, None, None, None, 10_000.0, None, None, None, None, volume, 0.0)
    assert snapshot_of("kis", quote, DAY.isoformat(), 1, 5).price == price


async def test_a_sweep_is_complete_when_the_broker_refuses_one_of_the_accounts():
    async with scene(10, symbols=100) as day:
        assert len(day.usable()) == len(NAMES)
        day.refuse(ILL)
        _, completed = await sweep(day)
        assert completed.received == completed.requested


# --- two venues ----------------------------------------------------------------------------------------------

BOTH = {
    "universe": {"venues": ["KRX", "NXT"]},
    "track_a": {"sessions": ["whole-day"]},
    "simulator": {"venues": ["KRX", "NXT"]},
    "schedule": {"backup": "21:00"},
}


def lines_of(day):
    """The members at the KRX, and those of what NXT lists."""
    further = {instrument.symbol for instrument in day.simulator.market.view("NXT").instruments}
    main = members_of(day)
    return [*main, *(msgspec.structs.replace(m, symbol=f"{m.symbol}.NXT") for m in main if m.symbol in further)]


async def sweep_of(day, *venues):
    worker = Worker("track-a", day.settings, day.clock)
    try:
        async with worker.producer() as producer, day.brokers.rest() as rest, worker.reader() as reader:
            plan = worker.today.known()
            wanted = Sweep(1, plan.opens_ns, frozenset(venues))
            await sweeps_of(worker, producer, rest, reader)._sweep(plan, wanted, lines_of(day))
    finally:
        worker.control.close()
    [completed] = day.reported(SweepCompleted, "track-a")
    return day.reported(Snapshot, "track-a"), completed


async def test_a_sweep_of_both_venues_has_each_line_s_own_volume_thirty_lines_a_call():
    async with scene(10, symbols=100, speed=1.0, configured=BOTH) as day:
        snapshots, completed = await sweep_of(day, "KRX", "NXT")
        market, lines = day.simulator.market, [member.symbol for member in lines_of(day)]
        assert sorted(seen.symbol for seen in snapshots) == sorted(lines)
        assert completed.requests == -(-len(lines) // 30)
        for snapshot in snapshots:
            stock, _, venue = snapshot.symbol.partition(".")
            view = market.view("NXT" if venue else "KRX")
            volume = view.state_at(stock, snapshot.receive_time_ns).cumulative_volume
            assert snapshot.cumulative_volume <= volume
            assert (snapshot.venue, snapshot.session) == (venue or "KRX", "regular")
        traded = {seen.symbol: seen.cumulative_volume for seen in snapshots}
        pairs = [(traded[line], traded[line.partition(".")[0]]) for line in traded if "." in line]
        assert pairs
        assert sum(further for further, _ in pairs) < sum(main for _, main in pairs)


async def test_a_sweep_asks_only_lines_of_its_venues():
    async with scene(8, 10, symbols=100, speed=1.0, configured=BOTH) as day:
        snapshots, completed = await sweep_of(day, "NXT")
        assert {seen.venue for seen in snapshots} == {"NXT"}
        assert {seen.session for seen in snapshots} == {"pre"}
        assert completed.requested == completed.received == len(snapshots)


# --- the day's universe --------------------------------------------------------------------------------------

YESTERDAY = (DAY - timedelta(days=1)).isoformat()
TOMORROW = DAY + timedelta(days=1)
OLD = (DAY - timedelta(days=194)).isoformat()


def store(day, stream, *events):
    writer = StoreWriter(day.settings.store.url)
    writer.open()
    writer.commit([Delivered("master-file", stream * 32, 1, events)])
    writer.close()


def built(day, session_date, built_ns, count):
    members = [msgspec.structs.replace(each, session_date=session_date) for each in members_of(day)[:count]]
    fact = UniverseBuilt("kis", "kr_stocks", session_date, session_date, built_ns, count, count, 4_000.0)
    return [*members, fact]


@contextlib.asynccontextmanager
async def running(day, plan=PLAN):
    worker = Worker("track-a", day.settings, day.clock)
    try:
        async with worker.producer() as producer, day.brokers.rest() as rest, worker.reader() as reader:
            sweeping = asyncio.create_task(sweeps_of(worker, producer, rest, reader).run(plan))
            try:
                yield sweeping
            finally:
                sweeping.cancel()
                await asyncio.gather(sweeping, return_exceptions=True)
    finally:
        worker.control.close()


def requested(day):
    return [sweep.requested for sweep in day.reported(SweepCompleted, "track-a")]


async def test_a_day_without_a_universe_uses_the_last_one_to_the_end_and_raises_one_alert():
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


async def test_a_start_in_the_evening_misses_no_universe():
    async with scene(22, 30, speed=480) as day:
        async with running(day) as sweeping:
            await sweeping
        assert not day.reported(AlertRaised, "track-a")


async def test_a_universe_older_than_allowed_is_refused_with_an_alert_until_one_is_built():
    async with scene(12, speed=480, held=True) as day:
        store(day, "a", *built(day, OLD, 1, 4))
        async with running(day) as sweeping:
            day.clock.move_to(local_ns(DAY, 12, 10))
            await day.until(lambda: day.reported(AlertRaised, "track-a"), "the old one is refused")
            store(day, "b", *built(day, DAY.isoformat(), day.clock.now_ns(), 7))
            day.clock.move_to(local_ns(DAY, 15, 28))
            day.clock.start()
            await sweeping
        assert set(requested(day)) == {7}
        [alert] = day.reported(AlertRaised, "track-a")
        assert (alert.severity, f"that of {OLD} is refused" in alert.text) == ("critical", True)
        assert "track_a.universe_weekdays_max" in alert.text


async def test_a_process_that_resumes_a_day_raises_no_second_alert():
    async with scene(15, 28, speed=480, held=True) as day:
        store(day, "a", *built(day, YESTERDAY, 1, 4))
        async with running(day):
            await day.until(lambda: day.reported(AlertRaised, "track-a"), "the alert")
        async with running(day) as sweeping:
            day.clock.start()
            await sweeping
        assert set(requested(day)) == {4}
        [alert] = day.reported(AlertRaised, "track-a")
        assert (alert.severity, alert.identity) == ("critical", "no_universe")
        [resolved] = day.reported(AlertResolved, "track-a")
        assert resolved.text == f"the sweeps of {DAY} are over", "it is critical no more in the evening"
        day.clock.move_to(local_ns(TOMORROW, 15, 28))
        async with running(day, day_plan(TOMORROW)):
            await day.until(lambda: len(day.reported(AlertRaised, "track-a")) == 2, "the next day raises its own")
        texts = [alert.text for alert in day.reported(AlertRaised, "track-a")]
        assert sum(f"no universe for {TOMORROW} when it was due" in text for text in texts) == 1


def test_a_first_universe_that_is_built_in_its_time_is_no_alert(monkeypatch):
    asked = []
    in_force = StoreReader.universe_in_force

    def counted(reader, *wanted):
        found = in_force(reader, *wanted)
        asked.append(("found" if found else "none", *wanted))
        return found

    async def scenario():
        async with scene(12, speed=480, held=True) as day:
            async with running(day) as sweeping:
                day.clock.move_to(local_ns(DAY, 12, 9))
                await day.until(lambda: len(asked) > 2, "it waits")
                store(day, "a", *built(day, DAY.isoformat(), day.clock.now_ns(), 4))
                await day.until(lambda: asked[-1][0] == "found", "it has it")
                day.clock.move_to(local_ns(DAY, 15, 28))
                day.clock.start()
                await sweeping
            assert set(requested(day)) == {4}
            assert day.reported(AlertRaised, "track-a") == []

    monkeypatch.setattr(StoreReader, "universe_in_force", counted)
    run(scenario)


async def test_a_day_without_any_universe_uses_the_first_one_that_is_built():
    async with scene(12, speed=480, held=True) as day:
        async with running(day) as sweeping:
            day.clock.move_to(local_ns(DAY, 12, 10))
            await day.until(lambda: day.reported(AlertRaised, "track-a"), "that there is none")
            now_ns, today = day.clock.now_ns(), DAY.isoformat()
            store(day, "a", *built(day, today, now_ns, 4), *built(day, today, now_ns + 1, 7))
            day.clock.move_to(local_ns(DAY, 15, 28))
            day.clock.start()
            await sweeping
        assert set(requested(day)) == {4}
        [alert] = day.reported(AlertRaised, "track-a")
        assert (alert.severity, "the first one that is built" in alert.text) == ("critical", True)


# --- between two sweeps --------------------------------------------------------------------------------------

SURGED_S = 31 * 60 + 20  # after the opening
SWEPT_S = (0, 600, 1_200)  # by an earlier process
NEXT_SWEEP_S = 40 * 60


def busiest(market):
    """The symbol of the most trades, besides the first, which is streamed."""
    symbols = [each.symbol for each in market.instruments]
    return max(symbols[1:], key=lambda symbol: market.plan(symbol).usual_trades)


def calm(market):
    """Let every symbol have a usual day."""
    for symbol in [each.symbol for each in market.instruments]:
        usual = {"surge": None, "bursts": (), "lock": None, "disclosure_s": None}
        market._plans[symbol] = msgspec.structs.replace(market.plan(symbol), **usual)


def calm_but_one(market):
    """Let the busiest symbol surge at 09:31:20, and no other one."""
    calm(market)
    chosen = busiest(market)
    market._plans[chosen] = msgspec.structs.replace(market.plan(chosen), surge=Surge(float(SURGED_S), 8.0))


def known_so_far(day, *, starts_late=False):
    """The universe with its averages, three sweeps, and one streamed symbol with its first trade. After a late start
    the averages are those of a second build.
    """
    market, session_date = day.simulator.market, DAY.isoformat()
    prices = {each.symbol: float(each.base_price) for each in market.instruments}
    count, built_ns = len(prices), 1
    if starts_late:
        built_ns = market.open_ns + NS_PER_S
        yield from (msgspec.structs.replace(each, average_volume_20d=None) for each in members_of(day))
        yield UniverseBuilt("kis", "kr_stocks", session_date, session_date, market.open_ns, count, count, 4_000.0)
    for member in members_of(day):
        average = float(market.plan(member.symbol).usual_volume)
        yield msgspec.structs.replace(member, previous_close=prices[member.symbol], average_volume_20d=average)
    yield UniverseBuilt("kis", "kr_stocks", session_date, session_date, built_ns, count, count, 4_000.0)
    for number, second in enumerate(SWEPT_S, start=1):
        at_ns = market.open_ns + second * NS_PER_S
        for symbol in prices:
            volume = float(market.state_at(symbol, at_ns).cumulative_volume)
            # Price limits that do not fit the previous close are those of a split, which changes the averages.
            yield seen(symbol, volume, sweep=number, receive_time_ns=at_ns, upper_limit=None, lower_limit=None)
        yield SweepCompleted("kis", session_date, number, at_ns, at_ns, count, count, 4)
    streamed, at_ns = market.instruments[0].symbol, market.open_ns + 60 * NS_PER_S
    yield SlotAssigned("main:0", streamed, at_ns, "market_cap", 1.0, "free_slot", None)
    usual = market.plan(streamed)
    volume = float(usual.usual_volume)
    yield trade(usual.usual_trades, symbol=streamed, cumulative_volume=volume, receive_time_ns=at_ns)


@pytest.mark.parametrize(
    "starts_late",
    [pytest.param(False, id="history at once"), pytest.param(True, id="history later", marks=pytest.mark.slow)],
)
async def test_a_surge_between_two_sweeps_is_published_before_the_next_sweep_with_both_ends_of_its_rise(starts_late):
    # At this speed the next sweep is 130 s away: later than the test's deadline.
    async with scene(9, 31, symbols=100, speed=4, held=True, change_market=calm_but_one) as day:
        market = day.simulator.market
        surging = busiest(market)
        store(day, "a", *known_so_far(day, starts_late=starts_late))
        async with running(day) as sweeping:
            day.clock.start()
            await day.until(lambda: day.reported(VolumeRise, "track-a") or sweeping.done(), "the surge is seen")
            day.clock.move_to(market.open_ns + NEXT_SWEEP_S * NS_PER_S)
            await day.until(lambda: day.reported(AttentionCompleted, "track-a"), "the next sweep begins")
        [rise] = day.reported(VolumeRise, "track-a")
        assert rise.symbol == surging
        assert SURGED_S < (rise.receive_time_ns - market.open_ns) / NS_PER_S < NEXT_SWEEP_S
        assert rise.cumulative_volume - rise.since_volume >= 3 * rise.usual_volume
        assert rise.since_volume <= market.state_at(surging, rise.since_ns).cumulative_volume
        assert rise.cumulative_volume <= market.state_at(surging, rise.receive_time_ns).cumulative_volume
        [counts] = day.reported(AttentionCompleted, "track-a")
        assert (counts.sweep, counts.rises) == (4, 1)
        assert counts.received == counts.requested > 0


async def one_alert(identity, begin, end):
    """What begins while Track A requests between sweeps is one alert after five minutes, until it ends."""

    def of(day, kind):
        return [each for each in day.reported(kind, "track-a") if each.identity == identity]

    async with scene(9, 31, symbols=100, speed=120, held=True, change_market=calm) as day:
        store(day, "a", *known_so_far(day))
        begin(day)
        async with running(day):
            day.clock.start()
            await day.until(lambda: of(day, AlertRaised), "the alert")
            end(day)
            await day.until(lambda: of(day, AlertResolved), "its end")
        [raised], [resolved] = of(day, AlertRaised), of(day, AlertResolved)
        assert (raised.severity, raised.raised_ns >= local_ns(DAY, 9, 36)) == ("warning", True)
        assert "any more today" not in resolved.text


def renamed(day, name, to):
    with contextlib.closing(sqlite3.connect(day.folder / "data" / "observer.db")) as connection:
        connection.execute(f"ALTER TABLE {name} RENAME TO {to}")


async def test_slots_that_cannot_be_read_for_five_minutes_are_one_alert_until_they_are_read():
    await one_alert(
        "attention_slots",
        lambda day: renamed(day, "slot_assignments", "away"),
        lambda day: renamed(day, "away", "slot_assignments"),
    )


async def test_requests_without_an_answer_for_five_minutes_are_one_alert_until_one_is_answered():
    await one_alert(
        "attention_answers",
        lambda day: [day.refuse(name) for name in NAMES],
        lambda day: [day.admit(name) for name in NAMES],
    )


async def test_earlier_sweeps_that_cannot_be_read_are_an_alert_at_once():
    async with scene(9, 31, symbols=100, speed=120, held=True, change_market=calm) as day:
        store(day, "a", *known_so_far(day))
        renamed(day, "snapshots", "away")
        async with running(day):
            day.clock.start()
            await day.until(lambda: day.reported(AlertRaised, "track-a"), "the alert")
        assert [(alert.identity, alert.severity) for alert in day.reported(AlertRaised, "track-a")] == [
            ("attention_sweeps", "warning")
        ]


async def test_requests_between_sweeps_have_their_share_of_the_limit_that_refusals_taught():
    async with scene(9, 31, symbols=100, held=True, change_market=calm) as day:
        account = day.account(NAMES[0])
        worker = Worker("track-a", day.settings, day.clock)
        async with worker.producer() as producer, day.brokers.rest() as rest, worker.reader() as reader:
            requests = sweeps_of(worker, producer, rest, reader)._requests
            assert requests._limit_of(account) == day.settings.broker.rate_limit.calls_per_second
            with contextlib.closing(account._rate_limiter()) as limiter:
                teach(limiter, 3)
            assert requests._limit_of(account) == 3
        worker.control.close()
