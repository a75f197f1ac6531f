"""No trade that was streamed is fetched, however late it is stored; streamed and fetched trades are all of the day."""

import asyncio
import contextlib
import sqlite3
from collections import Counter

import pytest
from msgspec.structs import replace

import observer.collection.tape.collector
from bus.events import (
    GapOpened,
    SelectionAdvanced,
    SlotAssigned,
    SlotReleased,
    SweepCompleted,
    TapeJudged,
    TapeProgressed,
    Trade,
    UniverseEvaluated,
    WatchChanged,
    WatchStarted,
    WatchStopped,
)
from observer.base.units import NS_PER_S
from observer.collection.tape.stored import SILENT_NS, StoredDay
from tests.collection.market import Line
from tests.collection.test_tape_day import (
    BUSY,
    CLOSED,
    EVENING_NS,
    LAST_NS,
    OPENS_S,
    PLAN,
    QUIET,
    SESSION,
    Broker,
    at_work,
    line,
    scene,
    swept,
)
from tests.waiting import until_async

OTHERS = "4" * 32
PROGRESS = TapeProgressed("kis", "2026-11-17", 1, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0, 0, None, False)


@pytest.fixture(autouse=True)
def checks_often(monkeypatch):
    monkeypatch.setattr(observer.collection.tape.collector, "CHECK_AGAIN_S", 0.05)


def streamed(of, from_s, to_s):
    """The trades of BUSY in (from, to], as the stream brings them."""
    return [
        Trade(
            *("kis", BUSY, SESSION, second * NS_PER_S, second * NS_PER_S, 100.0, float(of.volumes[number])),
            *(float(of.cumulative[number + 1]), number + 1, "buy", None, None),
            venue="KRX",
        )
        for number, second in enumerate(of.seconds)
        if from_s < second <= to_s
    ]


def watched(at_s, change):
    return WatchChanged("kis", BUSY, SESSION, at_s * NS_PER_S, change)


def evaluated(number, at_s):
    at_ns = at_s * NS_PER_S
    return SelectionAdvanced(SESSION, at_ns + NS_PER_S, UniverseEvaluated(number, at_ns, at_ns, 2))


def slot(at_s):
    assigned = SlotAssigned("a:01", BUSY, at_s * NS_PER_S, "volume_surge", 1.0, "free_slot", None)
    return [assigned, watched(at_s + 1, WatchStarted())]


def released(at_s, symbol=BUSY):
    return SlotReleased("a:01" if symbol == BUSY else "a:02", symbol, at_s * NS_PER_S, 1.0, "expired")


def done(begins_ns):
    """The sweep of this moment is stored."""
    return SweepCompleted("kis", SESSION, 1, begins_ns, begins_ns + 110 * NS_PER_S, 2, 2, 1)


async def others_store(found):
    """Other processes publish."""
    while True:
        found.store(PROGRESS, stream=OTHERS)
        await asyncio.sleep(0.05)


async def looks(found):
    """The day reads the database once more."""
    wakes = found.day._wakes
    await until_async(lambda: found.day._wakes is not wakes, "it looks")


def volumes_of(stored, found, symbol=BUSY):
    """How often each trade of the line is stored, by its name."""
    fetched = [each for each in found.published(Trade) if isinstance(each, Trade) and each.symbol == symbol]
    return Counter(each.cumulative_volume for each in (*stored, *fetched))


def once(of, upto_s):
    """Each trade until then, once."""
    return Counter(float(of.cumulative[number + 1]) for number, at_s in enumerate(of.seconds) if at_s <= upto_s)


async def test_what_is_streamed_long_after_the_slot_and_stored_after_the_next_sweep_is_not_fetched():
    market = {BUSY: line(3_000), QUIET: line(3_000, 2)}
    broker = Broker(market)
    first_s, second_s, third_s = (OPENS_S + after_s for after_s in (600, 1_200, 1_800))
    released_s, left_s = second_s - 100, second_s + 60  # the broker allows few changes a minute

    async with scene(broker, (third_s + 5) * NS_PER_S) as found:
        found.day.planner._threshold = 0
        before = streamed(market[BUSY], first_s + 2, released_s)
        found.store(*swept(market, first_s * NS_PER_S), evaluated(1, first_s), *slot(first_s + 2))
        found.store(*before, released(released_s), *swept(market, second_s * NS_PER_S), evaluated(2, second_s))
        async with at_work(found.day):
            await until_async(
                lambda: {BUSY, QUIET} <= set(broker.asked) and second_s in broker.seconds and not found.day._visits,
                "what the sweeps saw is fetched",
            )
            of_busy = [at_s for symbol, at_s in zip(broker.asked, broker.seconds, strict=True) if symbol == BUSY]
            assert max(of_busy) == first_s
            late = streamed(market[BUSY], released_s, left_s)
            found.store(*late, watched(left_s, WatchStopped()))
            found.store(*swept(market, third_s * NS_PER_S), evaluated(3, third_s))
            whole = once(market[BUSY], third_s)
            await until_async(lambda: volumes_of([*before, *late], found) >= whole, "the rest is fetched")
            assert volumes_of([*before, *late], found) == whole


