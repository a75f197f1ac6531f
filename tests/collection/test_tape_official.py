"""The day's official minute bars: which lines come first, what is compared, and the process beside a broker."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import observer.collection.backfill.fetching
import observer.collection.tape.official
from bus.events import (
    BarsChecked,
    BarsFetched,
    SlotAssigned,
    SlotReleased,
    TapeJudged,
    TapeProgressed,
)
from observer.base.errors import TransportError
from observer.base.units import NS_PER_MINUTE, NS_PER_S
from observer.brokers.broker import broker_named
from observer.calendar.phases import DayRules
from observer.calendar.service import TradingDayService
from observer.calendar.session_file import SHIPPED, read_session_rules
from observer.collection.tape.collector import JUDGED_BEFORE_NS, TapeParts
from observer.collection.tape.official import fetch_official_bars
from observer.collection.tape.official_lines import OfficialBars, day_of
from observer.collection.tape.settings import TapeSettings
from observer.monitoring.alerts.process import Alerts
from observer.system.worker import Worker
from tests.collection.test_tape_day import PLAN, scene
from tests.collection.test_tape_process import CLOSED_NS, SESSION, as_streamed, evening
from tests.folders import short_folder
from tests.store.raw import query
from tests.waiting import DEADLINE_S, until_async


def report(symbol, volume, held, quality="spans"):
    return TapeJudged("kis", symbol, SESSION, 1, quality, volume, held, 0, (), ())


def fetch(symbol, at_s=1.0, bars=3):
    at_ns = round(at_s * NS_PER_S)
    return BarsFetched("kis", symbol, SESSION, SESSION, "minutes", "equal", bars, 0, 9.0, 9.0, 13, at_ns)


def check(symbol, at_s=2.0):
    return BarsChecked("kis", symbol, SESSION, round(at_s * NS_PER_S), 10, 6, 1, 0, 3, 0, 9.0, 8.0, ())


def reports(*of_lines):
    return {each.symbol: each for each in of_lines}


def test_lines_whose_tape_lacks_most_come_first_and_lines_without_a_trade_never():
    judged = reports(report("whole", 900, 900), report("half", 100, 50), report("none", 80, 0), report("quiet", 0, 0))
    assert day_of(judged, [], []).unfetched == ["none", "half", "whole"]


def test_a_fetched_line_is_compared_once_if_it_has_stored_trades():
    judged = reports(report("held", 9, 9), report("bare", 9, 0), report("new", 9, 9), report("old", 9, 9))
    fetches = [fetch("held"), fetch("bare"), fetch("old", at_s=3.0)]
    day = day_of(judged, fetches, [check("old", at_s=2.0)])
    assert (day.unfetched, [each.symbol for each in day.unchecked]) == (["new"], ["held", "old"])
    assert day_of(judged, fetches, [check("held"), check("old", at_s=3.0)]).unchecked == []


def test_a_line_without_a_stored_trade_has_its_minute_bars_instead_where_the_broker_has_them():
    judged = reports(report("a", 9, 0, "snapshots"), report("b", 9, 0, "snapshots"), report("c", 9, 9, "complete"))
    found = day_of(judged, [fetch("a"), fetch("b", bars=0), fetch("c")], []).outdated
    assert [each.symbol for each in found] == ["a"]


def test_the_time_left_is_by_the_pace_of_the_latest_lines():
    judged = reports(*(report(f"{number}", 9, 9) for number in range(5)))
    assert day_of(judged, [fetch("0", 10.0)], []).progress().seconds_left is None
    progress = day_of(judged, [fetch("0", 10.0), fetch("1", 14.0), fetch("2", 20.0)], [check("1")]).progress()
    assert progress == OfficialBars(
        lines=5, fetched_lines=3, equal_lines=3, checked_lines=1, minutes=7, equal_minutes=6, seconds_left=10.0
    )
    done = day_of(judged, [fetch(f"{number}") for number in range(5)], [])
    assert done.progress().seconds_left == 0


LINES = st.lists(st.tuples(st.sampled_from([0.0, 5.0, 9.0]), st.booleans(), st.booleans(), st.booleans()), max_size=8)


@given(LINES)
def test_each_line_with_trades_is_to_be_fetched_or_is_fetched_and_what_is_done_leaves_nothing(
    lines,
):
    judged = reports(*(report(f"{at}", volume, volume * held) for at, (volume, held, _, _) in enumerate(lines)))
    fetches = [fetch(f"{at}") for at, (_, _, is_fetched, _) in enumerate(lines) if is_fetched]
    checks = [check(f"{at}") for at, (_, _, _, is_checked) in enumerate(lines) if is_checked]
    day = day_of(judged, fetches, checks)
    traded = {symbol for symbol, each in judged.items() if each.day_volume > 0}
    assert set(day.unfetched) == traded - {each.symbol for each in fetches}
    assert {each.symbol for each in day.unchecked}.isdisjoint(day.unfetched)
    after = day_of(judged, [*fetches, *map(fetch, day.unfetched)], [*checks, *map(check, judged)])
    assert (after.unfetched, after.unchecked) == ([], [])
    assert after.progress().seconds_left == 0


# --- the process ---------------------------------------------------------------------------------------------


def count(found, table, where):
    [(rows,)] = query(found.day.settings.store.url, f"SELECT count(*) FROM {table} WHERE {where}")
    return int(rows)


def assert_whole(found):
    """Each line has the minute bars of its market's volume, once."""
    url = found.day.settings.store.url
    offered = {symbol: float(trades[-1].cumulative_volume) for symbol, trades in found.offered.items() if trades}
    stored = query(url, "SELECT symbol, sum(volume) FROM fetched_minute_bars GROUP BY symbol")
    assert dict(stored) == offered
    fetches = query(url, "SELECT symbol, outcome FROM bar_fetches WHERE kind = 'minutes'")
    assert sorted(fetches) == sorted((symbol, "equal") for symbol in offered)
    assert query(url, "SELECT 1 FROM fetched_minute_bars GROUP BY symbol, minute_start_ns HAVING count(*) > 1") == []


