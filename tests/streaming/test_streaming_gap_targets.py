"""The alerts of recovery's targets end with their day."""

import asyncio

from observer.alerts.process import Alerts
from observer.gaps.recovery import RecoverySettings
from observer.gaps.targets import TargetChange
from observer.selection.sampling import SamplingSettings
from observer.store.reader import StoreReader
from observer.streaming.gap_filler import GapWorklist
from tests.streaming.day_scene import SESSION, market
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
