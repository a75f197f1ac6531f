"""The trade parser: every whole record becomes a trade, nothing broken raises, nothing is made up."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import Trade
from observer.brokers.dialect import Data
from observer.brokers.kis.frames import parse_trades
from observer.brokers.kis.session import KisSession
from observer.calendar.venues import KRX
from tests.brokers.kis_builders import FIELDS, frame, record
from tests.brokers.kis_records import fields_of


def read(*records, **claims):
    return parse_trades(frame(*records, **claims), 7)


def volumes(trades):
    return [trade.cumulative_volume for trade in trades]


def trade(**changes):
    (one,), _, broken = read(record(**changes))
    assert broken is None
    return one


def kept(broken, *records):
    """The reason why such a frame is kept whole."""
    assert (broken.content, broken.quarantined_ns) == (frame(*records).encode(), 7)
    return broken.reason


@pytest.mark.parametrize(
    ("code", "side"),
    [*(("1", "buy"), ("5", "sell"), ("3", "auction")), *((code, "unknown") for code in ("", "2", "9", "(null)"))],
)
def test_the_aggressor_names_the_side_and_one_that_is_not_documented_costs_no_trade(code, side):
    assert (trade(aggressor=code).side, trade(aggressor=code).price) == (side, 70_000.0)


@pytest.mark.parametrize("width", [46, 47, 60])
def test_the_width_of_a_record_comes_from_the_frame(width):
    trades, _, broken = read(record(width=width), record(total="1010", width=width))
    assert (volumes(trades), broken) == ([1000.0, 1010.0], None)


@pytest.mark.parametrize("transaction", ["H0STCNT0", "H0UNCNT0", "H0NXCNT0"])
def test_each_field_is_read_from_where_the_protocol_has_it(transaction):
    changes = {"STCK_PRPR": "1", "BIDP1": "2", "ASKP1": "3", "CNTG_VOL": "4", "ACML_VOL": "5"}
    counts = {"SELN_CNTG_CSNU": "600", "SHNU_CNTG_CSNU": "7"}
    text = frame(fields_of(transaction, **changes, **counts), transaction=transaction)
    midnight_ns = int(datetime(2026, 11, 20, tzinfo=KRX.zone).timestamp()) * 10**9
    moment_ns = midnight_ns + 10 * 3600 * 10**9
    line, venue = {"ST": ("005930", "KRX"), "NX": ("005930.NXT", "NXT"), "UN": ("005930.both", "both")}[
        transaction[2:4]
    ]
    numbers = (1.0, 4.0, 5.0, 607)
    expected = Trade("kis", line, "2026-11-20", moment_ns, 9, *numbers, "buy", bid=2.0, ask=3.0, venue=venue)
    assert parse_trades(text, 9) == ([expected], (), None)


@pytest.mark.parametrize("claimed", ["2", "02", " 2"])
def test_a_header_that_is_not_padded_as_usual_is_read_all_the_same(claimed):
    text = frame(record(), record(total="1010")).replace("|002|", f"|{claimed}|")
    trades, _, broken = parse_trades(text, 0)
    assert (len(trades), broken) == (2, None)


@pytest.mark.parametrize("index", [2, 10, 11, 12, 13, 15, 16])
@pytest.mark.parametrize("padded", ["{} ", "0{}", "+{}"])
def test_a_padded_number_is_the_same_number(index, padded):
    fields = record()
    expected = read(fields)
    fields[index] = padded.format(fields[index])
    assert read(fields) == expected


@given(st.floats(min_value=0.01, max_value=1e15), st.integers(0, 2**40), st.integers(0, 2**40))
def test_numbers_are_read_to_the_last_digit(price, sells, buys):
    one = trade(price=repr(price), counts=(str(sells), str(buys)))
    assert (one.price, one.cumulative_trades) == (price, sells + buys)


def test_bytes_and_text_are_the_same_frame():
    assert parse_trades(frame(record()).encode(), 1) == parse_trades(frame(record()), 1)


@pytest.mark.parametrize("blank", ["", " ", "(null)"])
def test_a_trade_without_quotes_or_counts_is_kept_without_them(blank):
    one = trade(ask=blank, bid=blank, counts=(blank, "1"))
    assert (one.ask, one.bid, one.cumulative_trades, one.price, one.volume) == (None, None, None, 70_000.0, 10.0)


def test_no_bid_and_no_ask_are_none():
    assert (trade(bid="0", ask="0").bid, trade(bid="0", ask="0").ask) == (None, None)


def in_session(code, width=47):
    fields = record(width=width)
    fields[46] = code
    return fields


SESSIONS = {"1": "pre", "2": "regular", "3": "after", "5": "closed", "": None, "9": None, "12": None}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("code", SESSIONS)
def test_the_47th_field_of_a_trade_is_its_session(code, count):
    for width in (47, 48, 50):
        trades, _, broken = read(*[in_session(code, width)] * count)
        assert ([trade.session for trade in trades], broken) == ([SESSIONS[code]] * count, None)


@pytest.mark.parametrize("count", [1, 3])
def test_a_trade_of_46_fields_states_no_session(count):
    trades, _, broken = read(*[record(width=46)] * count)
    assert ([trade.session for trade in trades], broken) == ([None] * count, None)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"price": text} for text in ("", "0", "nan", "inf", "-1")),
        *({"volume": text} for text in ("0", "2000")),
        *({"date": text} for text in ("20261320", "0")),
        *({"hour": text} for text in ("246000", "9")),
        *({"symbol": text} for text in ("", "00 30")),
        *({"counts": (text, "1")} for text in ("x", "9223372036854775807", "1_0")),
        {"total": "x"},
        {"bid": "-1"},
    ],
    ids=str,
)
def test_an_impossible_record_ends_the_frame_and_keeps_the_records_before_it(wrong):
    trades, _, broken = read(record(), record(**wrong))
    assert len(trades) == 1
    assert kept(broken, record(), record(**wrong)).startswith("record 2: ")


@pytest.mark.parametrize(
    "text",
    ["", "0", "0|H0STCNT0", "0|H0STCNT0|001|", "0|H0STCNT0|000|1^2", "0|H0STCNT0|abc|1", "0|H0STASP0|001|1^2"],
)
def test_a_frame_without_trades_yields_no_trade_and_a_reason(text):
    trades, _, broken = parse_trades(text, 0)
    assert trades == []
    assert broken is not None
    assert broken.reason


def test_an_encrypted_frame_is_not_guessed_at():
    trades, _, broken = read(record(), encrypted="1")
    assert trades == []
    assert broken is not None
    assert "encryption" in broken.reason


def test_a_frame_with_fewer_records_than_its_header_claims_keeps_its_whole_records():
    trades, _, broken = read(record(), record(total="1010")[:24], count=4)
    assert volumes(trades) == [1000.0]
    assert broken is not None
    assert "71 fields do not make 4 records" in broken.reason


@pytest.mark.parametrize("records", [2, 3])
def test_no_record_of_a_frame_that_claims_a_single_one_is_passed_over(records):
    narrow = [record(total=str(1000 + 10 * number), width=46) for number in range(records)]
    trades, _, broken = parse_trades(frame(*narrow, count=1), 0)
    assert [trade.cumulative_volume for trade in trades] == [1000.0 + 10 * number for number in range(records)]
    assert broken is not None


@given(cut=st.integers(min_value=0), count=st.integers(1, 5), width=st.integers(46, 52))
def test_a_frame_cut_anywhere_yields_a_prefix_of_its_trades(cut, count, width):
    records = [record(total=str(1000 + 10 * number), width=width) for number in range(count)]
    text = frame(*records)
    whole, _, _ = parse_trades(text, 0)
    before, _, broken = parse_trades(text[: cut % len(text)], 0)
    assert before == whole[: len(before)]
    if len(before) < count:
        assert broken is not None


@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.lists(st.text(alphabet="0123456789^|.-", max_size=9), max_size=60).map(
            lambda fields: "0|H0STCNT0|001|" + "^".join(fields)
        ),
    )
)
def test_parse_trades_raises_on_no_input(text):
    trades, _, broken = parse_trades(text, 0)
    assert trades or broken is not None


@given(st.lists(st.tuples(st.integers(0, FIELDS - 1), st.text(max_size=8)), min_size=1, max_size=5))
def test_a_damaged_field_gives_a_trade_or_a_reason_never_an_exception(damage):
    fields = record()
    for index, text in damage:
        fields[index] = text
    trades, _, broken = read(fields)
    assert (len(trades) == 1) != (broken is not None) or "^" in "".join(text for _, text in damage)


@pytest.mark.parametrize(
    ("code", "auction"), [("A", "closing"), ("B", "opening"), ("C", "intraday"), ("D", "single_price")]
)
@pytest.mark.parametrize("width", [46, 47, 60])
def test_a_record_of_an_auction_is_an_expected_price_and_no_trade(code, auction, width):
    fields = record(width=width, hour_class=code)
    fields[46:47] = ["2"] * (width > 46)
    trades, (expected,), broken = read(fields)
    assert (trades, broken) == ([], None)
    assert (expected.price, expected.volume, expected.bid, expected.ask) == (70_000.0, 10.0, 70_000.0, 70_100.0)
    assert (expected.auction, expected.session) == (auction, "regular" if width > 46 else None)


def test_the_trades_around_an_expected_price_are_read():
    between = record(volume="500", total="1000", hour_class="C")
    trades, (expected,), broken = read(record(), between, record(total="1010"))
    assert (volumes(trades), expected.volume, broken) == ([1000.0, 1010.0], 500.0, None)


@pytest.mark.parametrize("price", ["0", "", "(null)"])
@pytest.mark.parametrize("volume", ["0", ""])
@pytest.mark.parametrize("others", [[], [record()]], ids=["alone", "before a trade"])
def test_an_expected_price_without_a_cross_is_no_row_and_no_fault(price, volume, others):
    trades, expected, broken = read(record(price=price, volume=volume, hour_class="B"), *others)
    assert (len(trades), expected, broken) == (len(others), [], None)


def test_an_unreadable_expected_price_is_kept_with_the_reason_and_costs_no_other_record():
    records = record(), record(volume="", hour_class="C"), record(hour_class="C"), record(total="1010")
    trades, expected, broken = read(*records)
    assert (volumes(trades), len(expected)) == ([1000.0, 1010.0], 1)
    assert kept(broken, *records).startswith("record 2: ")


@pytest.mark.parametrize("code", ["E", "1", "", " ", "(null)", "AB"])
def test_a_record_of_an_unknown_code_is_no_trade_and_is_kept_with_the_reason(code):
    records = record(), record(volume="500", hour_class=code), record(total="1010")
    trades, expected, broken = read(*records)
    assert (len(trades), expected) == (1, [])
    assert kept(broken, *records).startswith("record 2: ValueError: HOUR_CLS_CODE")


def test_after_a_record_of_an_unknown_code_the_lines_of_the_rest_are_unread():
    text = frame(record("000660", hour_class="B"), record("035720", hour_class="E"), record())
    parsed = KisSession("key").parse(Data(text.encode()), 0)
    assert (parsed.trades, len(parsed.facts), parsed.unread) == ([], 1, {"035720", "005930"})
