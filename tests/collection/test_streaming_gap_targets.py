"""The alerts of recovery's targets end with their day; which gaps count."""

import asyncio
import contextlib
import sqlite3
from contextlib import contextmanager

import pytest

from bus.commands import Refused
from bus.delivery import Delivered
from bus.events import GapEmpty, GapOpened, GapTimesMeasured, GapUnrecoverable
from observer.collection.gap_filler import GapWorklist
from observer.gaps.recovery import RecoverySettings, TargetChange
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader
from tests.collection.day_scene import SESSION, SYMBOLS, market
from tests.waiting import until_async


async def test_a_missed_target_of_an_earlier_process_or_day_is_over_when_a_new_count_begins():
    with market() as made, StoreReader(made.url) as reader:
        alerts = Alerts(made.clock, "gap-recovery")
        worklist = GapWorklist(
            RecoverySettings(), reader=reader, feed_address=made.feed_address, clock=made.clock, alerts=alerts
        )
        alerts.report("recovery_target:success", "warning", "an earlier process's")
        checking = asyncio.create_task(worklist.check_now_and_then())
        await until_async(lambda: not alerts.open, "the start")
        worklist._report_target(TargetChange(SESSION, "success", is_missed=True, met=0, gaps=1))
        assert [each.identity for each in alerts.open] == ["recovery_target:success"]
        await made.clock.advance(24 * 3_600)
        await until_async(lambda: not alerts.open, "the next day")
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)


async def test_a_gap_in_which_nothing_was_traded_is_closed_and_not_counted_as_filled():
    with market() as made, StoreReader(made.url) as reader:
        alerts = Alerts(made.clock, "gap-recovery")
        worklist = GapWorklist(
            RecoverySettings(), reader=reader, feed_address=made.feed_address, clock=made.clock, alerts=alerts
        )
        now_ns = made.clock.now_ns()
        empty = GapEmpty("e", "kis", SYMBOLS[0], SESSION, now_ns, now_ns, now_ns, 10.0)
        following = asyncio.create_task(worklist.follow_feed())

        def is_closed():
            made.feed.publish([Delivered("track-b", "a" * 32, 1, [empty])])
            return any(each.measure == "closing" for each in worklist._targets.figures(now_ns))

        await until_async(is_closed, "the empty gap is measured")
        change = worklist._targets.ended(SESSION, is_recovered=False)
        assert change == TargetChange(SESSION, "success", is_missed=True, met=0, gaps=1), "the only one to fill"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@contextmanager
def working(made):
    with StoreReader(made.url) as reader:
        alerts = Alerts(made.clock, "gap-recovery")
        settings = RecoverySettings()
        yield (
            GapWorklist(settings, reader=reader, feed_address=made.feed_address, clock=made.clock, alerts=alerts),
            alerts,
        )


def cut(made, gap_id):
    now_ns = made.clock.now_ns()
    return GapOpened(gap_id, "kis", SYMBOLS[0], SESSION, now_ns, now_ns, 10.0, "reconnect")


def given_up(made, gap_id):
    return GapUnrecoverable(gap_id, SYMBOLS[0], made.clock.now_ns(), "the symbol was left")


async def test_a_cut_that_track_b_gives_up_is_not_filled_and_misses_the_target_of_success():
    with market() as made, working(made) as (worklist, alerts):
        following = asyncio.create_task(worklist.follow_feed())

        def is_counted():
            events = [cut(made, "c"), given_up(made, "c")]
            made.feed.publish([Delivered("track-b", "a" * 32, 1, events)])
            return any(each.identity == "recovery_target:success" for each in alerts.open)

        await until_async(is_counted, "the alert")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_the_day_s_figures_go_on_after_a_restart():
    with market() as made:
        earlier = GapTimesMeasured(SESSION, 1, "closing", 40, 39, 0.5, 2.0, 4.0, 9.0)
        made.store("b" * 32, earlier, cut(made, "c"), given_up(made, "c"), cut(made, "open"))
        with working(made) as (worklist, alerts):
            await worklist.resume()
            assert [each.identity for each in alerts.open] == ["recovery_target:success"]
            assert worklist._targets.figures(2) == [], "nothing is new"
            worklist._targets.timed(SESSION, "closing", 0.1)
            [closing] = worklist._targets.figures(3)
            assert (closing.gaps, closing.met, closing.p50_s, closing.max_s) == (41, 40, 0.5, 9.0)
            worklist._measure_given_up(given_up(made, "c"))
            assert worklist._targets.ended(SESSION, is_recovered=True) is None
            assert (worklist._targets._met["success"], worklist._targets._gaps["success"]) == (1, 2)
            worklist._measure_given_up(given_up(made, "open"))
            assert worklist._targets._gaps["success"] == 3


async def test_figures_that_cannot_be_read_after_a_restart_are_an_alert():
    with market() as made, working(made) as (worklist, alerts):
        with contextlib.closing(sqlite3.connect(made.folder / "observer.db")) as database:
            database.execute("ALTER TABLE gap_times RENAME TO away")
        await worklist.resume()
        assert [each.identity for each in alerts.open] == ["gap_figures"]


@pytest.mark.parametrize(
    ("outcome", "text"),
    [("open", "is still open"), ("empty", "nothing was traded"), ("given up", "is not known"), ("none", "no gap has")],
)
async def test_the_retry_of_a_cut_says_why_there_is_nothing_to_fetch(outcome, text):
    with market() as made, working(made) as (worklist, _):
        now_ns = made.clock.now_ns()
        empty = GapEmpty("c", "kis", SYMBOLS[0], SESSION, now_ns, now_ns, now_ns, 10.0)
        events = {
            "open": [cut(made, "c")],
            "empty": [cut(made, "c"), empty],
            "given up": [cut(made, "c"), given_up(made, "c")],
            "none": [cut(made, "other")],
        }
        made.store("b" * 32, *events[outcome])
        refused = await worklist.retry(["c"])
        assert isinstance(refused, Refused)
        assert text in refused.message
        assert refused.code == ("unknown_gap" if outcome == "none" else "not_needed")
