"""Captured frames in a running simulator: a client subscribed to their key receives them unchanged."""

import asyncio
import json
from pathlib import Path

import pytest

from observer.simulator.faults import FaultRequest
from tests.simulator.simulator_client import at, request_text, running
from tests.waiting import DEADLINE_S

FRAMES = Path(__file__).parents[3] / "shared" / "data" / "kis-frames" / "frames.jsonl"
ALL_DAMAGED = FaultRequest(kind="malformed", for_s=3_600)


async def texts_after_registering(client, tr_id, key, count):
    """The first texts that a new line of the second account gets, keep-alives left out."""
    async with client.stream() as socket, asyncio.timeout(DEADLINE_S):
        await socket.send(request_text(await client.approval("second"), key, tr_id=tr_id))
        return [await next_text(socket) for _ in range(count)]


async def next_text(socket):
    while "PINGPONG" in (text := str(await socket.recv())):
        pass
    return text


def data_frames():
    """The real data frames by TR id and key."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in FRAMES.read_text().splitlines():
        raw = json.loads(line)["raw"]
        if raw[0] in "01":
            _, tr_id, _, payload = raw.split("|", 3)
            found.setdefault((tr_id, payload.partition("^")[0]), []).append(raw)
    return found


@pytest.mark.realdata
@pytest.mark.skipif(not FRAMES.is_file(), reason="the real samples are not beside the repository")
async def test_every_real_frame_comes_over_a_socket_as_it_was_received():
    assert len(data_frames()) >= 3
    async with running(at(8), frames_file=str(FRAMES)) as client:
        for (tr_id, key), frames in data_frames().items():
            acknowledged, *came = await texts_after_registering(client, tr_id, key, 1 + len(frames))
            assert json.loads(acknowledged)["body"]["msg_cd"] == "OPSP0000"
            assert came == frames


@pytest.mark.parametrize("count", ["004", "many"])
async def test_a_torn_frame_of_a_listed_symbol_ends_no_line_and_is_no_trade_of_the_day(tmp_path, count):
    async with running(at(10)) as client:
        symbol = client.liveliest
    torn = f"0|H0STCNT0|{count}|" + "^".join([symbol, *map(str, range(69))])
    frames = tmp_path / "frames.jsonl"
    frames.write_text(json.dumps({"raw": torn}) + "\n")
    async with running(at(10), frames_file=str(frames)) as client, client.stream() as socket:
        client.simulator.begin_fault(ALL_DAMAGED)
        await socket.send(request_text(await client.approval(), symbol))
        assert json.loads(await next_text(socket))["body"]["msg_cd"] == "OPSP0000"
        assert await next_text(socket) == torn
        await socket.send(request_text(await client.approval(), symbol))
        assert json.loads(await next_text(socket))["body"]["msg_cd"] == "OPSP0002"
        (registration,) = client.simulator.registrations()
        assert (registration.symbol, registration.spans) == (symbol, [])