async def test_the_day_s_last_volumes_are_asked_when_track_b_s_whole_day_is_stored():
    market = {BUSY: line(300), QUIET: line(300, 2)}
    broker = Broker(market)
    begins_s, ends_s = market[BUSY].seconds[100], market[BUSY].seconds[200]

    async with scene(broker, LAST_NS + 200 * NS_PER_S) as found:
        found.store(*swept(market, LAST_NS), done(LAST_NS))
        working = asyncio.create_task(found.day.run())
        await until_async(lambda: BUSY in found.day._learning.last, "the volume is read")
        await until_async(lambda: found.clock.now_ns() > LAST_NS + 400 * NS_PER_S, "the sweep is long over")
        assert not broker.asked
        brought = streamed(market[BUSY], begins_s, ends_s)
        found.store(*slot(begins_s), *brought, released(ends_s), watched(ends_s, WatchStopped()), CLOSED)
        await working
        assert volumes_of(brought, found) == once(market[BUSY], 2**40)
        assert {each.quality for each in found.published(TapeJudged)} == {"complete"}


async def test_a_killed_process_streams_nothing_more_and_the_next_one_keeps_its_slot():
    market = {BUSY: line(400), QUIET: line(400, 2)}
    first_s, killed_s, left_s = (market[BUSY].seconds[number] for number in (50, 150, 250))

    async with scene(Broker(market), LAST_NS + 200 * NS_PER_S) as found:
        before, after = streamed(market[BUSY], first_s, killed_s - 5), streamed(market[BUSY], killed_s, left_s)
        of_quiet = [replace(each, symbol=QUIET) for each in slot(first_s)]
        found.store(*slot(first_s), *of_quiet, *before, *swept(market, LAST_NS), done(LAST_NS))
        resumed = [watched(killed_s, WatchStarted()), *after, released(left_s), watched(left_s, WatchStopped())]
        found.store(*resumed, released(left_s, QUIET), CLOSED, stream="3" * 32)
        await found.day.run()
        assert volumes_of([*before, *after], found) == once(market[BUSY], 2**40)
        assert volumes_of([], found, QUIET) == once(market[QUIET], 2**40)


async def test_a_dead_track_b_s_lines_are_asked_in_the_evening_although_they_have_slots_and_a_cut_without_an_end():
    market = {BUSY: line(300), QUIET: line(100, 2)}
    first_s, killed_s = market[BUSY].seconds[100], market[BUSY].seconds[200]

    async with scene(Broker(market), LAST_NS, speed=200.0) as found:  # eight hours are left of the day
        before = streamed(market[BUSY], first_s, killed_s)
        cut = GapOpened("g", "kis", BUSY, SESSION, 1, 1, 3.0, "reconnect")
        found.store(*slot(first_s), *before, cut, *swept(market, LAST_NS), done(LAST_NS))
        storing = asyncio.create_task(others_store(found))
        await found.day.run()
        storing.cancel()
        assert found.clock.now_ns() > LAST_NS + SILENT_NS
        assert volumes_of(before, found) == once(market[BUSY], 2**40)
        assert {each.quality for each in found.published(TapeJudged)} == {"complete"}


async def test_a_track_b_whose_events_wait_for_a_writer_that_stands_still_is_not_dead():
    async with scene(Broker({}), LAST_NS) as found:
        stored, now_ns, minute_ns = StoredDay(found.reader, found.alerts, SESSION, LAST_NS), LAST_NS, 60 * NS_PER_S

        async def checked(minutes, *each_minute, stream=OTHERS):
            nonlocal now_ns
            for _ in range(minutes):
                now_ns += minute_ns
                if each_minute:
                    found.store(*each_minute, stream=stream)
                await stored.refresh(now_ns)
            return stored.is_silent

        minutes = SILENT_NS // minute_ns
        assert not await checked(3 * minutes), "nothing is stored at all"
        assert not await checked(1, PROGRESS)
        assert not await checked(1, evaluated(1, OPENS_S), stream="1" * 32)
        assert not await checked(minutes - 1, PROGRESS)
        assert await checked(1, PROGRESS)
        assert not await checked(1, evaluated(2, OPENS_S), stream="1" * 32), "it is there again"


async def test_nothing_is_done_before_the_last_sweep_is_stored_though_track_a_and_b_have_stopped():
    """Trades of the closing auction are in that sweep alone, which begins after both."""
    auction_s = PLAN.closes_ns // NS_PER_S + 20
    before = line(100)
    whole = Line([*zip(before.seconds, before.volumes, strict=True), (auction_s, 5_000)])
    broker = Broker({BUSY: whole})

    assert PLAN.track_a_stop_ns < LAST_NS
    async with scene(broker, LAST_NS + 200 * NS_PER_S, speed=1.0) as found:  # Track A may be late for an interval
        found.store(*swept({BUSY: whole}, PLAN.closes_ns), done(PLAN.closes_ns), CLOSED)
        working = asyncio.create_task(found.day.run())
        for _ in range(3):
            await looks(found)
        assert not broker.asked
        found.store(*swept({BUSY: whole}, LAST_NS + 100 * NS_PER_S), done(LAST_NS))
        await working
        assert volumes_of([], found) == once(whole, 2**40)
        [report] = found.published(TapeJudged)
        assert (report.quality, report.day_volume) == ("complete", whole.volume)


