"""The tape's process with the simulated broker and the real writer: every trade of the market is stored, once, whatever
is killed.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections import Counter
from random import Random

import msgspec
import pytest

from bus.events import TAPE, SelectionAdvanced, SlotAssigned, SlotReleased, SlotsClosed, Snapshot, SweepCompleted
from bus.producer import Producer
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.demo.configuration import DAY
from observer.store.reader import StoreReader
from observer.system.worker import Worker
from tests.builders import trade
from tests.workers.three_accounts import Scene, scene, storing
from workers.tape import tape

SESSION = DAY.isoformat()
CLOSED_NS = local_ns(DAY, 15, 35)
TRADES_TIMES = 0.2


class Evening(msgspec.Struct):
    """A broker, a writer, and the stored volumes of a finished session."""

    day: Scene
    producer: Producer
    reader: StoreReader
    environment: dict[str, str]

    @property
    def offered(self):
        """What the market traded at the main venue, by symbol."""
        market = self.day.simulator.market
        return {each.symbol: list(market.offered_here(each.symbol, "KRX")) for each in market.instruments}

    async def report_session(self):
        """Each line's volume after the close, and that Track B has closed its slots."""
        volumes = {symbol: trades[-1].cumulative_volume for symbol, trades in self.offered.items() if trades}
        for symbol, volume in volumes.items():
            self.producer.publish(snapshot(symbol, float(volume)))
        self.producer.publish(SweepCompleted("kis", SESSION, 41, CLOSED_NS - 60 * NS_PER_S, CLOSED_NS, 1, 1, 1))
        self.producer.publish(SelectionAdvanced(SESSION, CLOSED_NS, SlotsClosed("closed")))
        await self.stored()

    async def stored(self):
        await self.day.until(lambda: self.producer.unacknowledged == 0, "everything is stored")

    async def work(self, is_over=None):
        """The process as a task, until the day's tape is done, or until this."""
        is_over = is_over or self.is_done
        worker = Worker("tape", self.day.settings, self.day.clock)
        working = asyncio.create_task(tape(worker))
        try:
            await self.day.until(lambda: working.done() or is_over(), "the tape is done")
            assert not working.done(), working.exception()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            worker.control.close()

    def is_done(self):
        progress = self.reader.tape_progress(SESSION)
        return progress is not None and progress.is_done

    async def kill_at_work(self, is_enough):
        """Start the process, and kill it when it has stored enough."""
        command = [sys.executable, "-m", "workers.tape", "--config", str(self.day.folder / "observer.toml")]
        with (self.day.folder / "killed.log").open("ab") as log:
            process = subprocess.Popen(command, env={**os.environ, **self.environment}, stdout=log, stderr=log)
        try:
            await self.day.until(is_enough, "it has stored enough")
        finally:
            process.kill()
            process.wait()

    def assert_whole(self, streamed={}):
        """Every offered trade is stored once and unaltered, or lies in an unreachable span that the report names."""
        reports = self.reader.tape_reports(SESSION)
        found = {}
        for each in self.reader.trades(SESSION):
            found.setdefault(each.symbol, []).append(each)
        assert self.reader.duplicate_trades(SESSION) == 0
        for symbol, offered in self.offered.items():
            names = {float(each.cumulative_volume): each for each in offered}
            rows = {each.cumulative_volume: each for each in found.get(symbol, [])}
            assert rows.keys() <= names.keys()
            for name, row in rows.items():
                assert (row.price, row.volume) == (names[name].price, names[name].volume)
                assert row.exchange_time_ns // NS_PER_S == names[name].exchange_time_ns // NS_PER_S
                assert (row.gap_id == TAPE) == (name not in streamed.get(symbol, set()))
            lost = reports[symbol].unreachable if symbol in reports else ()
            missing = [name for name in names if name not in rows]
            assert all(any(span.after_volume < name <= span.upto_volume for span in lost) for name in missing)
            if offered:
                assert reports[symbol].quality == ("seconds" if missing else "complete")
                assert reports[symbol].day_volume == offered[-1].cumulative_volume
            seconds = Counter(each.exchange_time_ns // NS_PER_S for each in offered)
            assert len(missing) <= sum(max(0, count - 30) for count in seconds.values())


def snapshot(symbol, volume):
    return Snapshot(
        provider="kis", symbol=symbol, session_date=SESSION, sweep=40, receive_time_ns=CLOSED_NS - NS_PER_S,
        price=100.0, open=None, high=None, low=None, previous_close=None, upper_limit=None, lower_limit=None,
        bid=None, ask=None, cumulative_volume=volume, cumulative_value=100 * volume, venue="KRX",
    )  # fmt: skip


@contextlib.asynccontextmanager
async def evening(symbols=2):
    """After a day on which each symbol traded as often as `TRADES_TIMES` says: some 400 pages of trades in all."""
    configured = {"tape": {"share_of_limit": 1.0}, "simulator": {"trades_times": TRADES_TIMES}}
    async with (
        scene(20, 15, symbols=symbols, speed=60.0, configured=configured) as day,
        storing(day) as (producer, reader, environment),
    ):
        yield Evening(day, producer, reader, environment)


@pytest.mark.slow  # with processes; without them: tests/collection/test_tape_day.py, test_tape_planner.py
async def test_every_trade_of_the_market_is_stored_once_beside_what_was_streamed():
    async with evening() as found:
        symbol, offered = max(found.offered.items(), key=lambda each: len(each[1]))
        third = len(offered) // 3
        streamed = offered[third : 2 * third]
        begun_ns, ended_ns = streamed[0].exchange_time_ns, streamed[-1].exchange_time_ns
        found.producer.publish(SlotAssigned("a:01", symbol, begun_ns - 1, "volume_surge", 1.0, "free_slot", None))
        found.producer.publish(*(as_streamed(each) for each in streamed))
        found.producer.publish(SlotReleased("a:01", symbol, ended_ns + 1, 1.0, "expired"))
        await found.report_session()
        await found.work()
        found.assert_whole({symbol: {float(each.cumulative_volume) for each in streamed}})
        pages = list(found.reader.tape_pages(SESSION))
        assert sum(each.stored for each in pages) == sum(each.gap_id == TAPE for each in found.reader.trades(SESSION))
        floor = sum(each.stored for each in pages) / 30 + len(found.offered)
        assert len(pages) <= 1.3 * floor + 10


@pytest.mark.slow  # kills; that a restart asks nothing twice is a property of tests/collection/test_tape_restart.py
async def test_kills_repeat_no_stored_page_and_lose_no_trade():
    rng = Random(7)
    async with evening() as found:
        await found.report_session()
        for _ in range(3):
            enough = len(list(found.reader.tape_pages(SESSION))) + rng.randint(5, 40)
            await found.kill_at_work(lambda: len(list(found.reader.tape_pages(SESSION))) >= enough)  # noqa: B023 - awaited here
        await found.work()
        found.assert_whole()
        asked = Counter((each.symbol, each.asked_ns) for each in found.reader.tape_pages(SESSION))
        repeated = sum(count - 1 for count in asked.values())
        assert repeated <= 0.01 * asked.total() + 3


def as_streamed(offered):
    return msgspec.structs.replace(
        trade(1),
        symbol=offered.symbol,
        session_date=SESSION,
        exchange_time_ns=offered.exchange_time_ns,
        receive_time_ns=offered.exchange_time_ns + 1,
        price=float(offered.price),
        volume=float(offered.volume),
        cumulative_volume=float(offered.cumulative_volume),
        venue="KRX",
    )
