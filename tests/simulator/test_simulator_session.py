"""A stream session without its socket: acknowledgements, refusals, and every trade once."""

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.simulator.counters import Counters
from observer.simulator.kis.authentication import Authentication
from observer.simulator.kis.encryption import encrypted_block, round_keys
from observer.simulator.kis.session import Reply, StreamSession
from observer.simulator.kis.timelines import Timelines
from tests.properties import examples
from tests.simulator.simulator_client import APP_KEYS, at, market_with, request_text, settings, split_records

MARKET = market_with()
TIMELINES = Timelines(MARKET, trade_fields=47, book_fields=63, state_fields=10)
SYMBOLS = sorted((i.symbol for i in MARKET.instruments if i.trades), key=lambda each: -MARKET.plan(each).usual_trades)
QUIET = SYMBOLS[-4:]  # a few hundred trades each


class Wire:
    """Sessions of one server, and two approval keys; `due` and `records` are of the first session."""

    def __init__(self, limit=41):
        self.authentication = Authentication(1, APP_KEYS, 20)
        self.counters = Counters()
        self.sessions: dict[str, StreamSession] = {}
        self.limit = limit
        self.keys = [self.authentication.issue_approval(key, APP_KEYS[key], at(8)).text for key in ("first", "second")]
        self.first = self.session()
        self.due = self.first.due

    def session(self):
        return StreamSession(TIMELINES, self.authentication, self.sessions, self.limit, self.counters, {})

    def say(self, symbol, now_ns=at(9), *, session=None, key=0, **changes):
        return (session or self.first).receive(request_text(self.keys[key], symbol, **changes), now_ns)

    def records(self, until_ns):
        return [record for frame in self.due(until_ns) for record in split_records(frame)]


def code(reply):
    """The code of its last text, with a mark where it ends the session."""
    return str(json.loads(reply.texts[-1])["body"]["msg_cd"]) + "!" * reply.close


def cumulative_volumes(frames, symbol):
    records = [record for frame in frames if frame[0] == "0" for record in split_records(frame)]
    return [int(record[13]) for record in records if record[0] == symbol]


def test_a_registration_is_acknowledged_with_its_key():
    body = json.loads(Wire().say(SYMBOLS[0]).texts[0])
    assert body["header"] == {"tr_id": "H0STCNT0", "tr_key": SYMBOLS[0], "encrypt": "N"}
    assert (body["body"]["rt_cd"], body["body"]["msg_cd"]) == ("0", "OPSP0000")
    assert (len(body["body"]["output"]["iv"]), len(body["body"]["output"]["key"])) == (16, 32)


# `a+0`: session a registers a symbol with the first key; `*`: with the second; `-`: removes it; `a.`: the session ends.
@pytest.mark.parametrize(
    ("steps", "codes"),
    [
        pytest.param("a+0 a+0", "0000 0002", id="a symbol once"),
        pytest.param("a+0 a-0 a-0", "0000 0001 0003", id="a removal of what is registered"),
        pytest.param("a+0 a+1 a+2 a+3 a-0 a+3 a+0", "0000 0000 0000 0008 0001 0000 0008", id="no more than the limit"),
        pytest.param("a+0 b+0 b. c+1 a. d+0", "0000 8996! 8996! 0000", id="one session of a key until it has ended"),
        pytest.param("a+0 a*1", "0000 8996!", id="one key in a session"),
        pytest.param("a+0 b*0", "0000 0000", id="two keys have a session each"),
    ],
)
def test_a_server_admits(steps, codes):
    wire, answers = Wire(limit=3), []
    sessions = {name: wire.session() for name in "abcd"}
    for name, sign, *symbol in steps.split():
        if sign == ".":
            sessions[name].end()
        else:
            tr_type = "2" if sign == "-" else "1"
            reply = wire.say(SYMBOLS[int(*symbol)], session=sessions[name], key=int(sign == "*"), tr_type=tr_type)
            answers.append(code(reply).removeprefix("OPSP"))
    assert " ".join(answers) == codes
    for session in sessions.values():
        session.end()
    assert wire.sessions == {}


