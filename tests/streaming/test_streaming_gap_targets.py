"""The alerts of recovery's targets end with their day; which gaps count."""

import asyncio

from bus.delivery import Delivered
from bus.events import GapEmpty
from observer.alerts.process import Alerts
from observer.gaps.recovery import RecoverySettings
from observer.gaps.targets import TargetChange
from observer.selection.sampling import SamplingSettings
from observer.store.reader import StoreReader
from observer.streaming.gap_filler import GapWorklist
from tests.streaming.day_scene import SESSION, SYMBOLS, market
from tests.waiting import until_async


def test_a_missed_target_of_an_earlier_process_or_day_is_over_when_a_new_count_begins() -> None:
    async def scene() -> None:
        with market(SamplingSettings()) as made, StoreReader(made.url) as reader:
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

    asyncio.run(scene())


def test_a_gap_in_which_nothing_was_traded_is_closed_and_not_counted_as_filled() -> None:
    async def scene() -> None:
        with market(SamplingSettings()) as made, StoreReader(made.url) as reader:
            alerts = Alerts(made.clock, "gap-recovery")
            worklist = GapWorklist(
                RecoverySettings(), reader=reader, feed_address=made.feed_address, clock=made.clock, alerts=alerts
            )
            now_ns = made.clock.now_ns()
            empty = GapEmpty("e", "kis", SYMBOLS[0], SESSION, now_ns, now_ns, now_ns, 10.0)
            following = asyncio.create_task(worklist.follow_feed())

            def is_closed() -> bool:
                made.feed.publish([Delivered("track-b", "a" * 32, 1, [empty])])
                return any(each.measure == "closing" for each in worklist._targets.figures(now_ns))

            await until_async(is_closed, "the empty gap is measured")
            change = worklist._targets.ended(SESSION, is_recovered=False)
            assert change == TargetChange(SESSION, "success", is_missed=True, met=0, gaps=1), "the only one to fill"
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    asyncio.run(scene())
