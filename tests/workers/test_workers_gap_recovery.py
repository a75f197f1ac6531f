"""Gap recovery with the simulated broker and the real writer: after any kill no gap is lost or filled twice."""

import asyncio
import contextlib
import os
import subprocess
import sys
from datetime import timedelta
from random import Random

import msgspec
import pytest

from bus.commands import Done, Refused
from bus.events import AlertRaised, GapDetected, GapUnrecoverable
from bus.producer import Producer
from observer.base.units import NS_PER_S
from observer.demo.configuration import DAY
from observer.gaps.recovery import RecoverySettings
from observer.store.reader import StoreReader
from observer.system.worker import Worker
from tests import waiting
from tests.workers.three_accounts import Scene, scene, storing
from workers.gap_recovery import gap_recovery

GAP = 3  # trades


class Recovery(msgspec.Struct):
    """A broker, a writer, and a producer that publishes gaps."""

    day: Scene
    producer: Producer
    reader: StoreReader
    environment: dict[str, str]

    @property
    def configuration(self):
        return self.day.folder / "observer.toml"

    def outcomes(self):
        return list(self.reader.gaps(DAY.isoformat()))

    def open_gaps(self):
        return sum(story.is_open for story in self.outcomes())

    async def report(self, *events):
        self.producer.publish(*events)
        await self.stored()

    async def stored(self):
        await self.day.until(lambda: self.producer.unacknowledged == 0, "everything is stored")

    @contextlib.asynccontextmanager
    async def at_work(self, recovery=None):
        """The process that fills gaps, as a task of ours, perhaps with these settings."""
        settings = msgspec.structs.replace(self.day.settings, recovery=recovery or self.day.settings.recovery)
        worker = Worker("gap-recovery", settings, self.day.clock)
        working = asyncio.create_task(gap_recovery(worker))
        try:
            await self.day.until(lambda: worker.orders.gaps is not None, "it works")
            yield worker
            assert not working.done(), working.exception()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            worker.control.close()


@contextlib.asynccontextmanager
async def recovery():
    async with scene(11) as day, storing(day) as (producer, reader, environment):
        yield Recovery(day, producer, reader, environment)


def gaps(day, count):
    """`count` gaps in the market's trades before eleven, and the missing trades of each."""
    found = []
    began_ns = day.clock.now_ns() - 60 * NS_PER_S
    for instrument in day.simulator.market.instruments:
        trades = [each for each in day.simulator.market.offered(instrument.symbol) if each.exchange_time_ns < began_ns]
        for start in range(1, len(trades) - GAP, 2 * GAP):
            missing = trades[start : start + GAP]
            found.append((gap_before(trades[start - 1], missing), missing))
            if len(found) == count:
                return found
    raise AssertionError(f"the market has only {len(found)} such gaps")


def gap_before(last, missing):
    after, before = float(last.cumulative_volume), float(missing[-1].cumulative_volume)
    seen_ns = missing[-1].exchange_time_ns
    return GapDetected(
        f"gap-{last.symbol}-{last.cumulative_volume}", "kis", last.symbol, DAY.isoformat(), seen_ns,
        last.exchange_time_ns, seen_ns, after, before, before - after, GAP, "reconnect",
    )  # fmt: skip


def assert_filled_once(scene, expected):
    """Each gap has one outcome, and exactly what it missed is stored."""
    assert [story.gap.gap_id for story in scene.outcomes() if not (story.recovered and story.recovered.complete)] == []
    assert scene.reader.row_counts()["gap_recoveries"] == len(expected)
    assert scene.reader.duplicate_trades(DAY.isoformat()) == 0
    stored = {(trade.gap_id, trade.symbol, trade.cumulative_volume) for trade in scene.reader.trades(DAY.isoformat())}
    assert stored == {
        (gap.gap_id, gap.symbol, trade.cumulative_volume) for gap, missing in expected for trade in missing
    }


MANY = pytest.param(24, marks=[pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(600)])


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, MANY])
def test_kills_at_random_moments_leave_no_gap_forgotten_and_none_filled_twice(kills):
    async def scenario():
        rng = Random(7)
        async with recovery() as found:
            expected = gaps(found.day, 30 * kills)
            portions = [expected[number::kills] for number in range(kills)]
            for portion in portions:
                await found.report(*(gap for gap, _missing in portion))
                await kill_at_work(found, rng.randint(1, 20))
            async with found.at_work():
                await found.day.until(lambda: found.open_gaps() == 0, "every gap is closed")
            assert_filled_once(found, expected)

    waiting.run(scenario(), 2 * waiting.DEADLINE_S)


@pytest.mark.slow  # `test_gaps_recovery.py` has the rule
async def test_a_gap_older_than_a_week_is_given_up():
    async with recovery() as found:
        [(gap, _missing)] = gaps(found.day, 1)
        old = msgspec.structs.replace(gap, session_date=(DAY - timedelta(days=8)).isoformat())
        await found.report(old)
        async with found.at_work():

            def story():
                return found.reader.gap(old.gap_id)

            await found.day.until(lambda: not story().is_open, "it is given up")
            lost = found.reader.gap(old.gap_id)
            assert lost is not None
            assert lost.unrecoverable is not None
            assert lost.unrecoverable.reason == "its day is more than 7 days ago"


