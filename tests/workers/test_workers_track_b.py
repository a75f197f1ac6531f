"""Track B at its start: what an earlier day's stream left open."""

import asyncio

from observer.monitoring.alerts.process import Alerts
from observer.system.worker import Worker
from tests.workers.three_accounts import scene
from workers.track_b import track_b


async def test_a_start_after_midnight_resolves_the_stream_s_alerts_of_a_day_whose_close_it_missed():
    async with scene(0, 30, held=True) as day:
        runtime = day.folder / "run"
        Alerts(day.clock, "track-b", lambda *_: None, runtime=runtime).report("overflow", "critical", "20 %")
        await day.until((runtime / "alerts" / "track-b.json").exists, "the earlier process's alert")
        worker = Worker("track-b", day.settings, day.clock)
        assert worker.alerts.identities == ["overflow"]
        running = asyncio.create_task(track_b(worker))
        try:
            await day.until(lambda: running.done() or not worker.alerts.identities, "it is resolved")
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            worker.control.close()
