"""Which symbols' trades may be in a frame that cannot be read."""

import pytest

from observer.brokers.dialect import Data
from observer.brokers.kis.frames import parse_trades
from observer.brokers.kis.session import KisSession
from tests.brokers.kis_builders import frame, record


def unread(text):
    parsed = KisSession("key").parse(Data(text.encode()), 0)
    assert parsed.broken is not None
    return parsed.unread


def test_the_records_behind_the_break_of_a_frame_name_their_symbols():
    broken = frame(record(), record(total="x"), record(total="1010"))
    assert unread(broken) == {"005930"}


@pytest.mark.parametrize(
    "text", [frame(record(), record()[:24], count=2), "0|#@!#@!", frame(record()[:24])], ids=["cut", "garbage", "stump"]
)
def test_a_frame_without_its_records_may_hold_a_trade_of_any_symbol(text):
    assert unread(text) is None


def test_a_frame_of_other_records_holds_no_trade():
    assert unread("0|H0STASP0|001|005930^x") == ()


def test_a_frame_that_states_one_record_and_has_two_brings_both_and_is_reported():
    trades, _, broken = parse_trades(frame(record(), record(total="1010"), count=1), 0)
    assert [trade.cumulative_volume for trade in trades] == [1000.0, 1010.0]
    assert broken is not None


def test_an_unreadable_expected_price_puts_no_trade_in_doubt():
    assert unread(frame(record("000660", volume="", hour_class="C"), record())) == set()


def test_behind_a_break_a_record_of_an_auction_holds_no_trade():
    assert unread(frame(record(), record(total="x"), record("000660", hour_class="B"), record("035720"))) == {
        "005930",
        "035720",
    }
