"""A day of the tape against a broker in memory: what is asked, what is published, and when it is done."""

import asyncio
import contextlib
import gc
import random
import threading
import time
import tracemalloc
from collections import Counter
from datetime import date
from pathlib import Path

import msgspec
import pytest

import observer.collection.tape.collector
import observer.collection.tape.stored
import observer.store.tape
from bus.codec import decode_events, unpack
from bus.delivery import Delivered
from bus.events import (
    AlertRaised,
    AlertResolved,
    Event,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapUnrecoverable,
    InputQuarantined,
    SelectionAdvanced,
    SlotAssigned,
    SlotsClosed,
    TapeJudged,
    TapePage,
    TapeProgressed,
    Trade,
    UniverseEvaluated,
)
from bus.outbox import Outbox
from bus.producer import Producer
from bus.segments import Packed
from observer.base.clock import ScaledClock
from observer.base.errors import BadRequestError, ProviderError, TransportError
from observer.base.units import NS_PER_S
from observer.brokers.broker import PastTrade
from observer.brokers.domestic import UnreadableRow
from observer.brokers.time_and_sales import TradesPage
from observer.collection.settings import TrackASettings
from observer.collection.tape.answers import restore
from observer.collection.tape.collector import REFUSALS_MAX, TapeDay
from observer.collection.tape.output import TapeParts
from observer.collection.tape.settings import TapeSettings
from observer.collection.tape.stored import StoredDay
from observer.collection.track_a import sweeps_on
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests.chaos.faulty_disk import FaultyDisk
from tests.collection.market import PAGE, Line
from tests.day_plans import RULES, day_plan
from tests.folders import short_folder
from tests.selection.builders import seen
from tests.store.migrated import make_database
from tests.store.plans import recorded
from tests.waiting import until_async

DAY = date(2026, 11, 18)
SESSION = DAY.isoformat()
PLAN = day_plan(DAY)
SWEEPS = sweeps_on(PLAN, TrackASettings(), RULES.sessions, ["KRX"])
LAST_NS = SWEEPS[-1].begins_ns
OPENS_S = PLAN.opens_ns // NS_PER_S
EVENING_NS = PLAN.ends_ns - 3 * 3600 * NS_PER_S
BUSY, QUIET, SMALL = "000001", "000002", "000003"


def line(trades, seed=1):
    rng, second, made = random.Random(seed), OPENS_S, []
    for _ in range(trades):
        second += rng.choice([0, 0, 1, 3])
        made.append((second, rng.randint(1, 9)))
    return Line(made)


