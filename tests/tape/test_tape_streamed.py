"""No trade that was streamed is fetched, however late it is stored; streamed and fetched trades are all of the day."""

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest

import observer.tape.collector
from bus.events import (
    Event,
    SelectionAdvanced,
    SlotAssigned,
    SlotReleased,
    TapeJudged,
    Trade,
    UniverseEvaluated,
    WatchChanged,
    WatchStarted,
    WatchStopped,
)
from observer.tape.collector import CLOSED_AFTER_NS, OVER_AT_LAST_NS
from observer.units import NS_PER_S
from tests.tape.market import Line
from tests.tape.test_tape_day import BUSY, CLOSED, OPENS_S, PLAN, QUIET, SESSION, Broker, Scene, line, run, scene, swept
from tests.waiting import until_async

CLOSES_NS = PLAN.track_a_stop_ns + CLOSED_AFTER_NS


@pytest.fixture(autouse=True)
def checks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer.tape.collector, "CHECK_AGAIN_S", 0.05)


def streamed(of: Line, from_s: int, to_s: int) -> list[Trade]:
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


def watched(at_s: int, change: WatchStarted | WatchStopped) -> WatchChanged:
    return WatchChanged("kis", BUSY, SESSION, at_s * NS_PER_S, change)


def evaluated(number: int, at_s: int) -> SelectionAdvanced:
    at_ns = at_s * NS_PER_S
    return SelectionAdvanced(SESSION, at_ns + NS_PER_S, UniverseEvaluated(number, at_ns, at_ns, 2))


def slot(at_s: int) -> list[Event]:
    assigned = SlotAssigned("a:01", BUSY, at_s * NS_PER_S, "volume_surge", 1.0, "free_slot", None)
    return [assigned, watched(at_s + 1, WatchStarted())]


def released(at_s: int) -> SlotReleased:
    return SlotReleased("a:01", BUSY, at_s * NS_PER_S, 1.0, "expired")


def volumes_of(stored: Iterable[Trade], found: Scene) -> Counter[float]:
    """How often each trade of BUSY is stored, by its name."""
    fetched = [each for each in found.published(Trade) if isinstance(each, Trade) and each.symbol == BUSY]
    return Counter(each.cumulative_volume for each in (*stored, *fetched))


def once(of: Line, upto_s: int) -> Counter[float]:
    """Each trade until then, once."""
    return Counter(float(of.cumulative[number + 1]) for number, at_s in enumerate(of.seconds) if at_s <= upto_s)


def test_what_is_streamed_long_after_the_slot_and_stored_after_the_next_sweep_is_not_fetched() -> None:
    market = {BUSY: line(3_000), QUIET: line(3_000, 2)}
    broker = Broker(market)
    first_s, second_s, third_s = (OPENS_S + after_s for after_s in (600, 1_200, 1_800))
    released_s, left_s = second_s - 100, second_s + 60  # the broker allows few changes a minute

    async def scenario() -> None:
        async with scene(broker, (third_s + 5) * NS_PER_S) as found:
            found.day.planner._threshold = 0
            before = streamed(market[BUSY], first_s + 2, released_s)
            found.store(*swept(market, first_s * NS_PER_S), evaluated(1, first_s), *slot(first_s + 2))
            found.store(*before, released(released_s), *swept(market, second_s * NS_PER_S), evaluated(2, second_s))
            working = asyncio.create_task(found.day.run())
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
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    run(scenario)


def test_the_day_s_last_volumes_are_asked_when_track_b_s_whole_day_is_stored() -> None:
    market = {BUSY: line(300), QUIET: line(300, 2)}
    broker = Broker(market)
    begins_s, ends_s = market[BUSY].seconds[100], market[BUSY].seconds[200]

    async def scenario() -> None:
        async with scene(broker, CLOSES_NS + NS_PER_S) as found:
            found.store(*swept(market, PLAN.closes_ns))
            working = asyncio.create_task(found.day.run())
            await until_async(lambda: BUSY in found.day._learning.last, "the volume is read")
            await until_async(lambda: found.clock.now_ns() > CLOSES_NS + 200 * NS_PER_S, "the sweep is long over")
            assert not broker.asked
            brought = streamed(market[BUSY], begins_s, ends_s)
            found.store(*slot(begins_s), *brought, released(ends_s), watched(ends_s, WatchStopped()), CLOSED)
            await working
            assert volumes_of(brought, found) == once(market[BUSY], 2**40)
            assert {each.quality for each in found.published(TapeJudged)} == {"complete"}

    run(scenario)


def test_a_day_that_track_b_never_closes_is_asked_an_hour_later() -> None:
    market = {BUSY: line(100)}

    async def scenario() -> None:
        async with scene(Broker(market), CLOSES_NS + OVER_AT_LAST_NS - 60 * NS_PER_S) as found:
            found.store(*swept(market, PLAN.closes_ns))
            await found.day.run()
            assert found.clock.now_ns() >= CLOSES_NS + OVER_AT_LAST_NS
            assert volumes_of([], found) == once(market[BUSY], 2**40)

    run(scenario)


def test_the_day_is_asked_from_the_last_sweep_on_while_other_venues_trade() -> None:
    market = {BUSY: line(100)}
    broker = Broker(market)
    later = [(PLAN.closes_ns // NS_PER_S + 1_800 + number, 1) for number in range(100)]  # no sweep sees these
    broker.market[BUSY] = Line([*zip(market[BUSY].seconds, market[BUSY].volumes, strict=True), *later])

    async def scenario() -> None:
        async with scene(broker, CLOSES_NS + 3_000 * NS_PER_S) as found:
            assert found.clock.now_ns() < PLAN.trades_to_ns
            found.store(*swept({BUSY: line(100)}, PLAN.closes_ns), CLOSED)
            await found.day.run()
            assert volumes_of([], found) == once(line(100), 2**40)
            assert len(broker.asked) <= 100 / 25 + 1
            assert {each.quality for each in found.published(TapeJudged)} == {"complete"}

    run(scenario)
