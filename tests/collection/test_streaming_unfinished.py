"""The next process closes unfinished days and reports their missing trades as gaps."""

from contextlib import asynccontextmanager

import pytest

from bus.events import AlertRaised, GapDetected, SelectionAdvanced, SlotReleased
from observer.base.errors import BadRequestError, MaintenanceError
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_MINUTE
from observer.brokers.broker import Bar
from observer.cli.decisions import verified_day
from observer.collection.unfinished import Unfinished
from observer.demo.configuration import DAY
from observer.gaps.intervals import Interval
from observer.gaps.reconciliation import reconcile
from observer.store.reader import StoreReader
from tests.collection.day_scene import PLAN, SESSION, SLOTS, SYMBOLS, idle_process, market, process
from tests.day_plans import day_plan
from tests.scenes import on

RECEIVED, BEHIND, UNKNOWN = SYMBOLS[:3]
DAY_S = 24 * 3_600.0
HOURS = Interval(local_ns(DAY, 9), local_ns(DAY, 15, 30))


class Bars:
    """The exchange's daily bars of one session. Satisfies `HistorySource`."""

    def __init__(self, volumes, refused="", after_stop=None):
        self._volumes = volumes
        self._refused = refused
        self._after_stop = after_stop or {}

    async def daily_bars(self, symbol, first, last):
        if self._volumes is None:
            raise MaintenanceError("maintenance")
        if symbol == self._refused:
            raise BadRequestError("no such symbol")
        assert first == last == DAY
        volume = self._volumes.get(symbol)
        return [] if volume is None else [Bar(symbol, PLAN.starts_ns, 1.0, 1.0, 1.0, 1.0, volume, 0.0)]

    async def past_minute_bars(self, symbol, from_ns, to_ns):
        """Ten shares in the minute before the stop, those after it an hour later."""
        stop_ns, later = PLAN.track_b_stop_ns, self._after_stop.get(symbol, 0.0)
        minutes = ((stop_ns - NS_PER_MINUTE, 10.0), (stop_ns + 60 * NS_PER_MINUTE, later))
        return [Bar(symbol, at_ns, 1.0, 1.0, 1.0, 1.0, volume, 0.0) for at_ns, volume in minutes if volume]

    async def minute_bars(self, symbol, from_ns, to_ns):
        raise AssertionError(symbol)

    async def trades_between(self, symbol, from_ns, to_ns, after_volume=0.0, rows_max=None):
        raise AssertionError(symbol)


def plan_of(day):
    return PLAN if day == DAY else day_plan(day, trades=False)


async def end_earlier_days(
    late,
    volumes,
    refused="",
    after_stop=None,
):
    await Unfinished(
        reader=late.reader,
        history=Bars(volumes, refused, after_stop),
        alerts=late.alerts,
        clock=late.market.clock,
        plan_of=plan_of,
        new_day=late.new_day,
    ).end_all()


@asynccontextmanager
async def machine_off(days_off=1):
    """Two symbols trade ten shares; then the machine is off for so many days."""
    with market() as made:
        made.sweep(0.0)
        async with process(made) as first:
            await first.until(lambda: len(first.lines[0].subscribed) == SLOTS)
            first.day.receiver.on_trades([made.trade(symbol, 10.0, 10_000.0) for symbol in (RECEIVED, BEHIND)])
        await made.clock.advance(days_off * DAY_S)
        yield made


def reports(made):
    now_ns = made.clock.now_ns()
    with StoreReader(made.url) as reader:
        judged = [reconcile(day, now_ns)[1] for day in reader.symbol_days(SESSION, now_ns, HOURS)]
    return {comparison.symbol: (comparison.slots_quality, comparison.missing_volume) for comparison in judged}


@on(machine_off)
async def test_an_unfinished_day_is_not_complete_before_it_is_ended(made):
    found = reports(made)
    assert len(found) == SLOTS
    assert {comparison for comparison, _ in found.values()} == {"degraded", "unknown"}