class Broker:
    """Answers pages of its lines; refuses the first `refusals` calls, answers the next `empties` with no trade, and of
    the next `shorts` full pages only the newest trades. The trades with the numbers `unreadable` are so. Lines in
    `refused` always get that error.
    """

    def __init__(
        self,
        market,
        refusals=0,
        empties=0,
        shorts=0,
        unreadable=(),
        refused=None,
    ):
        self.market = market
        self.refused = refused or {}
        self.refusals = refusals
        self.empties = empties
        self.shorts = shorts
        self.unreadable = unreadable
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = []
        self.seconds = []

    def usable(self, _capability):
        return {"account": self}

    async def trades_page(self, symbol, until_ns, priority="background"):
        await self.gate.wait()
        self.asked.append(symbol)
        self.seconds.append(until_ns // NS_PER_S)
        if symbol in self.refused:
            raise self.refused[symbol]
        if self.refusals:
            self.refusals -= 1
            raise ProviderError("not now")
        if self.empties:
            self.empties -= 1
            return TradesPage([])
        of = self.market[symbol]
        numbers = of.rows(until_ns // NS_PER_S, PAGE)
        if self.shorts and len(numbers) == PAGE:
            self.shorts -= 1
            numbers = numbers[-PAGE // 3 :]
        rows = [
            PastTrade(
                symbol,
                of.seconds[number] * NS_PER_S,
                100.0,
                float(of.volumes[number]),
                float(of.cumulative[number + 1]),
                None,
                None,
                "KRX",
            )
            for number in numbers
            if number not in self.unreadable
        ]
        broken = [number for number in reversed(numbers) if number in self.unreadable]
        content = [UnreadableRow("no number", str(number).encode(), numbers[-1] - number) for number in broken]
        return TradesPage(rows, content, any(row.number == 0 for row in content))


class Scene:
    """The day, its database, and what it published."""

    def __init__(self, folder, broker, now_ns, speed):
        self.file = folder / "observer.db"
        self._writer = StoreWriter(f"sqlite:///{self.file}")
        self._writer.open()
        self._stored = Counter()
        self._outbox = Outbox(folder / "outbox", "tape", "2" * 32)
        self.producer = Producer(self._outbox, f"ipc://{folder}/ingest")
        self.clock = ScaledClock(now_ns, time.monotonic_ns(), speed)
        self.reader = StoreReader(f"sqlite:///{folder}/observer.db")
        self.alerts = Alerts(self.clock, "tape", self.producer.publish)
        self.parts = TapeParts(
            settings=TapeSettings(),
            provider="kis",
            page_trades=PAGE,
            calls_per_second=18.0,
            sweeps=lambda _: SWEEPS,
            sweep_interval_s=600.0,
            rest=broker,
            reader=self.reader,
            producer=self.producer,
            feed_address=f"ipc://{folder}/feed",
            clock=self.clock,
            alerts=self.alerts,
        )
        self.day = TapeDay(self.parts, PLAN)

    def store(self, *events, stream="1" * 32):
        """Store events at the end of an event stream."""
        self._writer.commit([Delivered("track-b", stream, self._stored[stream] + 1, events)])
        self._stored[stream] += len(events)

    def put_back(self, put_copy):
        """Put an earlier copy of the database in its place; what is stored next begins where that one ended."""
        self._writer.close()
        put_copy()
        self._writer = StoreWriter(f"sqlite:///{self.file}")
        self._writer.open()
        self._stored = Counter(self._writer.high_water_marks(list(self._stored)))

    def published(self, kind):
        self.producer.flush()
        found, sequence = [], 1
        while sequence <= self.producer.published:
            packed = self._outbox.batch_at(self._outbox.stream, sequence)
            assert isinstance(packed, Packed)
            found += [each for each in decode_events(unpack(packed.content)) if isinstance(each, kind)]
            sequence = packed.last_sequence + 1
        return found

    def close(self):
        self.producer.close()
        self.reader.close()
        self._writer.close()


@contextlib.asynccontextmanager
async def at_work(day):
    """The day runs until the block ends."""
    working = asyncio.create_task(day.run())
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@contextlib.asynccontextmanager
async def scene(broker, now_ns=EVENING_NS, speed=600.0):
    """A day at this speed: where a test says what is not waited for, so slow that the wait exceeds its deadline.

    Its few volumes are read at once: ten minutes at a time would be two thirds of a test's processor time.
    """
    with short_folder() as name, pytest.MonkeyPatch.context() as patches:
        patches.setattr(observer.collection.tape.stored, "VOLUMES_NS", 24 * 3_600 * NS_PER_S)
        make_database(f"sqlite:///{name}/observer.db")
        made = Scene(Path(name), broker, now_ns, speed)
        try:
            yield made
        finally:
            made.close()


def swept(market, at_ns):
    """The volumes that a sweep found."""
    return [
        seen(symbol, each.volume_at(at_ns // NS_PER_S), session_date=SESSION, receive_time_ns=at_ns, venue="KRX")
        for symbol, each in market.items()
    ]


CLOSED = SelectionAdvanced(SESSION, PLAN.track_b_stop_ns, SlotsClosed("closed"))


async def test_in_the_evening_every_trade_is_fetched_and_every_line_is_judged():
    market = {BUSY: line(400), QUIET: line(90, 2), SMALL: line(5, 3)}
    broker = Broker(market)

    async with scene(broker) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        await found.day.run()
        trades = found.published(Trade)
        assert len(trades) == 495
        assert {(each.gap_id, each.session, each.side_inferred) for each in trades} == {("tape", "regular", True)}
        judged = found.published(TapeJudged)
        assert {each.symbol: (each.quality, each.fetched_trades) for each in judged} == {
            BUSY: ("complete", 400),
            QUIET: ("complete", 90),
            SMALL: ("complete", 5),
        }
        [*_, last] = found.published(TapeProgressed)
        assert (last.is_done, last.trades, last.calls, last.complete_lines) == (True, 495, len(broker.asked), 3)
        assert len(broker.asked) <= 1.3 * (495 / PAGE + 3)


async def test_a_refused_call_is_an_alert_and_its_line_is_visited_again():
    market = {BUSY: line(100)}

    async with scene(Broker(market, refusals=2)) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        await found.day.run()
        assert len(found.published(Trade)) == 100
        assert [each.identity for each in found.published(AlertRaised)] == ["tape_refused"]
        assert [each.identity for each in found.published(AlertResolved)] == ["tape_refused"]


async def test_a_line_that_is_always_refused_is_judged_without_its_trades_and_its_alert_stays_open(
    monkeypatch,
):
    monkeypatch.setattr(observer.collection.tape.collector, "CHECK_AGAIN_S", 0.05)
    market = {BUSY: line(400), QUIET: line(90, 2)}
    broker = Broker(market, refused={QUIET: BadRequestError("no such line")})

    async with scene(broker, speed=60.0) as found:  # three hours are left of the day
        found.store(*swept(market, LAST_NS), CLOSED)
        await found.day.run()
        assert broker.asked.count(QUIET) == REFUSALS_MAX
        judged = {each.symbol: each for each in found.published(TapeJudged)}
        assert (judged[BUSY].quality, judged[QUIET].quality) == ("complete", "snapshots")
        assert [each.identity for each in found.published(AlertRaised)] == ["tape_refused"]
        [resolved] = found.published(AlertResolved)
        assert resolved.text == "the day's tape is done"


async def test_a_line_whose_calls_get_no_answer_is_waited_for():
    async with scene(Broker({})) as found:
        found.day._is_closed = True
        for _ in range(2 * REFUSALS_MAX):
            found.day._note_refused(BUSY, TransportError("no answer"))
        assert found.day._refused == {BUSY: 0}


async def test_one_empty_answer_writes_no_trade_off():
    market = {BUSY: line(100)}

    async with scene(Broker(market, empties=1)) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        await found.day.run()
        assert [each.quality for each in found.published(TapeJudged)] == ["complete"]


@pytest.mark.parametrize(("shorts", "quality"), [(1, "complete"), (2, "seconds")])
async def test_a_short_page_writes_the_trades_before_it_off_only_when_it_comes_twice(shorts, quality):
    market = {BUSY: line(100)}

    async with scene(Broker(market, shorts=shorts)) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        await found.day.run()
        [report] = found.published(TapeJudged)
        assert report.quality == quality
        assert [each.after_volume for each in report.unreachable] == [0.0] * (shorts - 1)


@pytest.mark.parametrize("number", [0, 1, 50, 69, 70, 71, 98, 99])
async def test_an_unreadable_row_goes_to_quarantine_and_costs_its_own_volume(number):
    market = {BUSY: line(100)}
    begin, end = (float(volume) for volume in market[BUSY].cumulative[number : number + 2])

    async with scene(Broker(market, unreadable={number})) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        await found.day.run()
        assert len(found.published(Trade)) == 99
        [report] = found.published(TapeJudged)
        assert (report.quality, report.unknown) == ("seconds", ())
        assert [(each.after_volume, each.upto_volume) for each in report.unreachable] == [(begin, end)]
        rows = found.published(InputQuarantined)
        assert {each.content for each in rows} == {str(number).encode()}
        assert {each.source for each in rows} == {"kis tape"}


async def test_a_line_whose_only_trades_cannot_be_read_waits_for_nothing():
    market = {SMALL: line(3)}

    async with scene(Broker(market, unreadable=range(3))) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        await found.day.run()
        [report] = found.published(TapeJudged)
        [span] = report.unreachable
        assert (span.after_volume, span.upto_volume) == (0.0, market[SMALL].volume)
        assert found.published(AlertRaised) == []


async def test_a_page_without_a_readable_row_is_a_refused_call():
    market = {BUSY: line(100)}
    broker = Broker(market, unreadable=range(100))

    async with scene(broker) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        working = asyncio.create_task(found.day.run())
        await until_async(lambda: found.published(AlertRaised), "an alert")
        broker.unreadable = ()
        await working
        assert [each.identity for each in found.published(AlertRaised)] == ["tape_refused"]
        assert [each.quality for each in found.published(TapeJudged)] == ["complete"]
        assert found.published(InputQuarantined)


async def test_a_page_is_held_only_when_the_disk_has_it(monkeypatch):
    market = {BUSY: line(300), QUIET: line(200, 2)}
    broker, disk = Broker(market), FaultyDisk()

    disk.install(monkeypatch, Path())
    async with scene(broker) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        disk.room_bytes = 10_000
        working = asyncio.create_task(found.day.run())
        await until_async(lambda: "tape_unwritten" in found.alerts.identities, "an alert")
        assert found.published(TapePage)
        stored = sum(each.volume for each in found.published(TapePage))
        assert sum(each.held_volume for each in found.day.planner.chains.values()) == stored
        disk.room_bytes = None
        await working
        assert [each.identity for each in found.published(AlertResolved)] == ["tape_unwritten"]
        offered = [float(volume) for each in market.values() for volume in each.cumulative[1:]]
        assert sorted(each.cumulative_volume for each in found.published(Trade)) == sorted(offered)
        assert {each.quality for each in found.published(TapeJudged)} == {"complete"}


async def test_a_pre_roll_that_waits_for_a_gap_is_asked_when_the_gap_is_closed(monkeypatch):
    monkeypatch.setattr(observer.collection.tape.collector, "CHECK_AGAIN_S", 0.05)
    market = {BUSY: line(3_000)}
    broker = Broker(market)
    swept_ns = (OPENS_S + 2_400) * NS_PER_S
    gap = GapDetected("g", "kis", BUSY, SESSION, 1, 1, 2, 3.0, 9.0, 6.0, None, "reconnect")
    lost = GapUnrecoverable("g", BUSY, swept_ns + 3 * NS_PER_S, "the broker has no trades of it")

    async with scene(broker, swept_ns + 5 * NS_PER_S) as found:
        slot = SlotAssigned("a:01", BUSY, swept_ns + 2 * NS_PER_S, "volume_surge", 1.0, "free_slot", None)
        evaluated = SelectionAdvanced(SESSION, swept_ns + NS_PER_S, UniverseEvaluated(4, swept_ns, swept_ns, 2))
        found.store(*swept(market, swept_ns), slot, evaluated, gap)
        found.day.planner._threshold = 1e9  # nothing but the pre-roll is worth a visit
        async with at_work(found.day):
            await until_async(lambda: found.day._prerolls, "it is put off")
            assert not broker.asked
            found.store(lost)
            since_ns = swept_ns - 600 * NS_PER_S
            await until_async(
                lambda: any(each.exchange_time_ns <= since_ns for each in found.published(Trade)), "it is fetched"
            )


async def test_a_refused_pre_roll_is_asked_again_at_the_time_of_the_other_refused_lines(
    monkeypatch,
):
    monkeypatch.setattr(observer.collection.tape.collector, "CHECK_AGAIN_S", 0.01)  # 6 market seconds
    monkeypatch.setattr(observer.collection.tape.collector, "OFFER_AGAIN_NS", 300 * NS_PER_S)
    market = {BUSY: line(3_000)}
    broker = Broker(market, refused={BUSY: TransportError("no answer")})
    swept_ns = (OPENS_S + 2_400) * NS_PER_S

    async with scene(broker, swept_ns + 5 * NS_PER_S) as found:
        slot = SlotAssigned("a:01", BUSY, swept_ns + 2 * NS_PER_S, "volume_surge", 1.0, "free_slot", None)
        evaluated = SelectionAdvanced(SESSION, swept_ns + NS_PER_S, UniverseEvaluated(4, swept_ns, swept_ns, 2))
        found.store(*swept(market, swept_ns), slot, evaluated)
        found.day.planner._threshold = 1e9  # nothing but the pre-roll is worth a visit
        begun_ns = found.clock.now_ns()
        async with at_work(found.day):
            await until_async(lambda: len(broker.asked) >= 2, "it is asked again")
            assert found.clock.now_ns() - begun_ns >= 300 * NS_PER_S


async def test_a_day_that_is_cancelled_in_the_moment_of_news_ends():
    broker = Broker({BUSY: line(40)})

    swept_ns = PLAN.opens_ns + 3_600 * NS_PER_S
    async with scene(broker, swept_ns) as found:
        found.store(*swept(broker.market, swept_ns))
        working = asyncio.create_task(found.day.run())
        await until_async(lambda: found.day._news._waiters, "it waits for news")
        found.day._news.set()
        working.cancel()
        await asyncio.wait([working])


async def test_a_line_s_gaps_and_cuts_are_read_without_those_of_the_other_lines():
    def cut(symbol):
        return GapOpened(symbol, "kis", symbol, SESSION, 1, 1, 3.0, "reconnect")

    async with scene(Broker({})) as found:
        found.store(cut(BUSY), cut(QUIET), GapEmpty(QUIET, "kis", QUIET, SESSION, 2, 1, 2, 3.0))
        stored = StoredDay(found.reader, found.alerts, SESSION, EVENING_NS)
        with recorded() as statements:
            assert await stored.has_open_gap(BUSY)
            assert not await stored.has_open_gap(QUIET)
        of_cuts = [each for each in statements if "FROM gap_openings" in each.text]
        assert of_cuts
        assert all("gap_openings.symbol = ?" in each.text for each in of_cuts)


async def test_a_line_with_an_open_gap_waits_for_the_gap():
    market = {BUSY: line(100), QUIET: line(40, 2)}
    broker = Broker(market)
    gap = GapDetected("g", "kis", BUSY, SESSION, 1, 1, 2, 3.0, 9.0, 6.0, None, "reconnect")

    async with scene(broker) as found:
        slot = SlotAssigned("a:01", BUSY, PLAN.opens_ns - 1, "volume_surge", 1.0, "free_slot", None)
        found.store(slot, gap, *swept(market, LAST_NS), CLOSED)
        async with at_work(found.day):
            await until_async(lambda: len(found.published(Trade)) == 40, "the other line is fetched")
            assert set(broker.asked) == {QUIET}


async def test_a_process_that_begins_at_the_end_of_the_day_judges_what_the_sweeps_saw():
    market = {BUSY: line(100)}

    async with scene(Broker(market), PLAN.ends_ns - 60 * NS_PER_S) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        await found.day.run()
        [report] = found.published(TapeJudged)
        assert (report.day_volume, report.quality) == (market[BUSY].volume, "snapshots")
        assert report.unknown


async def test_a_won_slot_has_its_minutes_before_fetched_first_and_nothing_that_streams():
    market = {BUSY: line(8_000), QUIET: line(3_000, 2)}
    broker = Broker(market)
    swept_ns = (OPENS_S + 2_400) * NS_PER_S

    async with scene(broker, swept_ns + 5 * NS_PER_S) as found:
        slot = SlotAssigned("a:01", QUIET, swept_ns + 2 * NS_PER_S, "volume_surge", 1.0, "free_slot", None)
        evaluated = SelectionAdvanced(SESSION, swept_ns + NS_PER_S, UniverseEvaluated(4, swept_ns, swept_ns, 2))
        found.store(*swept(market, swept_ns), slot, evaluated)
        async with at_work(found.day):
            await until_async(lambda: BUSY in broker.asked and QUIET in broker.asked, "both are asked")

            def times():
                return [each.exchange_time_ns for each in found.published(Trade) if each.symbol == QUIET]

            await until_async(lambda: min(times(), default=swept_ns) <= swept_ns - 600 * NS_PER_S, "it is fetched")
            assert len(broker.asked) < len(market[BUSY].volumes) / PAGE, "before the rest"
        assert max(times()) <= swept_ns


async def test_a_visit_at_work_makes_way_for_the_pre_roll_of_its_line(monkeypatch):
    monkeypatch.setattr(observer.collection.tape.collector, "CHECK_AGAIN_S", 0.05)
    market = {BUSY: line(8_000)}
    broker = Broker(market)
    first_ns, second_ns = (OPENS_S + 3_000) * NS_PER_S, (OPENS_S + 3_600) * NS_PER_S

    async with scene(broker, second_ns + 5 * NS_PER_S) as found:
        broker.gate.clear()
        evaluated = SelectionAdvanced(SESSION, first_ns + 1, UniverseEvaluated(4, first_ns, first_ns, 1))
        found.store(*swept(market, first_ns), evaluated)
        async with at_work(found.day):
            await until_async(lambda: found.day._visits, "a visit is at work")
            slot = SlotAssigned("a:01", BUSY, second_ns + 2 * NS_PER_S, "volume_surge", 1.0, "free_slot", None)
            evaluated = SelectionAdvanced(SESSION, second_ns + 1, UniverseEvaluated(5, second_ns, second_ns, 1))
            found.store(*swept(market, second_ns), evaluated, slot)
            await until_async(lambda: found.day.planner.waits_first(BUSY), "the pre-roll waits")
            broker.gate.set()
            await until_async(lambda: len(broker.seconds) > 3, "it is asked")
            assert broker.seconds[1] > first_ns // NS_PER_S, "after one page of the visit at work"


async def test_a_restart_holds_a_part_of_the_pages_and_makes_its_planner_beside_the_event_loop(
    monkeypatch,
):
    monkeypatch.setattr(observer.store.tape, "_PAGES_AT_ONCE", 100)
    threads = set()

    def spied(planner, pages):
        threads.add(threading.current_thread())
        restore(planner, pages)

    monkeypatch.setattr(observer.collection.tape.collector, "restore", spied)

    def page(number):
        at_ns = (OPENS_S + number) * NS_PER_S
        return TapePage(
            *("kis", f"{number % 5:06}", SESSION, at_ns, at_ns, 30, 30, 5.0, float(number), number + 5.0),
            *(at_ns, at_ns, (), "KRX"),
        )

    async def peak_bytes(found):
        day = TapeDay(found.parts, PLAN)
        threshold = gc.get_threshold()
        gc.set_threshold(700, 10, 10)  # Python's, which the process has
        tracemalloc.start()
        try:
            assert await day._resume()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            gc.set_threshold(*threshold)
            assert all(len(list(chain.held)) == 1 for chain in day.planner.chains.values())

    async with scene(Broker({})) as found:
        found.store(*(page(number) for number in range(500)))
        await peak_bytes(found)
        few = await peak_bytes(found)
        found.store(*(page(number) for number in range(500, 4_000)))
        assert await peak_bytes(found) < 3 * few, "eight times the pages"
        assert threading.main_thread() not in threads


async def test_a_process_goes_on_where_an_earlier_one_stopped():
    market = {BUSY: line(600)}
    first, second = Broker(market), Broker(market)

    async with scene(first) as found:
        found.store(*swept(market, LAST_NS), CLOSED)
        async with at_work(found.day):
            await until_async(lambda: len(found.published(TapePage)) >= 5, "pages are stored")
        kept = [each for each in found.published(Event.__args__) if isinstance(each, Trade | TapePage)]
    async with scene(second) as found:
        found.store(*kept, *swept(market, LAST_NS), CLOSED)
        await found.day.run()
        names = [each.cumulative_volume for each in [*kept, *found.published(Trade)] if isinstance(each, Trade)]
        assert sorted(names) == sorted(float(volume) for volume in market[BUSY].cumulative[1:])
        assert len(first.asked) + len(second.asked) <= 600 / 25 + 3
        [report] = found.published(TapeJudged)
        assert msgspec.structs.replace(report, judged_ns=0).fetched_trades == 600
