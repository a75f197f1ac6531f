"""The shared rate limiter, with real files and real processes."""

import asyncio
import hashlib
import multiprocessing
import os
import signal
import time

import msgspec
import pytest

from observer.base.clock import ManualClock, RealClock, ScaledClock
from observer.base.errors import RateExceededError
from observer.brokers.accounts.shared_rate_limiter import SharedRateLimiter
from observer.brokers.settings import RateLimitSettings
from tests import waiting
from tests.waiting import DEADLINE_S

LIMIT = 100.0
SETTINGS = RateLimitSettings(calls_per_second=20.0)
PER_PROCESS = 40


def limiter(folder, clock, calls_per_second=SETTINGS.calls_per_second, **limits):
    """One of the processes' limiters: they share the file in this folder."""
    settings = RateLimitSettings(calls_per_second=calls_per_second, **limits)
    return SharedRateLimiter(folder / "rate_limit", clock, settings)


async def take(rate_limiter, priority):
    """One call whose answer comes at once."""
    async with rate_limiter.acquire(priority):
        pass


async def refused(rate_limiter):
    """One call that the broker refuses at once."""
    with pytest.raises(RateExceededError):
        async with rate_limiter.acquire("bulk"):
            raise RateExceededError("too many")


async def stay(rate_limiter):
    """One call whose answer never comes."""
    async with rate_limiter.acquire("bulk"):
        await asyncio.Event().wait()


def send_calls(folder, priority, moments):
    """A process that takes rate-limit tokens and records the time of each.

    The recorded time lies within the call, because the machine may suspend the process after it.
    """

    async def take_all():
        clock = RealClock()
        rate_limiter = limiter(folder, clock, LIMIT)
        had = []
        for _ in range(PER_PROCESS):
            async with rate_limiter.acquire(priority):
                had.append(clock.now_ns())
        return had

    moments.put(asyncio.run(take_all()))


def test_four_processes_together_never_exceed_the_limit(tmp_path):
    context = multiprocessing.get_context("spawn")
    moments = context.Queue()
    priorities = ("urgent", "normal", "bulk", "bulk")
    processes = [context.Process(target=send_calls, args=(tmp_path, priority, moments)) for priority in priorities]
    for process in processes:
        process.start()
    had = sorted(moment for _ in processes for moment in moments.get(timeout=DEADLINE_S))
    for process in processes:
        process.join(timeout=DEADLINE_S)
    assert len(had) == len(priorities) * PER_PROCESS
    worst = max(sum(first <= other < first + 10**9 for other in had) for first in had)
    assert worst <= LIMIT


def hold_the_lock(folder, ready):
    rate_limiter = limiter(folder, RealClock())
    with rate_limiter._lock.held():
        ready.set()
        signal.pause()


def test_a_process_killed_inside_the_lock_leaves_it_usable(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold_the_lock, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(DEADLINE_S)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(timeout=DEADLINE_S)
    waiting.run(take(limiter(tmp_path, RealClock()), "bulk"))


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 8, b"\x7f" * 8, b"\xff" * 7 + b"\x7f"])
def test_a_damaged_file_does_not_block_a_call(tmp_path, content):
    (tmp_path / "rate_limit").write_bytes(content)
    clock = ScaledClock(10**18, time.monotonic_ns(), 1_000.0)
    rate_limiter = limiter(tmp_path, clock)
    waiting.run(take(rate_limiter, "normal"))


async def test_rate_limit_tokens_run_on_market_time(tmp_path):
    clock = ManualClock(10**18)
    rate_limiter = limiter(tmp_path, clock, 1.0)
    await take(rate_limiter, "normal")
    second = asyncio.create_task(take(rate_limiter, "normal"))
    await asyncio.sleep(0)
    assert not second.done()
    await clock.advance(1.05)
    await asyncio.wait_for(second, DEADLINE_S)


async def test_the_first_refusal_delays_no_call_and_the_second_pauses_every_process(tmp_path):
    clock = ManualClock(10**18)
    first, other = (limiter(tmp_path, clock, penalty_s=2.0) for _ in range(2))
    await refused(first)
    await clock.advance(0.05)
    await asyncio.wait_for(refused(other), DEADLINE_S)
    waiting = asyncio.create_task(take(first, "urgent"))
    await clock.advance(1.9)
    assert not waiting.done()
    await clock.advance(0.1)
    await asyncio.wait_for(waiting, DEADLINE_S)


@pytest.mark.parametrize("content", [b"abc", b"\xff" * 208, b"\x7f" * 4096])
async def test_a_damaged_file_delays_every_call_by_the_second_in_which_calls_may_have_been_sent(tmp_path, content):
    (tmp_path / "rate_limit").write_bytes(content)
    clock = ManualClock(10**18)
    rate_limiter = limiter(tmp_path, clock)
    waiting = asyncio.create_task(take(rate_limiter, "urgent"))
    await asyncio.sleep(0)
    await clock.advance(0.99)
    assert not waiting.done()
    await clock.advance(11.0)
    await asyncio.wait_for(waiting, DEADLINE_S)
    await asyncio.wait_for(take(rate_limiter, "urgent"), DEADLINE_S)


