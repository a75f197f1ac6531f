"""What shared permits promise, with real files and real processes."""

import asyncio
import multiprocessing
import os
import signal
import time

import pytest

from observer.accounts.permits import PermitSettings, SharedPermits
from observer.clock import ManualClock, RealClock, ScaledClock

LIMIT = 100.0
PER_PROCESS = 40


async def take(permits, lane):
    """One call whose answer comes at once."""
    async with permits.acquire(lane):
        pass


def send_calls(path, lane, moments):
    """A process that takes permits and writes down when it had them."""

    async def take_all():
        clock = RealClock()
        permits = SharedPermits(path, clock, PermitSettings(calls_per_second=LIMIT))
        had = []
        for _ in range(PER_PROCESS):
            await take(permits, lane)
            had.append(clock.now_ns())
        return had

    moments.put(asyncio.run(take_all()))


def test_four_processes_together_never_exceed_the_limit(tmp_path):
    context = multiprocessing.get_context("spawn")
    moments = context.Queue()
    lanes = ("urgent", "normal", "bulk", "bulk")
    processes = [context.Process(target=send_calls, args=(tmp_path / "permits", lane, moments)) for lane in lanes]
    for process in processes:
        process.start()
    had = sorted(moment for _ in processes for moment in moments.get(timeout=60))
    for process in processes:
        process.join(timeout=60)
    assert len(had) == len(lanes) * PER_PROCESS
    worst = max(sum(first <= other < first + 10**9 for other in had) for first in had)
    assert worst <= LIMIT


def hold_the_lock(path, ready):
    permits = SharedPermits(path, RealClock(), PermitSettings())
    with permits._locked():
        ready.set()
        signal.pause()


def test_a_process_killed_inside_the_lock_leaves_it_usable(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold_the_lock, args=(tmp_path / "permits", ready))
    holder.start()
    assert ready.wait(60)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(timeout=60)
    asyncio.run(asyncio.wait_for(take(SharedPermits(tmp_path / "permits", RealClock(), PermitSettings()), "bulk"), 10))


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 8, b"\x7f" * 8, b"\xff" * 7 + b"\x7f"])
def test_a_damaged_file_blocks_nobody(tmp_path, content):
    (tmp_path / "permits").write_bytes(content)
    clock = ScaledClock(10**18, time.monotonic_ns(), 1_000.0)
    permits = SharedPermits(tmp_path / "permits", clock, PermitSettings())
    asyncio.run(asyncio.wait_for(take(permits, "normal"), 10))


def test_permits_run_on_market_time(tmp_path):
    async def scenario():
        clock = ManualClock(10**18)
        permits = SharedPermits(tmp_path / "permits", clock, PermitSettings(calls_per_second=1.0))
        await take(permits, "normal")
        second = asyncio.create_task(take(permits, "normal"))
        await asyncio.sleep(0)
        assert not second.done()
        await clock.advance(1.05)
        await asyncio.wait_for(second, 10)

    asyncio.run(scenario())


def test_a_penalty_makes_everybody_pause(tmp_path):
    async def scenario():
        clock = ManualClock(10**18)
        first, other = (SharedPermits(tmp_path / "permits", clock, PermitSettings(penalty_s=2.0)) for _ in range(2))
        first.penalise()
        waiting = asyncio.create_task(take(other, "urgent"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await clock.advance(2.0)
        await asyncio.wait_for(waiting, 10)

    asyncio.run(scenario())
