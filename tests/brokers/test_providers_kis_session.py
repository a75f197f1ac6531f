"""The KIS dialect: its texts carry what KIS wants, and every answer has one meaning."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.dialect import (
    Data,
    Ping,
    SessionRefused,
    Subscribed,
    Subscription,
    SubscriptionRefused,
    Unreadable,
    Unsubscribed,
)
from observer.brokers.kis.session import KisSession
from tests.brokers.kis_builders import PINGPONG, frame, record, reply

session = KisSession("the-approval-key")
SAMSUNG = Subscription("trades", "005930")


@pytest.mark.parametrize(("text", "kind"), [(session.subscribe(SAMSUNG), "1"), (session.unsubscribe(SAMSUNG), "2")])
def test_a_request_names_key_kind_and_symbol(text, kind):
    request = json.loads(text)
    assert request["header"] == {
        "approval_key": "the-approval-key",
        "custtype": "P",
        "tr_type": kind,
        "content-type": "utf-8",
    }
    assert request["body"] == {"input": {"tr_id": "H0STCNT0", "tr_key": "005930"}}


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("OPSP0000", Subscribed(SAMSUNG)),
        ("OPSP0002", Subscribed(SAMSUNG)),
        ("OPSP0001", Unsubscribed(SAMSUNG)),
        ("OPSP0003", Unsubscribed(SAMSUNG)),
        ("OPSP0008", SubscriptionRefused(SAMSUNG, "OPSP0008", "why")),
        ("OPSP0007", SubscriptionRefused(SAMSUNG, "OPSP0007", "why")),
        ("OPSP8991", SubscriptionRefused(SAMSUNG, "OPSP8991", "why")),
        ("OPSP0011", SessionRefused("OPSP0011", "why", key_rejected=True)),
        ("OPSP8996", SessionRefused("OPSP8996", "why", key_rejected=False)),
    ],
)
def test_every_code_has_its_meaning(code, meaning):
    assert session.read(reply(code, text="why")) == meaning


def test_a_keep_alive_is_answered_with_its_own_text():
    assert session.read(PINGPONG) == Ping(PINGPONG)


def test_a_data_frame_goes_on_unread():
    text = frame(record())
    assert session.read(text) == Data(text.encode())
    assert session.read(text.encode()) == Data(text.encode())


def test_trades_come_out_of_data():
    parsed = session.parse(Data(frame(record()).encode()), 5)
    assert [trade.receive_time_ns for trade in parsed.trades] == [5]
    assert (parsed.facts, parsed.broken) == ((), None)


@given(st.one_of(st.text(), st.binary()))
def test_reading_a_message_raises_on_no_input(text):
    session.read(text)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"header":{}}', '{"header":{"tr_id":"x"},"body":{}}', b"\xff"])
def test_a_message_without_a_meaning_is_unreadable_with_a_reason(text):
    message = session.read(text)
    assert isinstance(message, Unreadable)
    assert message.reason


@pytest.mark.parametrize(
    ("line", "kind", "transaction"),
    [
        ("005930", "trades", "H0STCNT0"),
        ("005930.NXT", "trades", "H0NXCNT0"),
        ("005930", "order_book", "H0STASP0"),
        ("005930.NXT", "order_book", "H0NXASP0"),
        ("005930", "expected_price", "H0STANC0"),
        ("005930.NXT", "expected_price", "H0NXANC0"),
        ("005930", "market_state", "H0STMKO0"),
        ("005930.NXT", "market_state", "H0NXMKO0"),
        ("005930", "nav", "H0STNAV0"),
    ],
)
def test_kind_and_line_choose_the_transaction_and_the_answer_names_the_line(line, kind, transaction):
    subscription = Subscription(kind, line)
    for text in (session.subscribe(subscription), session.unsubscribe(subscription)):
        assert json.loads(text)["body"]["input"] == {"tr_id": transaction, "tr_key": "005930"}
    assert session.read(reply("OPSP0000", transaction=transaction)) == Subscribed(subscription)
    assert session.read(reply("OPSP0001", transaction=transaction)) == Unsubscribed(subscription)


def test_a_halt_at_one_venue_is_none_of_the_other_line():
    dialect, halted = KisSession("key"), record(volume="0")
    halted[35] = "Y"
    stopped = dialect.parse(Data(frame(halted, transaction="H0NXCNT0").encode()), 5)
    assert [(state.symbol, state.venue, state.halted) for state in stopped.facts] == [("005930.NXT", "NXT", True)]
    assert not dialect.parse(Data(frame(record()).encode()), 6).facts
    resumed = dialect.parse(Data(frame(record(), transaction="H0NXCNT0").encode()), 7)
    assert [(state.symbol, state.halted) for state in resumed.facts] == [("005930.NXT", False)]


@pytest.mark.parametrize("code", ["OPSP0000", "OPSP0001", "OPSP0002", "OPSP0003"])
@pytest.mark.parametrize(("symbol", "transaction"), [("005930", "H0UNCNT0"), ("", "H0STCNT0"), ("005930", "(null)")])
def test_an_acknowledgement_of_an_impossible_subscription_is_unreadable(code, symbol, transaction):
    assert isinstance(session.read(reply(code, symbol, transaction=transaction)), Unreadable)


def test_a_refusal_that_names_no_subscription_is_read_as_refusal_of_the_last_request():
    assert session.read(reply("OPSP0007", "", "why", "(null)")) == SubscriptionRefused(None, "OPSP0007", "why")


def test_of_an_encrypted_frame_only_the_size_is_kept():
    message = session.read(b"1|H0STCNI0|001|bm90IHRvIGJlIHN0b3JlZA==")
    assert message == Unreadable(b"", "an encrypted frame of 39 bytes: counted, not stored")


def test_an_expected_price_comes_from_its_own_subscription_where_there_is_one():
    made, auctions = KisSession("key"), Data(frame(record(hour_class="B"), record("000660", hour_class="B")).encode())

    def stated():
        return [each.symbol for each in made.parse(auctions, 0).facts]

    assert stated() == ["005930", "000660"]
    made.read(reply("OPSP0000", transaction="H0STANC0"))
    assert stated() == ["000660"]
    made.read(reply("OPSP0001", transaction="H0STANC0"))
    assert stated() == ["005930", "000660"]


def test_a_symbol_may_be_padded_in_an_answer():
    assert session.read(reply("OPSP0000", "005930   ")) == Subscribed(SAMSUNG)
