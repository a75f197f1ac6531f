"""Faults of the market data stream, seen by a plain WebSocket client, and the ledger's record of them."""

import asyncio
import contextlib
import json
import socket as sockets

import msgspec
import pytest
import websockets

from observer.simulator.faults import FaultRates, FaultRequest
from observer.simulator.kis.wire import Registration
from tests.simulator.simulator_client import at, control, records_until, request_text, running
from tests.waiting import DEADLINE_S, until_async

FATES = ("sent", "doubtful", "broken")
NUMBER = slice(15, 17)  # trades sold and bought so far: together the trade's number


async def register(client, socket, symbol, app_key="first"):
    await socket.send(request_text(await client.approval(app_key), symbol))
    return (await control(socket))["body"]["msg_cd"]


@contextlib.asynccontextmanager
async def registered(now_ns, **changes):
    """A client and its socket, subscribed to the liveliest line."""
    async with running(now_ns, **changes) as client, client.stream() as socket:
        await register(client, socket, client.liveliest)
        yield client, socket


async def ended(client, index=0):
    """The ledger's entry, once its subscription is over."""
    await until_async(lambda: client.simulator.registrations()[index].ended_ns is not None)
    return client.simulator.registrations()[index]


def begin(client, kind, **amounts):
    client.simulator.begin_fault(msgspec.convert({"kind": kind, **amounts}, FaultRequest))


async def frames_until(socket, condition):
    """Data texts that come until the condition holds."""
    texts: list[str] = []
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            text = await socket.recv()
            assert isinstance(text, str)
            if text[0] != "{":
                texts.append(text)
    return texts


def liveliest(client, count):
    market = client.simulator.market
    symbols = sorted((i.symbol for i in market.instruments), key=lambda symbol: len(market.tape(symbol)))
    return symbols[-count:]


def reported(client, *fates):
    """Numbers of the trades that the ledger says had one of these fates."""
    spans = [span for registration in client.simulator.registrations() for span in registration.spans]
    return [n for span in spans if span.fate in fates for n in range(span.first_trade, span.last_trade + 1)]


def offered(registration):
    assert registration.trades_at_end is not None
    return range(registration.trades_before + 1, registration.trades_at_end + 1)


async def test_the_ledger_records_the_trades_sent_while_registered():
    async with running(at(9, 30)) as client:
        async with client.stream() as socket:
            await register(client, socket, client.liveliest)
            await client.move_to(at(10))
            records = await records_until(socket, bool)
            await client.move_to(at(10, 30))
            last = client.simulator.market.state_at(client.liveliest, at(10, 30)).trades
            records += await records_until(socket, lambda more: bool(more) and number(more[-1]) == last)
        registration = await ended(client)
        [span] = registration.spans
        assert registration.symbol == client.liveliest
        assert [number(record) for record in records] == list(offered(registration))
        assert (span.fate, span.first_trade, span.last_trade) == ("sent", offered(registration)[0], last)
        first, final = records[0], records[-1]
        assert (span.volume_before, span.volume_after) == (int(first[13]) - int(first[12]), int(final[13]))
        answer = await client.http.get(f"{client.simulator.rest_url}/simulator/registrations")
        assert (
            [*client.simulator.registrations()] == msgspec.convert(answer.json(), list[Registration]) == [registration]
        )


def number(record):
    return sum(map(int, record[NUMBER]))


async def test_a_cut_ends_without_a_close_frame_and_later_trades_are_offered_to_no_client():
    async with registered(at(10)) as (client, socket):
        begin(client, "stream_cut", for_s=5)
        with pytest.raises(websockets.ConnectionClosedError) as cut:
            await frames_until(socket, lambda: False)
        assert cut.value.rcvd is None
        await ended(client)
        with pytest.raises((websockets.InvalidMessage, ConnectionError)):
            async with client.stream():
                pass
        await client.move_to(at(10, 30))
        assert list(offered(client.simulator.registrations()[0])) == []
        async with client.stream() as again:
            assert await register(client, again, client.liveliest) == "OPSP0000"


