"""Jobs that run beside a scenario, on a clock whose waits a test can see."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from observer.base.clock import ManualClock


class WatchedClock(ManualClock):
    """Keeps the moments that were waited for."""

    def __init__(self, now_ns: int) -> None:
        super().__init__(now_ns)
        self.waits: list[int] = []

    async def sleep_until(self, moment_ns: int) -> None:
        self.waits.append(moment_ns)
        await super().sleep_until(moment_ns)


def run_beside(job: Callable[[], Coroutine[object, object, None]], scenario: Callable[[], Awaitable[object]]) -> None:
    """Run a job until the scenario has ended."""

    async def both() -> None:
        running = asyncio.create_task(job())
        await asyncio.sleep(0)
        await scenario()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(both())
