"""Steps of the supervisor: groups in order, and waits for events, for children, and for outcomes not too long."""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from itertools import groupby

from bus.commands import HostRequest, Refused, Reply, UnderWay
from observer.supervisor.child_monitor import ChildMonitor, Outcome


async def refuse_orders(_request: HostRequest) -> Reply:
    """Refuse what a supervisor without a host cannot do."""
    return Refused("not_an_order", "this supervisor takes no orders beyond start, stop, restart and shutdown")


async def event_set(event: asyncio.Event) -> None:
    """Wait for the event."""
    await event.wait()


async def outcome_of(outcome: Awaitable[Outcome]) -> None:
    """Wait for the outcome."""
    await outcome


async def start_and_settle(monitor: ChildMonitor) -> None:
    """Start a child, and wait until it is ready, done, or given up."""
    await monitor.ask("start")
    await monitor.settled()


async def soon(outcome: Awaitable[Outcome], what: str, within_s: float) -> Outcome | UnderWay:
    """The outcome within so many seconds, else `UnderWay`; the work goes on."""
    task = asyncio.ensure_future(outcome)
    done, _ = await asyncio.wait([task], timeout=within_s)
    return task.result() if done else UnderWay(f"{what}: ask for the status")


def by_order(monitors: Iterable[ChildMonitor]) -> Iterator[list[ChildMonitor]]:
    """Groups of equal order; the monitors are sorted by it."""
    for _, group in groupby(monitors, key=lambda monitor: monitor.child.order):
        yield list(group)