def test_the_refusal_of_a_second_session_names_no_subscription():
    wire = Wire()
    wire.say(SYMBOLS[0])
    refusal = json.loads(wire.say(SYMBOLS[0], session=wire.session()).texts[0])
    assert (refusal["header"]["tr_id"], refusal["body"]["rt_cd"]) == ("(null)", "9")


def test_the_default_limit_is_forty_one():
    assert settings().registrations_limit == 41


def test_a_wrong_key_or_one_older_than_a_day_ends_the_session():
    wire = Wire()
    assert code(wire.first.receive(request_text("wrong", SYMBOLS[0]), at(9))) == "OPSP0011!"
    assert code(wire.say(SYMBOLS[0], at(8) + 86_400 * 10**9)) == "OPSP0011!"


def test_an_unknown_tr_id_is_refused_and_an_unknown_symbol_is_an_internal_error():
    assert code(Wire().say(SYMBOLS[0], tr_id="H0XXXXX0")) == "OPSP8991"
    assert code(Wire().say("999999")) == "OPSP0007"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "OPSP9999"),
        ("no json", "OPSP9999"),
        ("{}", "OPSP9999"),
        ("[]", "OPSP9999"),
        ('{"header": {"approval_key": "k"}}', "OPSP9992"),
        ('{"header": {"approval_key": "k"}, "body": {}}', "OPSP9992"),
        (request_text("k", "005930", tr_type="9"), "OPSP8997"),
        (request_text("k", ""), "OPSP8992"),
        (request_text("k", "005930").replace('"P"', '"X"'), "OPSP8998"),
        (request_text("k", "005930").replace('"custtype": "P", ', ""), "OPSP9997"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_with_the_published_code(text, expected):
    reply = Wire().first.receive(text, at(9))
    assert (code(reply), reply.close) == (expected, False)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl opens the notice")
def test_an_accounts_notices_are_acknowledged_and_encrypted_with_the_acknowledged_key():
    reply = Wire().say("my id", tr_id="H0STCNI0")
    output = json.loads(reply.texts[0])["body"]["output"]
    assert (code(reply), len(output["iv"]), len(output["key"])) == ("OPSP0000", 16, 32)
    [frame] = reply.captured
    flag, tr_id, count, content = frame.split("|")
    assert (flag, tr_id, count) == ("1", "H0STCNI0", "001")
    opened = subprocess.run(
        [
            *("openssl", "enc", "-d", "-aes-256-cbc", "-base64", "-A"),
            *("-K", output["key"].encode().hex(), "-iv", output["iv"].encode().hex()),
        ],
        input=content.encode(),
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert len(opened.split("^")) == 26
    assert opened.split("^")[8] == "005930"


def test_the_cipher_is_that_of_fips_197():
    block = encrypted_block(bytes.fromhex("00112233445566778899aabbccddeeff"), round_keys(bytes(range(32))))
    assert block.hex() == "8ea2b7ca516745bfeafc49904b496089"


def test_an_answer_to_the_keep_alive_is_a_sign_of_life_and_gets_no_reply():
    reply = Wire().first.receive('{"header":{"tr_id":"PINGPONG","datetime":"20261118093000"}}', at(9))
    assert reply == Reply(alive=True)


def test_nothing_from_before_the_registration_is_sent():
    wire = Wire()
    wire.say(SYMBOLS[0], at(10))
    expected = [t.cumulative_volume for t in MARKET.offered(SYMBOLS[0]) if at(10) < t.exchange_time_ns <= at(11)]
    assert cumulative_volumes(wire.due(at(11)), SYMBOLS[0]) == expected


def test_trades_until_the_removal_are_sent_before_its_acknowledgement():
    wire = Wire()
    wire.say(SYMBOLS[0])
    reply = wire.say(SYMBOLS[0], at(9, 30), tr_type="2")
    assert cumulative_volumes(reply.texts, SYMBOLS[0])[-1] == MARKET.state_at(SYMBOLS[0], at(9, 30)).cumulative_volume
    assert code(reply) == "OPSP0001"
    assert wire.due(at(16)) == ()


def test_a_frame_has_at_most_twenty_records_of_forty_seven_fields():
    wire = Wire()
    for symbol in SYMBOLS[:3]:
        wire.say(symbol)
    frames = wire.due(at(9, 30))
    assert {len(record) for frame in frames for record in split_records(frame)} == {47}
    assert {len(split_records(frame)) for frame in frames[:-1]} == {20}
    assert wire.counters.read().frames == len(frames)


def test_records_come_in_the_order_of_the_exchange_time():
    wire = Wire()
    for symbol in QUIET:
        wire.say(symbol)
    times = [record[1] for record in wire.records(at(16))]
    assert times == sorted(times)


def test_the_records_match_the_trades_that_the_market_offers():
    wire = Wire()
    wire.say(SYMBOLS[0], at(8, 59))
    codes = {"buy": "1", "auction": "3", "sell": "5"}
    offered = [
        [
            *(t.symbol, t.exchange_hhmmss, str(t.price), str(t.volume), str(t.cumulative_volume)),
            *(str(t.cumulative_sells), str(t.cumulative_buys), codes[t.side], "20261118"),
        ]
        for t in MARKET.offered(SYMBOLS[0])
    ]
    assert [[record[n] for n in (0, 1, 2, 12, 13, 15, 16, 21, 33)] for record in wire.records(at(16))] == offered


def test_the_derived_fields_of_a_record_follow_from_the_others():
    wire = Wire()
    wire.say(SYMBOLS[0], at(8, 59))
    instrument = MARKET.instrument(SYMBOLS[0])
    assert instrument is not None
    for record in wire.records(at(16))[::50]:
        price, value, volume = int(record[2]), int(record[14]), int(record[13])
        assert int(record[4]) == price - instrument.base_price
        assert record[3] == ("2" if int(record[4]) > 0 else "5" if int(record[4]) < 0 else "3")
        assert record[6] == f"{value / volume:.2f}"
        assert int(record[17]) == int(record[16]) - int(record[15])
        assert int(record[11]) < int(record[10])
        assert price in (int(record[10]), int(record[11]))
        assert int(record[9]) <= price <= int(record[8])
        assert [int(record[n]) for n in (26, 29, 32)] == [price - int(record[n]) for n in (7, 8, 9)]


@examples(0.8)
@given(
    st.lists(
        st.tuples(
            st.integers(min_value=1, max_value=3_600),
            st.sampled_from(("register", "remove", "beat")),
            st.sampled_from(QUIET),
        ),
        max_size=25,
    )
)
def test_each_trade_of_a_registered_symbol_is_sent_exactly_once(steps):
    """For any timing of beats, the session sends exactly the trades during the symbol's subscription."""
    wire = Wire()
    sent: dict[str, list[int]] = {symbol: [] for symbol in QUIET}
    spans: dict[str, list[tuple[int, int]]] = {symbol: [] for symbol in QUIET}
    since: dict[str, int] = {}
    now = at(9)
    for wait_s, action, symbol in [*steps, (1, "beat", QUIET[0])]:
        now += wait_s * 10**9
        if action == "beat":
            texts = wire.due(now)
        elif action == "register":
            texts = wire.say(symbol, now).texts
            since.setdefault(symbol, now)
        else:
            texts = wire.say(symbol, now, tr_type="2").texts
            if symbol in since:
                spans[symbol].append((since.pop(symbol), now))
        for one in sent:
            sent[one] += cumulative_volumes(texts, one)
    for symbol, start in since.items():
        spans[symbol].append((start, now))
    for symbol, intervals in spans.items():
        trades = list(MARKET.offered(symbol))
        assert sent[symbol] == [
            t.cumulative_volume for a, b in intervals for t in trades if a < t.exchange_time_ns <= b
        ]
    assert wire.counters.read().trades == sum(map(len, sent.values()))
