"""The streams of two venues, asked by the websockets library: each is a subscription with records of its own."""

import asyncio
import json
from itertools import accumulate, pairwise

import pytest

from tests.simulator.simulator_client import at, control, request_text, running, split_records
from tests.waiting import DEADLINE_S

BOTH = ("KRX", "NXT")
KRX, NXT, CONSOLIDATED = "H0STCNT0", "H0NXCNT0", "H0UNCNT0"


def traded_by_both(market):
    """The liveliest share that NXT trades."""
    shares = [i.symbol for i in market.view("NXT").instruments if len(market.view("NXT").tape(i.symbol))]
    return max(shares, key=lambda symbol: len(market.tape(symbol)))


def krx_alone(market):
    """The liveliest share that NXT does not trade."""
    shares = [i.symbol for i in market.instruments if i.ordinary and market.nxt_listing(i.symbol) is None]
    return max(shares, key=lambda symbol: len(market.tape(symbol)))


async def received(client, *subscribed, until_ns):
    """The day's records until a moment, by TR id. A removal is answered behind all records that were due."""
    approval = await client.approval()
    records: dict[str, list[list[str]]] = {tr_id: [] for tr_id, _ in subscribed}
    async with client.stream() as socket:
        for tr_id, symbol in subscribed:
            await socket.send(request_text(approval, symbol, tr_id=tr_id))
            assert (await control(socket))["body"]["msg_cd"] == "OPSP0000"
        await client.move_to(until_ns)
        for tr_id, symbol in subscribed:
            await socket.send(request_text(approval, symbol, tr_id=tr_id, tr_type="2"))
        async with asyncio.timeout(DEADLINE_S):
            left = len(subscribed)
            while left:
                text = str(await socket.recv())
                if text[0] == "0":
                    tr_id = text.split("|")[1]
                    records[tr_id] += split_records(text, tr_id)
                elif "PINGPONG" not in text:
                    assert json.loads(text)["body"]["msg_cd"] == "OPSP0001"
                    left -= 1
    return records


def as_records(trades):
    """Time, price, volume, cumulative volume and number of each trade, as the wire states them."""
    return [
        (
            *(trade.exchange_hhmmss, str(trade.price), str(trade.volume), str(trade.cumulative_volume)),
            str(trade.cumulative_sells + trade.cumulative_buys),
        )
        for trade in trades
    ]


def stated(records):
    return [(*(record[1:3]), record[12], record[13], str(int(record[15]) + int(record[16]))) for record in records]


async def test_each_venue_has_a_stream_with_its_own_trades_and_cumulative_volume():
    async with running(at(7, 50), venues=BOTH) as client:
        symbol = traded_by_both(client.simulator.market)
        offered = list(client.simulator.market.offered(symbol))
        records = await received(client, (KRX, symbol), (NXT, symbol), until_ns=at(20))
        for tr_id, venue in ((KRX, "KRX"), (NXT, "NXT")):
            assert stated(records[tr_id]) == as_records([trade for trade in offered if trade.venue == venue])
            assert {(record[0], record[33], len(record)) for record in records[tr_id]} == {(symbol, "20261118", 47)}


async def test_the_consolidated_stream_has_both_venues_trades_in_time_order_with_consolidated_volumes():
    async with running(at(7, 50), venues=BOTH) as client:
        symbol = traded_by_both(client.simulator.market)
        offered = sorted(client.simulator.market.offered(symbol), key=lambda trade: trade.exchange_time_ns)
        records = (await received(client, (CONSOLIDATED, symbol), until_ns=at(20)))[CONSOLIDATED]
        assert [(r[1], int(r[2]), int(r[12])) for r in records] == [
            (trade.exchange_hhmmss, trade.price, trade.volume) for trade in offered
        ]
        assert [int(r[13]) for r in records] == list(accumulate(trade.volume for trade in offered))
        assert [int(r[15]) + int(r[16]) for r in records] == list(range(1, len(offered) + 1))
        assert {len(record) for record in records} == {47}


async def test_the_last_field_is_the_session_and_a_trade_of_the_krx_after_market_has_no_documented_side():
    async with running(at(7, 50), venues=BOTH) as client:
        symbol = traded_by_both(client.simulator.market)
        records = await received(client, (KRX, symbol), (NXT, symbol), until_ns=at(20))
        hours = {
            (tr_id, record[46], record[34]): (record[1] < "090000", record[1] > "153000")
            for tr_id in (KRX, NXT)
            for record in records[tr_id]
        }
        assert hours == {
            (KRX, "2", "20"): (False, False),
            (KRX, "3", "30"): (False, True),
            (NXT, "1", "10"): (True, False),
            (NXT, "2", "20"): (False, False),
            (NXT, "3", "30"): (False, True),
        }
        after = [record for record in records[KRX] if record[46] == "3"]
        assert {record[21] for record in after} & {"1", "3", "5"} == set()
        assert {record[21] for record in records[NXT]} <= {"1", "3", "5"}
        assert all(int(a[13]) - int(a[12]) == int(b[13]) for b, a in pairwise(records[KRX]))


