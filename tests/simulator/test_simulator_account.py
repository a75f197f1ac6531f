"""A morning with every fault of the stream in it: what a careful client has is what the ledger says it was sent."""

import asyncio
import contextlib

import websockets

from observer.simulator.faults import ScriptedFault
from tests.simulator.simulator_client import Client, at, control, request_text, running
from tests.simulator.test_simulator_stream_faults import numbers_in, told

SCRIPT = (
    ScriptedFault(kind="malformed", at="09:10", for_s=600, share=0.5),
    ScriptedFault(kind="truncated", at="09:20", for_s=600, share=0.5),
    ScriptedFault(kind="wrong_count", at="09:30", for_s=600, share=0.5),
    ScriptedFault(kind="duplicated", at="09:40", for_s=600, share=0.5),
    ScriptedFault(kind="stream_cut", at="09:50"),
    ScriptedFault(kind="half_open", at="10:00"),
    ScriptedFault(kind="approval_revoked", at="10:10"),
    ScriptedFault(kind="stream_cut", at="10:11"),
)


async def collect(client: Client, stored: list[int]) -> None:
    """Stay connected, whatever happens; a line that says nothing for half a second is given up."""
    while True:
        with contextlib.suppress(websockets.WebSocketException, OSError, TimeoutError):
            async with client.stream() as socket:
                await socket.send(request_text(await client.approval(), client.liveliest))
                assert (await control(socket))["body"]["msg_cd"] == "OPSP0000"
                while True:
                    async with asyncio.timeout(0.5):
                        text = str(await socket.recv())
                    if "PINGPONG" in text:
                        await socket.send(text)
                    stored += numbers_in(text)


def test_stored_is_what_was_sent_while_subscribed_less_what_lies_in_gaps_exactly() -> None:
    async def test() -> None:
        async with running(at(9), faults=SCRIPT, pingpong_interval_s=0.05) as client:
            stored: list[int] = []
            collecting = asyncio.create_task(collect(client, stored))
            market = client.simulator.market
            for minute in range(1, 91):
                moment = at(9 + minute // 60, minute % 60)
                await alive(client)
                await client.move_to(moment)
                await everything_is_out(client, market.state_at(client.liveliest, moment).trades)
            await arrived(stored, told(client, "sent")[-1])
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)

            readable = set(told(client, "sent", "doubtful"))
            gaps = set(range(1, max(stored) + 1)) - set(stored)
            assert set(stored) == readable - gaps
            assert set(told(client, "sent")) <= set(stored)
            assert set(told(client, "broken")) <= gaps
            counters = client.simulator.counters()
            assert len(stored) > len(set(stored)), "no frame came twice"
            assert set(counters.faults) >= {"malformed", "truncated", "wrong_count", "duplicated", "half_open"}
            assert (counters.connections, counters.connections_cut) == (4, 2)

    asyncio.run(test())


async def alive(client: Client) -> None:
    """Until a registration is in force on a line that can speak."""
    async with asyncio.timeout(10):
        while client.simulator.registrations() == () or client.simulator.registrations()[-1].ended_ns is not None:
            await asyncio.sleep(0.005)


async def everything_is_out(client: Client, last: int) -> None:
    """Until the latest trade is on the wire, or the line that it was for is gone."""
    async with asyncio.timeout(10):
        while True:
            registration = client.simulator.registrations()[-1]
            spans = registration.spans
            if registration.ended_ns is not None or registration.trades_before == last:
                return
            if spans and spans[-1].last_trade == last:
                return
            await asyncio.sleep(0.005)


async def arrived(stored: list[int], last: int) -> None:
    async with asyncio.timeout(10):
        while last not in stored:
            await asyncio.sleep(0.005)
