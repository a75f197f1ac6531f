"""A hostile host of the stream gets no key by a redirect, and its messages are bounded."""

from aiohttp import web

from observer.base.text import conceal
from observer.brokers.dialect import Ping, SessionRefused, Unreadable
from observer.brokers.kis.frames import parse_trades
from observer.brokers.kis.session import KisSession
from tests.brokers.hostile import MB, measured
from tests.brokers.kis_builders import PINGPONG, frame, record, reply
from tests.brokers.stand_ins import serving
from tests.brokers.stream_scene import Broker, streaming
from tests.waiting import until_async


class Redirecting(Broker):
    def __init__(self, location):
        super().__init__()
        self.location = location

    async def handle(self, request):
        return web.Response(status=302, headers={"Location": self.location})


class Sending(Broker):
    """Sends these messages on each connection."""

    def __init__(self, *messages):
        super().__init__()
        self.messages = messages

    async def handle(self, request):
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.sockets.append(socket)
        for message in self.messages:
            await socket.send_str(message)
        await socket.receive()
        return socket


async def test_a_redirect_is_a_refusal_and_the_other_host_hears_nothing():
    other = Broker()

    heard = []

    async def hear(request):
        heard.append(request)
        return await other.handle(request)

    async with serving(web.get("/tryitout", hear)) as address:
        broker = Redirecting(f"ws://{address}/tryitout")
        async with streaming(broker) as scene:
            scene.stream.want(["005930"])
            await until_async(lambda: len(scene.listener.states) > 2)
            assert {change.state for change in scene.listener.states} <= {"refused", "suspended"}
            assert any("302" in change.reason for change in scene.listener.states)
    assert heard == []


async def test_a_message_of_more_than_a_megabyte_ends_the_connection_and_is_not_kept():
    with measured() as memory:
        async with streaming(Sending("x" * (8 * MB))) as scene:
            await until_async(lambda: any(change.state == "lost" for change in scene.listener.states))
            assert not [each for each in scene.listener.received if each[0] == "quarantine"]
    assert memory.peak < 40 * MB  # the server and its compression are in this process, too


def test_the_words_of_a_refusal_are_short_plain_and_without_the_key():
    conceal("approval-key-0123456789")
    text = "no\x1b[2J\nnews: approval-key-0123456789 " + "x" * 900_000
    message = KisSession("approval-key-0123456789").read(reply("OPSP0011", text=text))
    assert isinstance(message, SessionRefused)
    assert message.reason.startswith("no[2J news: *** xxx")
    assert len(message.reason) <= 1_024


async def test_a_refused_connection_is_reported_in_a_short_line():
    broker = Broker()
    broker.greeting = reply("OPSP8996", text="\x07" * 1_000 + "x" * 900_000)
    async with streaming(broker) as scene:
        await until_async(lambda: any(change.state == "refused" for change in scene.listener.states))
        [change, *_] = [change for change in scene.listener.states if change.state == "refused"]
        assert len(change.reason) <= 1_024
        assert change.reason.isprintable()


def test_a_keep_alive_is_answered_unless_it_is_larger_than_any():
    session = KisSession("key")
    assert session.read(PINGPONG) == Ping(PINGPONG)
    large = PINGPONG.replace("PINGPONG", "PINGPONG", 1)[:-1] + ',"x":"' + "x" * 9_000 + '"}'
    assert isinstance(session.read(large), Unreadable)


def test_the_largest_frame_that_a_connection_takes_is_read_within_bounded_memory():
    content = b"0|H0STCNT0|999|" + b"^" * (MB - 20)
    with measured() as memory:
        trades, _, broken = parse_trades(content, 1)
    assert (trades, broken is None) == ([], False)
    assert memory.peak < 20 * MB


def test_the_longest_real_frame_fits():
    longest = frame(*[record(symbol="005930", volume="1234567890")] * 999)
    assert len(longest) < MB