@pytest.mark.parametrize("days_off", [1, 3, 7, 40])
async def test_the_end_of_an_unfinished_day_releases_its_slots_and_records_missing_volume_as_a_gap(days_off):
    volumes = dict.fromkeys(SYMBOLS, 0.0) | {RECEIVED: 10.0, BEHIND: 25.0}
    async with machine_off(days_off) as made:
        with idle_process(made) as late:
            await end_earlier_days(late, volumes)
            released = late.of(SlotReleased)
            assert {(each.reason, each.released_ns) for each in released} == {("unfinished", PLAN.track_b_stop_ns)}
            assert len(released) == SLOTS
            [gap] = late.of(GapDetected)
            assert (gap.symbol, gap.session_date, gap.after_volume, gap.before_volume) == (BEHIND, SESSION, 10, 25)
            assert (gap.reason, gap.detected_ns) == ("restart", PLAN.track_a_stop_ns)
        found = reports(made)
        assert found.pop(BEHIND) == ("degraded", 15)
        assert set(found.values()) == {("complete", 0)}


@on(machine_off)
async def test_what_was_traded_after_the_stop_is_not_missing(made):
    """An after-market goes on: the day's volume counts it, and the minutes after the stop show how much it is."""
    after_stop = {RECEIVED: 7.0, BEHIND: 30.0}
    volumes = dict.fromkeys(SYMBOLS, 0.0) | {RECEIVED: 10.0 + 7.0, BEHIND: 25.0 + 30.0}

    with idle_process(made) as late:
        await end_earlier_days(late, volumes, after_stop=after_stop)
        [gap] = late.of(GapDetected)
        assert (gap.symbol, gap.after_volume, gap.before_volume) == (BEHIND, 10, 25)
        assert gap.to_ns == PLAN.track_b_stop_ns
    found = reports(made)
    assert (found[RECEIVED], found[BEHIND]) == (("complete", 0), ("degraded", 15))
    with StoreReader(made.url) as reader:
        assert verified_day(reader, SESSION).is_same


@on(machine_off)
async def test_a_symbol_without_an_exchange_volume_is_not_complete(made):
    with idle_process(made) as late:
        await end_earlier_days(late, {RECEIVED: 10.0, BEHIND: 10.0})
    found = reports(made)
    assert [found[symbol][0] for symbol in (RECEIVED, BEHIND, UNKNOWN)] == ["complete", "complete", "unknown"]


@on(machine_off)
async def test_a_symbol_that_the_broker_does_not_know_keeps_no_day_open(made):
    with idle_process(made) as late:
        await end_earlier_days(late, {RECEIVED: 10.0, BEHIND: 10.0}, refused=UNKNOWN)
        assert f"volume_unreported:{UNKNOWN}" in late.alerts.identities
        assert len(late.of(SlotReleased)) == SLOTS
    found = reports(made)
    assert [found[symbol][0] for symbol in (RECEIVED, BEHIND, UNKNOWN)] == ["complete", "complete", "unknown"]


@on(machine_off)
async def test_while_the_broker_does_not_answer_the_slots_are_kept_and_the_next_process_ends_them(made):
    with idle_process(made) as late:
        await end_earlier_days(late, None)
        [alert] = late.of(AlertRaised)
        assert alert.text.endswith("are kept, the volume of that day is not known: maintenance")
        assert late.of(SelectionAdvanced) == []
    with idle_process(made) as later:
        await end_earlier_days(later, {})
        assert len(later.of(SlotReleased)) == SLOTS


@on(machine_off)
async def test_an_unfinished_day_is_ended_once(made):
    for expected in (SLOTS, 0):
        with idle_process(made) as late:
            await end_earlier_days(late, {})
            assert len(late.of(SlotReleased)) == expected


@on(machine_off, days_off=0)
async def test_a_machine_that_slept_over_the_end_of_the_day_leaves_an_unfinished_day(made):
    made.desk.volumes = {BEHIND: 5_000.0}  # of the next day
    async with process(made) as asleep:
        await made.clock.advance(DAY_S)
        await asleep.day.end(asleep.selector)
        assert asleep.of(SlotReleased) == []
        assert asleep.of(GapDetected) == []
        asleep.stored()
        await end_earlier_days(asleep, {})
        assert len(asleep.of(SlotReleased)) == SLOTS


@on(machine_off)
async def test_a_replay_confirms_the_decisions_of_a_day_ended_late(made):
    with idle_process(made) as late:
        await end_earlier_days(late, {BEHIND: 25.0})
    with StoreReader(made.url) as reader:
        comparison = verified_day(reader, SESSION)
    assert comparison.is_same, comparison
    assert comparison.same["GapDetected"] == 1