async def test_a_cut_ends_subscriptions_at_its_own_time_however_late_a_busy_simulator_serves_it():
    async with registered(at(10)) as (client, _):
        begin(client, "stream_cut", for_s=5)
        await client.move_to(at(10, 30))
        assert (await ended(client)).ended_ns == at(10)


async def test_a_half_open_line_says_nothing_any_more_and_its_trades_are_withheld():
    async with running(at(10), pingpong_interval_s=0.02) as client:
        async with client.stream() as socket:
            await register(client, socket, client.liveliest)
            begin(client, "half_open")
            before = client.simulator.counters().trades
            await client.move_to(at(10, 30))
            await socket.send(request_text(await client.approval(), client.simulator.market.instruments[0].symbol))
            async with client.stream() as fresh:  # a new line is alive: the fault was a moment
                assert await register(client, fresh, client.liveliest, "second") == "OPSP0000"
                async with asyncio.timeout(DEADLINE_S):
                    for _ in range(10):
                        await fresh.send(await fresh.recv())
            # Ten keep-alives were due meanwhile; one or two were on their way before.
            assert len(await texts_at_hand(socket)) <= 2
            assert client.simulator.counters().trades == before
        withheld = await ended(client)
        assert len(offered(withheld)) > 10
        assert withheld.spans == []


async def test_a_connection_opened_during_the_half_open_fault_never_sends_anything():
    async with running(at(10)) as client:
        begin(client, "half_open", for_s=60)
        async with client.stream() as socket:
            await socket.send(request_text(await client.approval(), client.liveliest))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await socket.recv()
        await client.move_to(at(10, 1))
        async with client.stream() as socket:
            assert await register(client, socket, client.liveliest) == "OPSP0000"


@pytest.mark.parametrize("kind", ["malformed", "truncated", "wrong_count"])
async def test_damaged_frames_arrive_and_the_ledger_knows_which_trades_were_in_them(kind):
    async with registered(at(9, 30)) as (client, socket):
        begin(client, kind, for_s=3_600, share=0.5)
        trades = [client.simulator.market.state_at(client.liveliest, at(9, minute)).trades for minute in range(60)]
        before, last = trades[30], trades[59]
        for minute in range(31, 60):
            await client.move_to(at(9, minute))
            await until_async(lambda: max(reported(client, *FATES), default=before) == trades[minute])  # noqa: B023 - awaited here
        struck = client.simulator.counters().faults[kind]
        assert struck > 0
        assert sorted(reported(client, *FATES)) == list(range(before + 1, last + 1))
        harmed = reported(client, "doubtful" if kind == "wrong_count" else "broken")
        assert harmed
        whole = {n for text in await texts_so_far(client, socket) for n in numbers_in(text)}
        assert set(reported(client, "sent")) <= whole
        assert not set(reported(client, "broken")) & whole


async def texts_so_far(client, socket):
    """All data that was sent before now: what comes before the answer to a request."""
    await socket.send(request_text(await client.approval(), client.liveliest))
    texts = []
    async with asyncio.timeout(DEADLINE_S):
        while (text := str(await socket.recv()))[0] != "{":
            texts.append(text)
    return texts


async def texts_at_hand(socket):
    """All texts that are here already."""
    texts = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0):
                texts.append(str(await socket.recv()))
    return texts


def numbers_in(text):
    """Trades of a frame that a careful client can read: numbers in every field it needs, 47 fields a record."""
    parts = text.split("|")
    if len(parts) != 4 or not parts[2].isdigit():
        return []
    fields = parts[3].split("^")
    if len(fields) != int(parts[2]) * 47:
        return []
    records = [fields[start : start + 47] for start in range(0, len(fields), 47)]
    return [number(record) for record in records if record[2].isdigit() and record[13].isdigit()]


async def test_a_duplicated_frame_comes_twice_and_is_offered_once():
    async with registered(at(10)) as (client, socket):
        begin(client, "duplicated", for_s=3_600)
        await client.move_to(at(10, 10))
        last = client.simulator.market.state_at(client.liveliest, at(10, 10)).trades
        await until_async(lambda: max(reported(client, "sent"), default=0) == last)
        texts = await texts_so_far(client, socket)
        assert texts[0::2] == texts[1::2]
        assert len(reported(client, "sent")) == len(set(reported(client, "sent")))