async def test_the_consolidated_stream_is_acknowledged_and_silent_all_day_for_a_share_that_nxt_does_not_trade():
    async with running(at(7, 50), venues=BOTH) as client:
        symbol = krx_alone(client.simulator.market)
        subscribed = ((KRX, symbol), (CONSOLIDATED, symbol), (NXT, symbol))
        records = await received(client, *subscribed, until_ns=at(20))
        assert [len(records[tr_id]) for tr_id in (CONSOLIDATED, NXT)] == [0, 0]
        assert len(records[KRX]) == len(client.simulator.market.tape(symbol))


async def test_the_streams_of_a_symbol_are_subscriptions_of_their_own():
    async with running(at(9), venues=BOTH, registrations_limit=3) as client, client.stream() as socket:
        approval, symbol = await client.approval(), traded_by_both(client.simulator.market)
        codes = []
        for tr_id in (KRX, NXT, CONSOLIDATED, "H0NXASP0"):
            await socket.send(request_text(approval, symbol, tr_id=tr_id))
            codes.append((await control(socket))["body"]["msg_cd"])
        assert codes == ["OPSP0000"] * 3 + ["OPSP0008"]


async def test_books_follow_the_trades_of_their_view_and_are_as_wide_as_their_kind():
    async with running(at(7, 50), venues=BOTH) as client:
        market = client.simulator.market
        symbol = traded_by_both(market)
        views = {"H0STASP0": ("KRX", 63), "H0NXASP0": ("NXT", 65), "H0UNASP0": ("consolidated", 66)}
        records = await received(client, *((tr_id, symbol) for tr_id in views), until_ns=at(20))
        for tr_id, (view, width) in views.items():
            assert {len(book) for book in records[tr_id]} == {width}
            assert [int(b[53]) for b in records[tr_id]] == list(market.view(view).tape(symbol).volume_after)
        assert [book[62] for book in records["H0STASP0"]] == [
            "2" if book[1] <= "153000" else "3" for book in records["H0STASP0"]
        ]


async def test_the_market_states_of_each_venue_have_its_sessions_and_the_halts_of_the_krx():
    async with running(at(7, 50), venues=BOTH, symbols=120) as client:
        market = client.simulator.market
        symbol = next(i.symbol for i in market.view("NXT").instruments if market.halts(i.symbol))
        krx, nxt, both = "H0STMKO0", "H0NXMKO0", "H0UNMKO0"
        records = await received(client, *((tr_id, symbol) for tr_id in (krx, nxt, both)), until_ns=at(20, 1))
        assert {len(record) for of_stream in records.values() for record in of_stream} == {10}
        assert list(dict.fromkeys(record[3] for record in records[krx])) == ["110", "112", "121", "129"]
        assert [code for code, _ in pairwise([r[3] for r in records[nxt]] + [""])] == [r[3] for r in records[nxt]]
        assert {record[3] for record in records[nxt]} == {"112", "129"}
        assert records[both] == records[krx]
        for place in (1, 8):
            assert {r[place] for r in records[nxt]} == {r[place] for r in records[krx]}


async def test_the_ledger_states_the_venue_of_each_subscription_and_what_was_offered_there():
    async with running(at(7, 50), venues=BOTH) as client:
        market = client.simulator.market
        symbol, alone = traded_by_both(market), krx_alone(market)
        await received(
            client, (KRX, symbol), (NXT, symbol), (CONSOLIDATED, symbol), (CONSOLIDATED, alone), until_ns=at(20)
        )
        ledger = (await client.http.get(f"{client.simulator.rest_url}/simulator/registrations")).json()
        registered = [(entry["tr_id"], entry["view"], entry["symbol"], entry["trades_at_end"]) for entry in ledger]
        counts = [len(market.view(view).tape(symbol)) for view in ("KRX", "NXT", "consolidated")]
        assert registered == [
            (KRX, "KRX", symbol, counts[0]),
            (NXT, "NXT", symbol, counts[1]),
            (CONSOLIDATED, "consolidated", symbol, counts[0] + counts[1]),
            (CONSOLIDATED, "consolidated", alone, 0),
        ]
        assert [[span["last_trade"] for span in entry["spans"]] for entry in ledger[:3]] == [
            [counts[0]], [counts[1]], [counts[2]]
        ]  # fmt: skip


@pytest.mark.parametrize("tr_id", [KRX, NXT, CONSOLIDATED])
async def test_a_market_of_the_krx_alone_has_one_day_on_every_stream(tr_id):
    async with running(at(7, 50)) as client:
        offered = list(client.simulator.market.offered(client.liveliest))
        records = await received(client, (tr_id, client.liveliest), until_ns=at(20))
        assert stated(records[tr_id]) == as_records(offered)
        assert {trade.venue for trade in offered} == {"KRX"}
