"""Track B's stop at the simulated broker, over real sockets: the slots end where the stream was read out."""

import asyncio
from collections import defaultdict

from bus.delivery import Delivered
from bus.events import GapDetected, SlotReleased, Trade, UniverseBuilt
from observer.demo.configuration import DAY
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.store.writer import StoreWriter
from observer.system.worker import Worker
from tests.selection.builders import member
from tests.workers.three_accounts import scene
from workers.track_b import track_b

SPEED = 60.0  # what is on its way for a moment of machine time was traded in seconds of the market
LIVELY = {"simulator": {"trades_times": 3.0}}


def store_universe(day):
    """Every symbol of the market is a member; returns their number."""
    symbols = [each.symbol for each in day.simulator.market.instruments if not each.suspended]
    members = [
        member(each, rank=rank, market_cap=1e13 / rank, venue="KRX", average_volume_20d=None)
        for rank, each in enumerate(symbols, 1)
    ]
    built = UniverseBuilt("kis", KOREAN_STOCKS, *(DAY.isoformat(),) * 2, 0, len(members), len(members), 0.0)
    writer = StoreWriter(day.settings.store.url)
    writer.open()
    writer.commit([Delivered("track-a", "a" * 32, 1, [*members, built])])
    writer.close()
    return len(members)


async def test_every_trade_of_a_slot_until_its_end_at_track_bs_stop_is_stored_or_lies_in_a_gap():
    async with scene(14, 59, held=True, speed=SPEED, configured=LIVELY) as day:
        count, worker = store_universe(day), Worker("track-b", day.settings, day.clock)
        running = asyncio.create_task(track_b(worker))
        try:
            await day.until(lambda: len(day.simulator.registrations()) == count, "every symbol is subscribed")
            day.clock.start()
            await day.until(lambda: all(each.ended_ns for each in day.simulator.registrations()), "all is removed")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            worker.control.close()
        stored, gaps = defaultdict[str, set[float]](set), defaultdict[str, list[GapDetected]](list)
        for trade in day.reported(Trade, "track-b"):
            stored[trade.symbol].add(trade.cumulative_volume)
        for gap in day.reported(GapDetected, "track-b"):
            gaps[gap.symbol].append(gap)
        begun = {each.symbol: each.acknowledged_ns for each in day.simulator.registrations()}
        traded = lacking = 0
        for slot in day.reported(SlotReleased, "track-b"):
            for each in day.simulator.market.offered(slot.symbol):
                if begun[slot.symbol] < each.exchange_time_ns <= slot.released_ns:
                    traded += 1
                    volume = float(each.cumulative_volume)
                    lacking += volume not in stored[slot.symbol] and not any(
                        gap.after_volume < volume <= gap.before_volume for gap in gaps[slot.symbol]
                    )
        assert traded > 0
        assert lacking == 0
