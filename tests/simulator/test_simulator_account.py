"""A morning with every stream fault: a careful client has exactly the trades that the ledger states as sent."""

import asyncio
import contextlib

import websockets

from observer.simulator.faults import ScriptedFault
from tests.simulator.simulator_client import at, control, request_text, running
from tests.simulator.test_simulator_stream_faults import numbers_in, reported
from tests.waiting import until_async

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


async def collect(client, stored):
    """Stay connected, whatever happens; a line that says nothing since it is half open is given up."""

    def half_open():
        return client.simulator.counters().faults.get("half_open", 0)

    while True:
        with contextlib.suppress(websockets.WebSocketException, OSError):
            async with client.stream() as socket:
                before = half_open()
                await socket.send(request_text(await client.approval(), client.liveliest))
                assert (await control(socket))["body"]["msg_cd"] == "OPSP0000"
                while True:
                    try:
                        async with asyncio.timeout(0.1):
                            text = str(await socket.recv())
                    except TimeoutError:
                        if half_open() > before:
                            break
                        continue
                    if "PINGPONG" in text:
                        await socket.send(text)
                    stored += numbers_in(text)


async def test_the_stored_trades_are_exactly_the_trades_sent_while_subscribed_less_the_gaps():
    async with running(at(9), faults=SCRIPT, pingpong_interval_s=0.05) as client:
        stored: list[int] = []
        collecting = asyncio.create_task(collect(client, stored))
        market = client.simulator.market
        for minute in range(1, 91):
            moment = at(9 + minute // 60, minute % 60)
            await alive(client)
            await client.move_to(moment)
            await everything_is_out(client, market.state_at(client.liveliest, moment).trades)
        await until_async(lambda: reported(client, "sent")[-1] in stored, "the last trade sent")
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)

        readable = set(reported(client, "sent", "doubtful"))
        gaps = set(range(1, max(stored) + 1)) - set(stored)
        assert set(stored) == readable - gaps
        assert set(reported(client, "sent")) <= set(stored)
        assert set(reported(client, "broken")) <= gaps
        counters = client.simulator.counters()
        assert len(stored) > len(set(stored)), "no frame came twice"
        assert set(counters.faults) >= {"malformed", "truncated", "wrong_count", "duplicated", "half_open"}
        assert (counters.connections, counters.connections_cut) == (4, 2)


async def alive(client):
    """Wait until a subscription is active on a working connection."""
    registrations = client.simulator.registrations
    await until_async(lambda: registrations() and registrations()[-1].ended_ns is None, "a living registration")


async def everything_is_out(client, last):
    """Wait until the latest trade is on the wire or its connection is closed."""

    def is_out():
        registration = client.simulator.registrations()[-1]
        if registration.ended_ns is not None or registration.trades_before == last:
            return True
        return bool(registration.spans) and registration.spans[-1].last_trade == last

    await until_async(is_out, f"trade {last} on the wire")