@pytest.mark.slow
async def test_the_bars_of_every_line_are_compared_with_its_trades_and_a_false_trade_is_a_fact():
    async with evening(symbols=2) as found:
        symbol, offered = max(found.offered.items(), key=lambda each: len(each[1]))
        false = msgspec.structs.replace(as_streamed(offered[0]), price=3.0 * offered[0].price)
        begun_ns = false.exchange_time_ns
        found.producer.publish(SlotAssigned("a:01", symbol, begun_ns - 1, "volume_surge", 1.0, "free_slot", None))
        found.producer.publish(false, SlotReleased("a:01", symbol, begun_ns + 1, 1.0, "expired"))
        await found.report_session()
        lines = sum(bool(trades) for trades in found.offered.values())
        await found.work(lambda: len(found.reader.bar_checks(SESSION)) == lines)
        assert_whole(found)
        checks = {each.symbol: each for each in found.reader.bar_checks(SESSION)}
        lost = {symbol for symbol, each in found.reader.tape_reports(SESSION).items() if each.unreachable}
        for checked, each in checks.items():
            assert (each.other_prices > 0) == (checked == symbol)
            assert (each.without_bar, each.without_trades) == (0, 0)
            assert (each.other_volume > 0) == (checked in lost)
        [minute] = [each for each in checks[symbol].differences if each.differs == "prices"]
        assert minute.minute_start_ns <= begun_ns < minute.minute_start_ns + NS_PER_MINUTE