async def test_a_skewed_clock_shows_in_the_keep_alive():
    async with running(at(10), pingpong_interval_s=0.02) as client, client.stream() as socket:
        begin(client, "clock_skew", for_s=60, by_s=120)
        async with asyncio.timeout(DEADLINE_S):
            while json.loads(await socket.recv())["header"]["datetime"] != "20261118100200":
                pass


async def test_an_approval_key_that_was_revoked_is_not_found_at_the_next_request():
    async with running(at(10)) as client, client.stream() as socket:
        old = await client.approval()
        await socket.send(request_text(old, client.liveliest))
        await control(socket)
        begin(client, "approval_revoked")
        await socket.send(request_text(old, client.simulator.market.instruments[0].symbol))
        assert (await control(socket))["body"]["msg_cd"] == "OPSP0011"
        async with asyncio.timeout(DEADLINE_S):
            await socket.wait_closed()
        async with client.stream() as again:
            assert await register(client, again, client.liveliest) == "OPSP0000"


async def test_after_an_unclean_end_the_key_is_in_use_until_its_time_is_over():
    async with running(at(10), session_timeout_s=60) as client:
        async with client.stream() as socket:
            await register(client, socket, client.liveliest)
            begin(client, "stream_cut")
            async with asyncio.timeout(DEADLINE_S):
                await socket.wait_closed()
        await ended(client)
        async with client.stream() as second, client.stream() as other:
            assert await register(client, second, client.liveliest) == "OPSP8996"
            assert await register(client, other, client.liveliest, "second") == "OPSP0000"
        await client.move_to(at(10, 1))
        async with client.stream() as third:
            assert await register(client, third, client.liveliest) == "OPSP0000"


async def test_a_client_that_vanishes_without_a_close_frame_holds_its_key_and_a_clean_one_does_not():
    async with running(at(10), session_timeout_s=60) as client:
        async with client.stream() as socket:
            await register(client, socket, client.liveliest)
        async with client.stream() as socket:
            assert await register(client, socket, client.liveliest) == "OPSP0000"
            socket.transport.abort()
        await ended(client, 1)
        async with client.stream() as socket:
            assert await register(client, socket, client.liveliest) == "OPSP8996"


async def test_a_client_that_does_not_read_is_cut():
    async with running(at(8, 55), send_buffer_limit_bytes=4_096, trades_times=1.0) as client:
        small = sockets.socket()
        small.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
        small.setblocking(False)
        host, port = client.simulator.stream_url.removeprefix("ws://").split(":")
        await asyncio.get_running_loop().sock_connect(small, (host, int(port)))
        url = f"{client.simulator.stream_url}/tryitout"
        async with websockets.connect(url, sock=small, ping_interval=None, max_queue=1, close_timeout=0) as socket:
            approval = await client.approval()
            for symbol in liveliest(client, 6):
                await socket.send(request_text(approval, symbol))
                await control(socket)
            for hour in range(9, 16):  # the kernel takes a good part of a day before the server's own buffer fills
                await client.move_to(at(hour))
            await until_async(lambda: client.simulator.counters().slow_consumers == 1)
        assert client.simulator.counters().silent_clients == 0


async def test_a_client_that_reads_gets_a_burst_that_is_many_times_the_limit():
    changes = {"send_buffer_limit_bytes": 65_536, "trades_times": 1.0}
    async with registered(at(8, 55), **changes) as (client, socket):
        await client.move_to(at(15, 30))
        trades = len(client.simulator.market.tape(client.liveliest))
        assert len(await records_until(socket, lambda records: len(records) >= trades)) == trades
        assert client.simulator.counters().slow_consumers == 0


async def test_in_the_background_lines_are_cut_as_often_as_the_rate_says():
    async with running(at(9), fault_rates=FaultRates(stream_cuts_per_hour=60)) as client:
        async with client.stream() as socket:
            await client.move_to(at(10))
            async with asyncio.timeout(DEADLINE_S):
                await socket.wait_closed()
        await until_async(lambda: client.simulator.counters().drops >= 30)
        assert client.simulator.counters().connections_cut == 1