async def kill_at_work(found, gaps):
    """Start the process, and kill it when it has filled so many gaps, wherever it is with the next."""
    left = found.open_gaps() - gaps
    command = [sys.executable, "-m", "workers.gap_recovery", "--config", str(found.configuration)]
    with (found.day.folder / "killed.log").open("ab") as log:
        process = subprocess.Popen(command, env={**os.environ, **found.environment}, stdout=log, stderr=log)
    try:
        await found.day.until(lambda: found.open_gaps() <= left, "it fills gaps")
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
async def test_a_gap_of_a_day_that_is_over_gets_its_minutes_or_is_given_up_with_the_reason():
    async with recovery() as found:
        yesterday = DAY - timedelta(days=1)
        day_ns = 24 * 3600 * NS_PER_S
        [(today, _missing)] = gaps(found.day, 1)
        past = msgspec.structs.replace(
            today, gap_id="past", session_date=yesterday.isoformat(),
            from_ns=today.from_ns - day_ns, to_ns=today.from_ns - day_ns + 120 * NS_PER_S,
        )  # fmt: skip
        unknown = msgspec.structs.replace(past, gap_id="unknown", symbol="999999")
        await found.report(past, unknown)
        async with found.at_work():
            await found.day.until(
                lambda: all(not story.is_open for story in found.reader.gaps(yesterday.isoformat())),
                "both have an outcome",
            )
        outcomes = {story.gap.gap_id: story for story in found.reader.gaps(yesterday.isoformat())}
        filled, lost = outcomes["past"].recovered, outcomes["unknown"].unrecoverable
        assert filled is not None
        assert (filled.source, filled.complete) == ("minute_bars", False)
        assert filled.rows == len(found.reader.recovered_rows(past)) > 0
        assert isinstance(lost, GapUnrecoverable)
        assert "attempts failed" in lost.reason


async def test_a_retry_fills_a_gap_that_was_given_up_and_refuses_a_complete_one():
    async with recovery() as found:
        expected = gaps(found.day, 1)
        [(gap, _missing)] = expected
        await found.report(gap, GapUnrecoverable(gap.gap_id, gap.symbol, gap.to_ns, "too busy"))
        async with found.at_work() as worker:
            assert worker.orders.gaps is not None
            assert await worker.orders.gaps.retry([]) == Done("gap-recovery", "gaps to be tried now: 0")
            reported = await worker.orders.gaps.retry([gap.gap_id])
            assert reported == Done("gap-recovery", "gaps to be tried now: 1")
            await found.day.until(lambda: found.outcomes()[0].recovered is not None, "it is filled")
            assert_filled_once(found, expected)
            again = await worker.orders.gaps.retry([gap.gap_id])
            assert isinstance(again, Refused)
            assert again.code == "not_needed"
            nobody = await worker.orders.gaps.retry(["zz"])
            assert isinstance(nobody, Refused)
            assert nobody.code == "unknown_gap"


@pytest.mark.slow
async def test_a_day_that_misses_the_targets_of_recovery_raises_an_alert_for_each():
    unreachable = RecoverySettings(max_attempts=1, detected_within_seconds=1e-9, recovered_within_seconds=1e-9)

    async with recovery() as found, found.at_work(unreachable):
        now_ns = found.day.clock.now_ns()
        [gap] = [msgspec.structs.replace(gap, detected_ns=now_ns) for gap, _missing in gaps(found.day, 1)]
        lost = msgspec.structs.replace(gap, gap_id="lost", symbol="999999")
        await found.report(gap, lost)
        await found.day.until(lambda: found.open_gaps() == 0, "both have an outcome")
        await found.day.until(
            lambda: all(any(part in text for text in missed(found)) for part in EACH), "each is reported"
        )
        assert len(missed(found)) == len(EACH)


EACH = ("s of the cut or next trade", "s of the first call", "were filled; target")


def missed(found):
    alerts = found.day.reported(AlertRaised, "gap-recovery")
    return [each.text for each in alerts if each.severity == "warning" and "target missed" in each.text]


@pytest.mark.slow  # a retry of a gap that was given up is in every run
async def test_a_retry_of_a_partly_filled_gap_adds_only_the_rest():
    async with recovery() as found:
        [(gap, missing)] = expected = gaps(found.day, 1)
        await found.report(gap)
        async with found.at_work():
            await found.day.until(lambda: found.open_gaps() == 0, "it is filled")
        [closed] = [story.recovered for story in found.outcomes()]
        assert closed is not None
        partly = msgspec.structs.replace(closed, recovered_ns=closed.recovered_ns + 1, rows=1, complete=False)
        await found.report(partly)  # as if the source had lagged behind at the last attempt
        async with found.at_work() as worker:
            assert worker.orders.gaps is not None
            await worker.orders.gaps.retry([gap.gap_id])
            await found.day.until(lambda: found.reader.row_counts()["gap_recoveries"] == 3, "it is filled again")
        assert found.reader.duplicate_trades(DAY.isoformat()) == 0
        assert len(found.reader.recovered_rows(gap)) == len(missing) == len(expected[0][1])
