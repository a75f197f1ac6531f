"""Trades and expected prices of both lines of a stock, from the broker's socket through the database to a query."""

import asyncio
import json

from bus.codec import decode_events, pack, unpack
from bus.events import ExpectedPrice
from tests.brokers.kis_builders import frame, record
from tests.brokers.test_providers_kis_stream import streaming
from tests.simulator.simulator_client import at
from tests.simulator.test_simulator_venue_streams import BOTH, traded_by_both
from tests.store.raw import query
from tests.store.stored import stored
from tests.waiting import until_async

STREAM = "7" * 32


async def streamed_day():
    """A stock, the trades that both venues offered, and what the stream of its two lines brought of them."""
    simulator = {"venues": BOTH, "expected_prices": True}
    async with streaming(at(7, 50), simulator=simulator) as (client, stream, received):
        stock = traded_by_both(client.simulator.market)
        offered = list(client.simulator.market.offered(stock))
        stream.want([stock, f"{stock}.NXT"])
        await until_async(lambda: len(stream.subscribed) == 2)
        await client.move_to(at(20, 1))
        await until_async(lambda: len(received.trades) == len(offered))
        return stock, offered, received.trades


def store(database_url, found):
    stored(database_url, *decode_events(unpack(pack(STREAM, 1, found))))


def test_a_query_for_a_line_finds_the_trades_of_its_venue_alone(database_url):
    stock, offered, trades = asyncio.run(streamed_day())
    store(database_url, trades)
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


async def streamed_frames(path):
    """What the stream brings of these frames."""
    async with streaming(at(10), simulator={"frames_file": str(path)}) as (_, stream, received):
        stream.want(["005930"])
        await until_async(lambda: received.broken)
        return [*received.trades, *received.of(ExpectedPrice)], received.broken


def test_of_the_records_of_a_trade_stream_only_those_of_code_0_are_stored_as_trades(database_url, tmp_path):
    """KIS's workbook: A before the close, B before the opening, C in the session (VI), D single price; E is unknown."""
    dealt = record(volume="10", total="1000", width=46)
    shown = [record(volume="500", total="1000", width=46, hour_class=code) for code in "ABCD"]
    unknown = record(volume="500", total="1000", width=46, hour_class="E")
    frames = [
        frame(dealt),
        *map(frame, shown),
        frame(record(volume="5", total="1005", width=46), shown[2]),
        frame(unknown),
    ]
    (tmp_path / "frames.jsonl").write_text("\n".join(json.dumps({"raw": each}) for each in frames))
    found, broken = asyncio.run(streamed_frames(tmp_path / "frames.jsonl"))
    store(database_url, found)
    trades = query(database_url, "SELECT volume, cumulative_volume FROM trades ORDER BY cumulative_volume")
    assert trades == [(10.0, 1000.0), (5.0, 1005.0)]
    expected = query(database_url, "SELECT auction, volume, price FROM expected_prices ORDER BY sequence")
    assert [auction for auction, _, _ in expected] == ["closing", "opening", "intraday", "single_price", "intraday"]
    assert {(volume, price) for _, volume, price in expected} == {(500.0, 70_000.0)}
    assert [item.reason for item in broken] == [
        "record 1: ValueError: HOUR_CLS_CODE 'E' is neither that of a trade nor of an auction"
    ]
