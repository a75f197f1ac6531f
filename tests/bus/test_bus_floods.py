"""A message without an end, from a client with a key: its connection ends, and the process stays small."""

import subprocess
import sys
import uuid

import psutil
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from bus.endpoints import Endpoints
from bus.floods import WAITING_BYTES_MAX, connection_to_end
from bus.keys import make_keys
from bus.outbox import Outbox
from bus.producer import delivering
from bus.sockets import connect
from tests.builders import trades
from tests.bus.test_bus_curve import free_addresses
from tests.waiting import DEADLINE_S, until

MIB = 2**20
SENT_MIB = 1_024
FLOODS = 4
GROWS_MIB_MAX = 350  # what may wait, what comes until the next look on a busy machine, and what libzmq adds


def test_the_connection_with_the_most_is_ended_if_all_together_are_too_many():
    assert connection_to_end({}, 10) is None
    assert connection_to_end({3: 4, 4: 6}, 10) is None
    assert connection_to_end({3: 4, 4: 7}, 10) == 4


@pytest.fixture
def endpoints(tmp_path):
    made = Endpoints(tmp_path / "run", free_addresses())
    make_keys(made.keys_directory)
    return made


@pytest.fixture
def process(endpoints):
    """A real process with the writer's sockets."""
    addresses = [each.url for each in (endpoints.ingest, endpoints.feed, endpoints.batch_feed)]
    words = [sys.executable, "-m", "tests.bus.flooded_writer", str(endpoints.runtime_directory), *addresses]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout.readline() == b"ready\n"
        yield psutil.Process(running.pid)
        running.stdin.close()
        running.wait(DEADLINE_S)


def flood(address, process):
    """Send a message without an end until its connection is cut off; return the largest memory of `process` in MiB."""
    peak = 0
    with zmq.Context() as context, context.socket(zmq.DEALER) as evil, evil.get_monitor_socket() as ends:
        evil.linger, evil.sndhwm = 0, 0
        connect(evil, address, MIB)
        part = zmq.Frame(bytes(8_000))  # within the limit of each socket
        for _ in range(SENT_MIB * MIB // 8_000):
            evil.send(part, zmq.SNDMORE, copy=False)
        evil.send(b"")  # libzmq begins to send

        def is_cut_off():
            nonlocal peak
            peak = max(peak, process.memory_info().rss // MIB)
            return ends.poll(0) and recv_monitor_message(ends)["event"] == zmq.EVENT_DISCONNECTED

        until(is_cut_off, "the end of its connection")
    return peak


@pytest.mark.parametrize("name", ["ingest", "feed", "batch_feed"])
async def test_messages_without_an_end_are_cut_off_and_producers_go_on(tmp_path, endpoints, process, name):
    before = process.memory_info().rss // MIB
    address = getattr(endpoints, name)
    # What one took is there for the next: the allocator keeps pages, so that the memory need not become less.
    peaks = [flood(address, process) for _ in range(FLOODS)]
    assert max(peaks) - before < GROWS_MIB_MAX, peaks
    assert WAITING_BYTES_MAX // MIB < GROWS_MIB_MAX < FLOODS * WAITING_BYTES_MAX // MIB < SENT_MIB
    async with delivering(Outbox(tmp_path / "good", "good", uuid.uuid4().hex), endpoints.ingest) as good:
        good.publish(*trades(10))
        assert await good.drain(DEADLINE_S)
