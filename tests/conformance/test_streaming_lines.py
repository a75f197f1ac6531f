"""Trades of both lines of a stock, from the broker's socket through outbox, writer and database to a query."""

import asyncio

from bus.codec import decode_events, pack, unpack
from bus.delivery import Delivered
from observer.store.writer import StoreWriter
from tests.providers.test_providers_kis_stream import streaming
from tests.simulator.simulator_client import at
from tests.simulator.test_simulator_venue_streams import BOTH, traded_by_both
from tests.store.raw import query
from tests.waiting import until_async

STREAM = "7" * 32


async def streamed_day():
    """A stock, the trades that both venues offered, and what the stream of its two lines brought of them."""
    async with streaming(at(7, 50), simulator={"venues": BOTH}) as (client, stream, received):
        stock = traded_by_both(client.simulator.market)
        offered = list(client.simulator.market.offered(stock))
        stream.want([stock, f"{stock}.NXT"])
        await until_async(lambda: len(stream.subscribed) == 2)
        await client.move_to(at(20, 1))
        await until_async(lambda: len(received.trades) == len(offered))
        return stock, offered, received.trades


def test_a_query_for_a_line_finds_the_trades_of_its_venue_alone(database_url):
    stock, offered, trades = asyncio.run(streamed_day())
    events = decode_events(unpack(pack(STREAM, 1, trades)))
    writer = StoreWriter(database_url)
    writer.open()
    writer.commit([Delivered("track-b", STREAM, 1, events)])
    writer.close()
    for line, venue in ((stock, "KRX"), (f"{stock}.NXT", "NXT")):
        rows = query(
            database_url,
            f"SELECT symbol, venue, session, cumulative_volume FROM trades WHERE symbol = '{line}' "
            "ORDER BY cumulative_volume",
        )
        assert {(symbol, of_venue) for symbol, of_venue, _, _ in rows} == {(line, venue)}
        assert [row[3] for row in rows] == [trade.cumulative_volume for trade in offered if trade.venue == venue]
        sessions = {"KRX": {"regular", "after"}, "NXT": {"pre", "regular", "after"}}
        assert {row[2] for row in rows} == sessions[venue]
