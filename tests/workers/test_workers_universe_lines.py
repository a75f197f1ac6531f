"""The universe of two venues, built from the calls of the simulated broker, which has a chart and a list for each."""

from datetime import timedelta
from functools import partial
from pathlib import Path

from bus.delivery import Delivered
from bus.events import DailyBar, UniverseMember, VenueEligibility
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY
from observer.selection.indicators import average_volume
from observer.store.writer import StoreWriter
from observer.system.worker import Worker
from tests.day_plans import day_plan
from tests.store.listings import listing_changed
from tests.workers.test_workers_track_a import BOTH
from tests.workers.three_accounts import scene
from workers.master_file import _master_files, universe_builder

SYMBOLS = 40
BARS_AVERAGED = 20


def listings(day):
    """The simulated listings, all as ordinary shares of one exchange, so that each may be a member."""
    shares = [each for each in day.simulator.market.instruments if each.ordinary and each.trades]
    found = [listing_changed(symbol=each.symbol, base_price=float(each.base_price)) for each in shares]
    return [*found, listing_changed(exchange="KOSDAQ", symbol="Z", group="EF")]


async def nothing(producer, *_):
    producer.flush()


async def build(producer, rest, reader, worker):
    settled = partial(nothing, producer)
    async with worker.brokers().listing_files() as files:
        lists = _master_files(worker, producer, files, reader)
        builder = universe_builder(
            worker, producer, rest, reader, bring_listings=settled, listed=lists.listed_at, settled=settled
        )
        await builder.build_now(day_plan(DAY))


async def built(day):
    writer = StoreWriter(day.settings.store.url)
    writer.open()
    writer.commit([Delivered("master-file", "7" * 32, 1, listings(day))])
    writer.close()
    days = [DAY - timedelta(days=back) for back in (2, 1, 0)]
    write_trading_days(Path(day.settings.run.runtime), [TradingDay(each, True, "test") for each in days])
    worker = Worker("master-file", day.settings, day.clock)
    try:
        async with worker.producer() as producer, day.brokers.rest() as rest, worker.reader() as reader:
            await build(producer, rest, reader, worker)
    finally:
        worker.control.close()


async def test_each_line_has_the_averages_of_its_own_venue_s_chart():
    async with scene(6, symbols=SYMBOLS, speed=1.0, configured=BOTH) as day:
        await built(day)
        market = day.simulator.market
        members = {each.symbol: each for each in day.reported(UniverseMember, "master-file")}
        facts = {each.symbol: each.trades for each in day.reported(VenueEligibility, "master-file")}
        main = [line for line in members if "." not in line]
        further = {line.partition(".")[0] for line in members if "." in line}
        trading = {each.symbol for each in market.view("NXT").instruments}
        stopped = {symbol for symbol in trading if (found := market.nxt_listing(symbol)) and found.stopped}
        assert facts == {symbol: symbol in trading - stopped for symbol in main}
        assert further == set(main) & (trading - stopped)
        assert 0 < len(further) < len(main)
        calls = day.simulator.counters().requests.get("CTPF1002R", 0)
        assert calls == len(set(main) & stopped), "only what the list names as stopped is asked about"
        for line, member in members.items():
            stock, _, venue = line.partition(".")
            shown = market.view("NXT" if venue else "KRX")
            bars = shown.daily_bars(stock, adjusted=False)[:BARS_AVERAGED][::-1]
            assert member.average_volume_20d == average_volume(bars) or market.plan(stock).split_ratio != 1
            held = "pre+regular+after" if venue else "regular+after"
            assert member.average_sessions == (held if bars else "")  # one is listed since this day alone
        kept = {(bar.symbol, bar.session_date): bar for bar in day.reported(DailyBar, "master-file")}
        assert {bar.venue for bar in kept.values()} == {"KRX", "NXT"}
