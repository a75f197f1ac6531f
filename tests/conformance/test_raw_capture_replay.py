"""A raw capture replayed gives what the live decoders gave, byte for byte: over the simulator, over broken frames."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import date
from random import Random

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from bus.events import InputQuarantined
from observer.base.clock import ScaledClock
from observer.brokers.broker import Credentials
from observer.brokers.http import open_client
from observer.brokers.kis.calls import CALLS
from observer.brokers.kis.client import KisClient
from observer.brokers.kis.issuing import KisIssuing
from observer.brokers.kis.replay import RawDecoder
from observer.brokers.kis.schema import with_own_values
from observer.brokers.kis.session import KisSession
from observer.brokers.raw import (
    RawCaptureRequest,
    RawFolder,
    RawRecord,
    RawRecorder,
    merged,
    open_raw_request,
    raw_request_path,
)
from observer.brokers.settings import RestSettings
from observer.brokers.stream_settings import StreamSettings
from observer.brokers.websocket import TradeStreamConnection
from tests.brokers.kis_builders import PINGPONG, frame, record, reply
from tests.brokers.stand_ins import RenewingCredentials, pipeline_at, serving
from tests.simulator.simulator_client import APP_KEYS, SESSION_DATE, at, running_on
from tests.waiting import until_async

SECRETS = ("token 1", "approval 1", "app secret")


class Received:
    """A listener that records all calls in order."""

    def __init__(self):
        self.facts = []
        self.subscribed = set()

    def on_trades(self, trades):
        self.facts += trades

    def on_facts(self, facts):
        self.facts += facts

    def on_requested(self, symbol, *, removal=False):
        pass

    def on_subscribed(self, symbol):
        self.subscribed.add(symbol)

    def on_unsubscribed(self, symbol, reason, since_ns=None):
        self.subscribed.discard(symbol)

    def on_connection(self, change):
        pass

    def on_quarantine(self, item, unread):
        self.facts.append(item)


class Capture:
    """A raw capture request, one account's recorder, and the folder's final content."""

    def __init__(self, root, clock):
        self.folder = root / "raw"
        self.folder.mkdir()
        self._request = raw_request_path(root)
        self.recorder = RawRecorder(
            request=self._request, provider="kis", process="track-b", clock=clock, monotonic_s=time.monotonic
        )

    def wanted(self):
        return open_raw_request(self._request, RawCaptureRequest("c1", str(self.folder)))

    def records(self):
        self.recorder.close()
        folder = RawFolder(self.folder)
        try:
            folder._find_new()
            return [record for _, record in merged(folder.journals)]
        finally:
            folder.close()

    def content(self):
        return b"".join(path.read_bytes() for path in self.folder.iterdir())


def replayed(records, channel):
    decoder = RawDecoder()
    return [fact for record in records if record.channel == channel for fact in decoder.decode(record).facts]


def encoded(facts):
    return [msgspec.msgpack.encode(fact) for fact in facts]


def stream_of(url, credentials, listener, clock, recorder, **changes):
    settings = {"url": url, "provider": "kis", "account": "main", "capacity": 41, "close_s": 1.0, **changes}
    return TradeStreamConnection(
        settings=StreamSettings(**settings),
        open_dialect=lambda used: KisSession(used.approval_key),
        credentials=credentials,
        listener=listener,
        clock=clock,
        rng=Random(1),
        recorder=recorder,
    )


@asynccontextmanager
async def running_task(coroutine):
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


FRAMES = (
    frame(record(), record(symbol="000660", volume="3")),
    frame(record(price="no price")),
    frame(record(), record(price="x"), count=2),
    frame(record(), count=3),
    frame(record(), encrypted="1"),
    frame(["a", "b"], transaction="H0ZZZZZ9"),
    "0|H0STCNT0|001|",
    "neither data nor JSON",
    '{"header":{"tr_id":"H0STCNT0"}}',
    b"0|H0STCNT0|001|\xff\xfe^\x00",
    PINGPONG,
    frame(record(volume="12", total="1012")),
)


def test_broken_and_whole_frames_come_out_as_the_listener_received_them(tmp_path):
    async def scenario():
        clock, received = ScaledClock(at(10), time.monotonic_ns(), 1.0), Received()
        capture = Capture(tmp_path, clock)

        async def handle(request):
            socket = web.WebSocketResponse(autoping=False)
            await socket.prepare(request)
            await socket.receive()
            await socket.send_str(reply("OPSP0000"))
            for text in FRAMES:
                await (socket.send_bytes(text) if isinstance(text, bytes) else socket.send_str(text))
            async for _ in socket:
                pass
            return socket

        async with serving(web.get("/tryitout", handle)) as address:
            recorder = capture.recorder.of("main")
            stream = stream_of(f"ws://{address}/tryitout", RenewingCredentials(), received, clock, recorder)
            stream.want(["005930"])
            with capture.wanted():
                async with running_task(stream.run()):
                    await until_async(lambda: any(getattr(f, "volume", None) == 12.0 for f in received.facts))
        return received, capture

    received, capture = asyncio.run(scenario())
    records = capture.records()
    assert sum(isinstance(fact, InputQuarantined) for fact in received.facts) >= 7
    assert encoded(replayed(records, "stream")) == encoded(received.facts)
    came = [record.content for record in records if record.direction == "received"]
    assert came[1 : len(FRAMES) + 1] == [text if isinstance(text, bytes) else text.encode() for text in FRAMES]
    assert any(record.direction == "sent" and b"PINGPONG" in record.content for record in records)
    assert not any(secret.encode() in capture.content() for secret in SECRETS)


class Issued:
    """Credentials that were issued once."""

    def __init__(self, credentials):
        self._credentials = credentials

    async def current(self):
        return self._credentials

    async def reject(self, used):
        raise AssertionError("no token is refused here")


@asynccontextmanager
async def issued_rest(client, clock, recorder):
    """A `KisClient` at the simulator, whose token was issued on the record too; and its credentials."""
    settings = RestSettings(attempts_max=1)
    async with open_client(client.simulator.rest_url, settings) as http:
        issuing = KisIssuing(http, clock, recorder)
        token = await issuing.issue_token("second", APP_KEYS["second"])
        approval_key = await issuing.issue_approval_key("second", APP_KEYS["second"])
        credentials = Issued(Credentials("second", APP_KEYS["second"], token.access_token, approval_key))
    parts = {"credentials": credentials, "clock": clock, "recorder": recorder}
    async with pipeline_at(client.simulator.rest_url, settings, **parts) as (pipeline, _):
        yield KisClient(pipeline), credentials


def test_streamed_trades_and_quotes_bars_and_past_trades_come_out_as_live(tmp_path):
    async def scenario():
        clock, received = ScaledClock(at(10), time.monotonic_ns(), 240.0), Received()
        capture = Capture(tmp_path, clock)
        recorder = capture.recorder.of("main")
        with capture.wanted():
            async with running_on(clock) as client, issued_rest(client, clock, recorder) as (rest, credentials):
                day, symbol = date.fromisoformat(SESSION_DATE), client.liveliest
                live = {
                    "quotes": await rest.quotes([i.symbol for i in client.simulator.market.instruments[:30]]),
                    "daily_bars": await rest.daily_bars(symbol, date(2026, 10, 1), day),
                    "trades": await rest.trades_between(symbol, at(9, 30), at(10)),
                    "minute_bars": await rest.minute_bars(symbol, at(9, 50), at(9, 58)),
                }
                url = f"{client.simulator.stream_url}/tryitout"
                stream = stream_of(url, credentials, received, clock, recorder)
                stream.want([symbol])
                async with running_task(stream.run()):
                    await until_async(lambda: len(received.facts) >= 20)
        return received, live, capture, await credentials.current()

    received, live, capture, used = asyncio.run(scenario())
    records = capture.records()
    assert encoded(replayed(records, "stream")) == encoded(received.facts)
    answers = {call: replayed([each for each in records if each.call == call], "rest") for call in live}
    for call in ("quotes", "daily_bars"):
        assert encoded(answers[call]) == encoded(live[call])
        assert live[call]
    # Calls of several pages: each page as it came. What the caller asked for is in them, byte for byte.
    assert set(encoded(live["trades"])) <= set(encoded(answers["trades"]))
    assert len(live["trades"]) > 30
    by_start = {bar.start_ns: bar for bar in answers["minute_bars"]}
    own = with_own_values([by_start[start] for start in sorted(by_start)])
    assert encoded(bar for bar in own if at(9, 50) <= bar.start_ns <= at(9, 58)) == encoded(live["minute_bars"])
    assert len(live["minute_bars"]) > 1  # a minute without a trade has no bar
    for secret in (used.app_secret, used.access_token, used.approval_key):
        assert secret.encode() not in capture.content()


# --- answers ---


def answer(call, content, status=200):
    return RawRecord("received", "rest", "main", 1, at(10), content, call, status)


@pytest.mark.parametrize("call", [*CALLS, "issue_token", "issue_approval_key"])
def test_every_call_of_the_table_has_a_decoder(call):
    record = msgspec.structs.replace(answer(call, b"{}"), query={"PRDT_TYPE_CD": "512"})
    assert RawDecoder().decode(record).outcome == "decoded"


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (answer("quotes", b'{"rt_cd":"1","msg_cd":"EGW00201","msg1":"no"}'), "refused"),
        (answer("quotes", b"<html>", status=502), "refused"),
        (answer("quotes", b"<html>"), "refused"),
        (answer("quotes", b"[]"), "malformed"),
        (answer("daily_bars", b'{"output2":[{"stck_bsop_date":"20261118","stck_oprc":"x"}]}'), "malformed"),
        (answer("overseas_instrument", b'{"output":{"std_pdno":"1"}}'), "malformed"),
        (answer("horoscope", b"{}"), "unknown"),
    ],
)
def test_answers_without_facts_have_a_reason(record, outcome):
    decoded = RawDecoder().decode(record)
    assert (decoded.outcome, decoded.facts) == (outcome, ())


def test_a_recorded_answer_has_the_lines_that_were_asked_for():
    pairs = {
        "FID_COND_MRKT_DIV_CODE_1": "NX",
        "FID_INPUT_ISCD_1": "005930",
        "FID_COND_MRKT_DIV_CODE_2": "J",
        "FID_INPUT_ISCD_2": "000660",
    }
    rows = [{"inter_shrn_iscd": symbol, "inter2_prpr": "1"} for symbol in ("005930", "000660")]
    quotes = msgspec.structs.replace(answer("quotes", msgspec.json.encode({"output": rows})), query=pairs)
    assert [(each.symbol, each.venue) for each in RawDecoder().decode(quotes).facts] == [
        ("005930.NXT", "NXT"),
        ("000660", "KRX"),
    ]
    row = b'{"output2":[{"stck_cntg_hour":"090000","stck_prpr":"1","cnqn":"1","acml_vol":"1"}]}'
    asked = {"FID_COND_MRKT_DIV_CODE": "NX", "FID_INPUT_ISCD": "005930", "FID_INPUT_HOUR_1": "090000"}
    [trade] = RawDecoder().decode(msgspec.structs.replace(answer("trades", row), query=asked)).facts
    assert (trade.symbol, trade.venue) == ("005930.NXT", "NXT")


@pytest.mark.parametrize("transaction", ["H0STCNT0", "H0NXCNT0"])
def test_acknowledgements_of_every_venue_are_no_quarantine(transaction):
    decoder, asked = RawDecoder(), f'{{"body":{{"input":{{"tr_id":"{transaction}","tr_key":"005930"}}}}}}'
    decoder.decode(RawRecord("sent", "stream", "main", 1, 1, asked.encode()))
    received = RawRecord("received", "stream", "main", 1, 2, reply("OPSP0000", transaction=transaction).encode())
    assert decoder.decode(received).facts == ()


@given(
    st.builds(
        RawRecord,
        direction=st.sampled_from(("sent", "received")),
        channel=st.sampled_from(("stream", "rest")),
        account=st.just("main"),
        connection=st.integers(0, 3),
        time_ns=st.integers(at(0), at(23)),
        content=st.binary() | st.sampled_from([b"0|H0STCNT0|001|", b"{}", b"[]", b'{"output":{}}']),
        call=st.sampled_from(["", *CALLS]),
        status=st.sampled_from((0, 200, 500)),
        query=st.dictionaries(st.sampled_from(("FID_INPUT_ISCD", "EXCD")), st.text(max_size=8)),
    )
)
def test_no_record_can_stop_a_replay(record):
    RawDecoder().decode(record)