async def test_a_snapshot_that_is_stored_late_counts_although_track_b_closed_its_day_before():
    market = {BUSY: line(300), QUIET: line(100, 2)}

    async with scene(Broker(market), LAST_NS + 10 * NS_PER_S) as found:
        at_ns = LAST_NS + 5 * NS_PER_S
        found.store(*swept(market, OPENS_S * NS_PER_S), done(OPENS_S * NS_PER_S), CLOSED)
        found.store(*swept({QUIET: market[QUIET]}, at_ns))
        working = asyncio.create_task(found.day.run())
        await until_async(lambda: found.day._learning.last.get(QUIET) == market[QUIET].volume, "one is read")
        found.store(*swept({BUSY: market[BUSY]}, at_ns), done(LAST_NS))
        await working
        assert volumes_of([], found) == once(market[BUSY], 2**40)


async def test_trades_of_the_last_snapshot_are_asked_although_the_machine_s_clock_is_behind_the_exchange_s():
    market = {BUSY: line(100)}
    behind_ns = 20 * NS_PER_S
    last_ns = market[BUSY].seconds[-1] * NS_PER_S

    async with scene(Broker(market), EVENING_NS) as found:
        [seen] = swept(market, last_ns)
        found.store(replace(seen, receive_time_ns=last_ns - behind_ns), done(LAST_NS), CLOSED)
        await found.day.run()
        assert volumes_of([], found) == once(market[BUSY], 2**40)


async def test_a_line_that_the_last_sweep_does_not_have_is_not_complete():
    market = {BUSY: line(100), QUIET: line(100, 2)}

    async with scene(Broker(market), EVENING_NS) as found:
        found.store(*swept({QUIET: market[QUIET]}, LAST_NS - NS_PER_S), *swept({BUSY: market[BUSY]}, LAST_NS))
        found.store(done(LAST_NS), CLOSED)
        await found.day.run()
        reports = {each.symbol: each for each in found.published(TapeJudged)}
        assert {symbol: each.quality for symbol, each in reports.items()} == {BUSY: "complete", QUIET: "spans"}
        assert found.published(TapeProgressed)[-1].complete_lines == 1
        assert volumes_of([], found, QUIET) == once(market[QUIET], 2**40)


async def test_the_evening_begins_with_the_last_sweep_while_other_venues_trade_and_asks_no_trade_after_it():
    later = [(LAST_NS // NS_PER_S + 1_800 + number, 1) for number in range(100)]
    market = {BUSY: line(100)}
    broker = Broker({BUSY: Line([*zip(market[BUSY].seconds, market[BUSY].volumes, strict=True), *later])})

    async with scene(broker, LAST_NS + 3_000 * NS_PER_S, speed=60.0) as found:  # others trade for hours
        found.store(*swept(market, LAST_NS), done(LAST_NS), CLOSED)
        await found.day.run()
        assert volumes_of([], found) == once(market[BUSY], 2**40)
        assert len(broker.asked) <= 100 / 25 + 1


async def test_a_database_that_was_put_back_is_asked_again_before_a_streamed_line_is_fetched():
    market = {BUSY: line(3_000)}
    broker = Broker(market)
    first_s, second_s = OPENS_S + 600, OPENS_S + 1_200
    tail = streamed(market[BUSY], first_s + 2, second_s - 60)
    ends = [*tail, released(second_s - 60), watched(second_s - 60, WatchStopped())]
    ends += [*swept(market, second_s * NS_PER_S), evaluated(2, second_s)]

    async with scene(broker, (second_s + 5) * NS_PER_S) as found:
        found.day.planner._threshold = 1e9
        found.store(*swept(market, first_s * NS_PER_S), evaluated(1, first_s), *slot(first_s + 2))
        with contextlib.closing(sqlite3.connect(found.file)) as database, sqlite3.connect(":memory:") as copy:
            database.backup(copy)
            found.store(*ends)
            working = asyncio.create_task(found.day.run())
            whole = once(market[BUSY], second_s)
            limit = float(max(whole))
            await until_async(lambda: found.day.planner.chain(BUSY).limit == limit, "the second sweep is known")
            found.put_back(lambda: copy.backup(database))
        found.day.planner._threshold = 0
        found.day.planner.offer(BUSY)
        found.day._wake()
        await until_async(lambda: BUSY in found.day._put_off, "the line waits")
        assert not broker.asked
        found.store(*ends)
        await until_async(lambda: volumes_of(tail, found) >= whole, "the rest is fetched")
        assert volumes_of(tail, found) == whole
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
