"""The WebSocket side, asked by the websockets library: data, keep-alive, outages."""

import asyncio
import json
import time
from itertools import pairwise

import pytest
import websockets

from observer.base.clock import ScaledClock
from observer.simulator.faults import ScriptedDrop
from tests.simulator.simulator_client import at, control, records_until, request_text, running, running_on
from tests.waiting import DEADLINE_S


async def test_the_trades_of_the_day_arrive_each_once():
    async with running(at(8, 55)) as client, client.stream() as socket:
        await socket.send(request_text(await client.approval(), client.liveliest))
        assert (await control(socket))["body"]["msg_cd"] == "OPSP0000"
        expected = [str(t.cumulative_volume) for t in client.simulator.market.offered(client.liveliest)]
        for hour in range(9, 17):
            await client.move_to(at(hour))
        records = await records_until(socket, lambda records: len(records) >= len(expected))
        assert [record[13] for record in records] == expected
        counters = client.simulator.counters()
        assert counters.trades_by_symbol == {client.liveliest: len(expected)}
        assert (counters.trades, counters.registrations, counters.connections) == (len(expected), 1, 1)


async def test_on_a_scaled_clock_the_chain_of_volumes_has_no_gap():
    clock = ScaledClock(at(9), time.monotonic_ns(), 1_200.0)
    async with running_on(clock) as client, client.stream() as socket:
        await socket.send(request_text(await client.approval(), client.liveliest))
        records = await records_until(socket, lambda records: len(records) >= 150)
        for before, after in pairwise(records):
            assert int(after[13]) - int(after[12]) == int(before[13])


@pytest.mark.parametrize("path", ["/", "/tryitout", "/tryitout/H0STCNT0"])
async def test_the_stream_is_at_each_of_its_paths(path):
    async with running(at(9)) as client, client.stream(path) as socket:
        await socket.send(request_text("wrong", client.liveliest))
        assert (await control(socket))["body"]["msg_cd"] == "OPSP0011"
        async with asyncio.timeout(DEADLINE_S):
            await socket.wait_closed()


async def test_a_second_connection_of_a_key_is_closed_and_the_first_goes_on():
    async with running(at(9)) as client, client.stream() as first:
        approval = await client.approval()
        symbols = [i.symbol for i in client.simulator.market.instruments][:2]
        await first.send(request_text(approval, symbols[0]))
        await control(first)
        async with client.stream() as second:
            await second.send(request_text(approval, symbols[0]))
            assert (await control(second))["body"]["msg_cd"] == "OPSP8996"
            async with asyncio.timeout(DEADLINE_S):
                await second.wait_closed()
        await first.send(request_text(approval, symbols[1]))
        assert (await control(first))["body"]["msg_cd"] == "OPSP0000"


async def test_after_a_clean_close_the_key_is_free_again():
    async with running(at(9)) as client:
        approval = await client.approval()
        for _ in range(3):
            async with client.stream() as socket:
                await socket.send(request_text(approval, client.liveliest))
                assert (await control(socket))["body"]["msg_cd"] == "OPSP0000"


async def test_the_keep_alive_runs_on_machine_time_and_a_client_that_never_answers_is_disconnected():
    async with running(at(9), pingpong_interval_s=0.02) as client, client.stream() as socket:
        async with asyncio.timeout(DEADLINE_S):
            await socket.wait_closed()
            texts = [str(await socket.recv()) for _ in range(3)]
        assert [json.loads(text)["header"] for text in texts] == [
            {"tr_id": "PINGPONG", "datetime": "20261118090000"}
        ] * 3
        assert client.simulator.counters().silent_clients == 1


async def test_a_client_that_answers_the_keep_alive_stays_connected():
    async with running(at(9), pingpong_interval_s=0.02) as client, client.stream() as socket:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(8):
                await socket.send(await socket.recv())


async def test_a_drop_cuts_without_a_close_frame_refuses_for_a_while_and_replays_nothing():
    drop = ScriptedDrop(at="09:40:00", closed_for_s=60)
    async with running(at(9, 30), drops=(drop,)) as client:
        approval = await client.approval()
        async with client.stream() as socket:
            await socket.send(request_text(approval, client.liveliest))
            await control(socket)
            await client.move_to(at(9, 40))
            with pytest.raises(websockets.ConnectionClosedError) as cut:
                await records_until(socket, lambda _: False)
            assert cut.value.rcvd is None
        await client.move_to(at(9, 40, 59))
        with pytest.raises((websockets.InvalidMessage, ConnectionError)):
            async with client.stream():
                pass
        await client.move_to(at(9, 41))
        async with client.stream() as socket:
            await socket.send(request_text(approval, client.liveliest))
            await control(socket)
            await client.move_to(at(10))
            [first, *_] = await records_until(socket, bool)
            assert first[1] >= "094100"
        counters = client.simulator.counters()
        assert (counters.drops, counters.connections_cut, counters.connections_refused) == (1, 1, 1)


async def test_stopping_closes_streams_with_a_close_frame():
    async with running(at(9)) as client, client.stream() as socket:
        await client.simulator.stop()
        async with asyncio.timeout(DEADLINE_S):
            await socket.wait_closed()
        assert socket.close_code == 1001