async def judge_without_trades(found):
    """A day's tape that is done and holds no trade."""
    for symbol, trades in found.offered.items():
        found.producer.publish(report(symbol, float(trades[-1].cumulative_volume), 0, "snapshots"))
    found.producer.publish(
        TapeProgressed("kis", SESSION, CLOSED_NS, 4, 0, 0, 0, 9.0, 0.0, 0.0, 0, 4, 0.0, is_done=True)
    )
    await found.stored()


def qualities(found):
    """The qualities of the day's lines."""
    return {each.quality for each in found.reader.tape_reports(SESSION).values()}


@pytest.mark.slow
async def test_after_a_kill_the_rest_is_fetched_and_stands_in_for_trades():
    async with evening(symbols=2) as found:
        await judge_without_trades(found)
        await found.kill_at_work(lambda: count(found, "bar_fetches", "kind = 'minutes'") > 0)
        await found.work(lambda: qualities(found) == {"minute_bars"})
        assert_whole(found)
        assert found.reader.bar_checks(SESSION) == []


RULES = DayRules(sessions=read_session_rules(SHIPPED), venue="KRX")
REACH = broker_named("kis").bar_reach


class Silent:
    """Gives no bars of any line."""

    def __init__(self):
        self.asked = []
        self.when_asked = bool

    def usable(self, _capability):
        return {"account": self}

    async def daily_page(self, symbol, *_):
        self.asked.append(symbol)
        self.when_asked()
        raise TransportError("no answer")


async def test_after_a_failure_as_a_whole_the_other_lines_come_first(monkeypatch):
    monkeypatch.setattr(observer.collection.tape.official, "LINES_AT_ONCE", 1)
    monkeypatch.setattr(observer.collection.backfill.fetching, "_FAILURES_MAX", 1)
    silent = Silent()

    async with scene(silent) as found:
        found.store(*(report(symbol, 9, held) for held, symbol in enumerate("abc")))
        parts = msgspec.structs.replace(found.parts, alerts=Alerts(found.clock, "tape"))
        with short_folder() as name:
            today = TradingDayService(Path(name), RULES, found.clock)
            working = asyncio.create_task(fetch_official_bars(parts, REACH, today, PLAN))
            await until_async(lambda: len(silent.asked) >= 4, "lines are asked again")
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        assert silent.asked[:4] == ["a", "b", "c", "a"]


async def test_a_cancellation_in_the_moment_of_a_failure_ends_the_work(monkeypatch):
    monkeypatch.setattr(observer.collection.backfill.fetching, "_FAILURES_MAX", 1)
    silent = Silent()

    async with scene(silent) as found:
        found.store(report("a", 9, 0))
        with short_folder() as name:
            today = TradingDayService(Path(name), RULES, found.clock)
            working = asyncio.create_task(fetch_official_bars(found.parts, REACH, today, PLAN))
            silent.when_asked = working.cancel
            done, _ = await asyncio.wait([working], timeout=DEADLINE_S)
            assert done


@pytest.mark.parametrize("is_on", [True, False])
async def test_nothing_is_asked_where_it_is_off_or_the_day_is_over(is_on):
    async with evening(symbols=2) as found:
        await judge_without_trades(found)
        worker = Worker("tape", found.day.settings, found.day.clock)
        plan = await worker.today.plan()
        if is_on:
            found.day.clock.move_to(plan.ends_ns - JUDGED_BEFORE_NS)
        async with worker.brokers().rest() as rest:
            parts = TapeParts(
                settings=TapeSettings(official_bars=is_on),
                provider="kis",
                page_trades=30,
                calls_per_second=1.0,
                sweeps=lambda _: (),
                sweep_interval_s=600.0,
                rest=rest,
                reader=found.reader,
                producer=found.producer,
                feed_address=worker.endpoints.feed,
                clock=found.day.clock,
                alerts=worker.alerts,
            )
            await fetch_official_bars(parts, REACH, worker.today, plan)
        worker.control.close()
        await found.stored()
        assert count(found, "bar_fetches", "1 = 1") == 0