async def test_a_limiter_with_other_limits_still_counts_the_calls_under_the_old_limits(tmp_path):
    clock = ManualClock(10**18)
    for _ in range(3):
        await take(limiter(tmp_path, clock, 1000.0), "bulk")
        await clock.advance(0.001)
    slower = limiter(tmp_path, clock, 1.0)
    waiting = asyncio.create_task(take(slower, "urgent"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await clock.advance(11.0)
    await asyncio.wait_for(waiting, DEADLINE_S)


async def test_a_minutes_limit_is_kept_beside_the_seconds(tmp_path):
    clock = ManualClock(10**18)
    rate_limiter = limiter(tmp_path, clock, calls_per_minute=3.0)
    for _ in range(3):
        await asyncio.wait_for(take(rate_limiter, "urgent"), DEADLINE_S)
        await clock.advance(1.0)
    fourth = asyncio.create_task(take(rate_limiter, "urgent"))
    await clock.advance(56.9)
    assert not fourth.done()
    await clock.advance(0.2)
    await asyncio.wait_for(fourth, DEADLINE_S)


async def test_a_call_holds_its_token_until_its_answer_and_a_cancelled_call_until_the_answer_limit(tmp_path):
    clock = ManualClock(10**18)
    rate_limiter = limiter(tmp_path, clock, 1.0)
    async with rate_limiter.acquire("bulk"):
        await clock.advance(0.5)
    cancelled = asyncio.create_task(stay(rate_limiter))
    await clock.advance(0.9)
    assert not cancelled.done()
    await clock.advance(0.1)
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    after = asyncio.create_task(take(rate_limiter, "bulk"))
    await asyncio.sleep(0)
    await clock.advance(10.9)
    done, _ = await asyncio.wait([after], timeout=0.01)
    assert not done
    await clock.advance(0.1)
    await asyncio.wait_for(after, DEADLINE_S)


async def test_a_call_that_fails_was_answered_too(tmp_path):
    clock = ManualClock(10**18)
    rate_limiter = limiter(tmp_path, clock, 1.0)
    with pytest.raises(ConnectionError):
        async with rate_limiter.acquire("bulk"):
            raise ConnectionError
    await clock.advance(1.0)
    await asyncio.wait_for(take(rate_limiter, "bulk"), DEADLINE_S)


async def three_calls_and_a_refusal(rate_limiter, clock):
    """What a host that admits three calls a second does, from the start of a second."""
    for _ in range(3):
        await take(rate_limiter, "bulk")
        await clock.advance(0.06)
    await refused(rate_limiter)


async def test_the_third_refusal_in_a_hundred_calls_teaches_a_limit_that_survives_a_restart(tmp_path):
    clock = ManualClock(10**18)
    first = limiter(tmp_path, clock, 18.0)
    for _ in range(2):
        await three_calls_and_a_refusal(first, clock)
        assert first.learned() is None
        await clock.advance(1.1)
    await three_calls_and_a_refusal(first, clock)
    assert first.learned() == 3
    first.close()
    await clock.advance(300.0)
    later = limiter(tmp_path, clock, 18.0)
    assert later.learned() == 3
    await clock.advance(3600.0)
    assert later.learned() is None


async def test_a_file_of_another_form_is_a_lost_state(tmp_path):
    clock = ManualClock(10**18)
    rate_limiter = limiter(tmp_path, clock)
    await take(rate_limiter, "urgent")
    path = tmp_path / "rate_limit"
    path.write_bytes(hashlib.sha256(msgspec.json.encode(rate_limiter._limits)).digest()[:8] + path.read_bytes()[8:])
    waiting = asyncio.create_task(take(rate_limiter, "urgent"))
    await asyncio.sleep(0)
    await clock.advance(0.99)
    assert not waiting.done()
    await clock.advance(11.0)
    await asyncio.wait_for(waiting, DEADLINE_S)


async def test_calls_of_one_priority_start_in_the_order_in_which_they_asked(tmp_path):
    clock = ScaledClock(10**18, time.monotonic_ns(), 50.0)
    rate_limiter = limiter(tmp_path, clock)
    started = []

    async def call(number):
        async with rate_limiter.acquire("bulk"):
            started.append(number)

    await asyncio.wait_for(asyncio.gather(*(call(number) for number in range(20))), DEADLINE_S)
    assert started == list(range(20))


@pytest.mark.parametrize(
    "wrong",
    [
        {"calls_per_second": 0.0},
        {"calls_per_second": float("nan")},
        {"calls_per_second": float("inf")},
        {"calls_per_minute": 0.5},
        {"penalty_s": -1.0},
        {"penalty_s": float("inf")},
    ],
    ids=str,
)
def test_invalid_limits_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RateLimitSettings(**{"calls_per_second": 20.0, **wrong})
