"""The parsers of each kind of record, field by field in the order of docs/kis.md."""

from datetime import datetime

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bus.events import ExpectedPrice, MarketStateChanged, NavObserved, OrderBook
from observer.brokers.dialect import Data
from observer.brokers.kis.records import parse_facts
from observer.brokers.kis.session import KisSession
from observer.calendar.venues import KRX
from tests.brokers.kis_builders import frame
from tests.brokers.kis_records import LAYOUTS, fields_of, named, words

FACTS = [transaction for transaction in LAYOUTS if "CNT" not in transaction]
TIMED = [transaction for transaction in FACTS if "ASP" in transaction or "ANC" in transaction]


def ns(hour, minute=0, second=0):
    return int(datetime(2026, 11, 20, hour, minute, second, tzinfo=KRX.zone).timestamp()) * 10**9


NOW_NS = ns(10, 0, 1) + 250


def parsed(transaction, *records, **claims):
    return parse_facts(frame(*records, transaction=transaction, **claims), NOW_NS)


def fact(transaction, **changes):
    (one,), broken = parsed(transaction, fields_of(transaction, **changes))
    assert broken is None
    return one


@pytest.mark.parametrize("transaction", ["H0STASP0", "H0UNASP0", "H0NXASP0"])
def test_an_order_book_has_ten_prices_and_volumes_on_each_side(transaction):
    book = fact(transaction)
    assert isinstance(book, OrderBook)
    assert (book.provider, book.receive_time_ns) == ("kis", NOW_NS)
    rest = msgspec.structs.astuple(book)[5:]
    assert rest[:10] == tuple(70_000.0 + 100 * index for index in range(1, 11))
    assert rest[10:20] == tuple(70_100.0 - 100 * index for index in range(1, 11))
    assert rest[20:30] == tuple(10.0 * index for index in range(1, 11))
    assert rest[30:40] == tuple(20.0 * index for index in range(1, 11))
    assert (book.total_ask_volume, book.total_bid_volume, book.cumulative_volume) == (5500.0, 6600.0, 123456.0)


def test_an_order_book_names_no_date_so_it_has_that_of_its_arrival_in_korea():
    book = fact("H0STASP0")
    assert (book.session_date, book.exchange_time_ns) == ("2026-11-20", ns(10))
    early = frame(fields_of("H0STASP0", BSOP_HOUR="083000"), transaction="H0STASP0")
    (of_morning,), _ = parse_facts(early, ns(8, 30))  # still the day before in UTC
    assert (of_morning.session_date, of_morning.exchange_time_ns) == ("2026-11-20", ns(8, 30))


def test_an_order_book_level_without_quotes_has_no_price():
    book = fact("H0STASP0", ASKP10="0", ASKP_RSQN10="0", BIDP1="0", BIDP_RSQN1="0")
    assert (book.ask_10, book.ask_volume_10, book.bid_1, book.bid_volume_1) == (None, 0.0, None, 0.0)


def test_an_expected_price_is_there_in_an_auction_only():
    assert (fact("H0STASP0").expected_price, fact("H0STASP0").expected_volume) == (None, 0.0)
    auction = fact("H0STASP0", ANTC_CNPR="70050", ANTC_CNQN="321")
    assert (auction.expected_price, auction.expected_volume) == (70_050.0, 321.0)


def test_an_expected_trade_becomes_an_expected_price():
    expected = ExpectedPrice("kis", "005930", "2026-11-20", ns(10), NOW_NS, 70_000.0, 10.0, 69_900.0, 70_100.0, "KRX")
    assert fact("H0STANC0") == expected


@pytest.mark.parametrize("price", ["0", ""])
def test_an_expected_trade_without_a_cross_is_no_row_and_no_fault(price):
    records = (fields_of("H0STANC0", stck_prpr=price, cntg_vol=price), fields_of("H0STANC0"))
    assert parse_facts(frame(*records, transaction="H0STANC0"), NOW_NS) == ([fact("H0STANC0")], None)


@pytest.mark.parametrize(("text", "halted"), [("Y", True), ("N", False), ("", False), (" ", False)])
def test_a_market_state_reports_whether_the_symbol_is_halted(text, halted):
    assert fact("H0STMKO0", trht_yn=text).halted is halted


def test_a_market_state_carries_the_exchanges_own_codes():
    state = fact("H0STMKO0", trht_yn="Y", tr_susp_reas_cntt=" 풍문 ")
    codes = ("112", "311", "2", "00", "55", "N", "M", "KRX", "open")
    assert state == MarketStateChanged("kis", "005930", NOW_NS, True, "풍문", *codes)


def test_a_market_state_of_eleven_fields_is_that_of_ten():
    assert parsed("H0STMKO0", [*fields_of("H0STMKO0"), "2"]) == parsed("H0STMKO0", fields_of("H0STMKO0"))


LINES = {"ST": ("005930", "KRX"), "NX": ("005930.NXT", "NXT"), "UN": ("005930.both", "both")}


@pytest.mark.parametrize("transaction", [name for name in FACTS if "NAV" not in name])
def test_each_record_states_the_line_and_the_venue_of_its_transaction(transaction):
    found = fact(transaction)
    assert (found.symbol, found.venue) == LINES[transaction[2:4]]


def test_a_book_of_nxt_has_a_middle_price_where_one_of_the_krx_has_its_session():
    (book,), broken = parsed("H0NXASP0", [*fields_of("H0NXASP0"), "70000", "1", "2", "2", "1", "2"])
    assert broken is None
    assert isinstance(book, OrderBook)
    assert book.session is None


@pytest.mark.parametrize("eleventh", [[], ["1"], ["2"], ["(null)"]])
@pytest.mark.parametrize(("tr_id", "line", "venue"), [("H0STMKO0", "005930", "KRX"), ("H0NXMKO0", "005930.NXT", "NXT")])
def test_a_market_state_states_the_venue_of_its_stream(tr_id, line, venue, eleventh):
    (state,), broken = parsed(tr_id, [*fields_of("H0STMKO0"), *eleventh])
    assert broken is None
    assert isinstance(state, MarketStateChanged)
    assert (state.symbol, state.after_hours_interruption, state.venue) == (line, "M", venue)


NOTICES = named("""
    110=opening_auction 112=open 121=closing_auction 129=closed 130=before_hours 139=before_hours_ended
    140=closing_price 146=closing_price_traded 149=closing_price_ended 164=halted 174=breaker 175=breaker_ended
    182=breaker_to_close 184=breaker 185=breaker_ended 387=sell_sidecar 388=sell_sidecar_ended 397=buy_sidecar
    398=buy_sidecar_ended F01= P18= AB1=
""") | {"": ""}


@pytest.mark.parametrize("code", NOTICES)
def test_a_market_state_says_what_its_code_means_for_the_market(code):
    state = fact("H0STMKO0", mkop_cls_code=code)
    assert (state.market_state, state.market_notice) == (code, NOTICES[code] or None)
    assert not state.halted, "a stop of the whole market is no halt of the symbol"


PUBLISHED = {  # of KIS's portal, and of the live host (docs/kis.md#market-state, docs/kis.md#nav)
    "0|H0STNAV0|001|069500^37235.46^5^-381.26^-1.01^37646.25^37646.25^37202.10": NavObserved(
        *("kis", "069500", NOW_NS, 37_235.46, -381.26, 37_646.25, 37_646.25, 37_202.1)
    ),
    "0|H0STMKO0|001|396300^N^(null)^^311^^^55^N^N": MarketStateChanged(
        *("kis", "396300", NOW_NS, False, "", "", "311", "", "", "55", "N", "N", "KRX")
    ),
    "0|H0STMKO0|001|100840^N^(null)^AB1^112^^^55^N^": MarketStateChanged(
        *("kis", "100840", NOW_NS, False, "", "AB1", "112", "", "", "55", "N", "", "KRX")
    ),
}


@pytest.mark.parametrize("text", PUBLISHED)
def test_a_published_record_is_read(text):
    assert parse_facts(text, NOW_NS) == ([PUBLISHED[text]], None)


def test_the_last_field_of_a_book_of_2026_is_its_session():
    def session(*appended):
        (book,), broken = parsed("H0STASP0", [*fields_of("H0STASP0"), *appended])
        assert broken is None
        assert isinstance(book, OrderBook)
        return book.session

    assert [session("70000", "1", "2", code) for code in "1235"] == ["pre", "regular", "after", "closed"]
    assert [session(), session("1", "2", "2"), session("1", "2", "2", "9")] == [None] * 3


@pytest.mark.parametrize("blank", ["", " ", "(null)"])
def test_a_blank_quote_or_volume_is_none_and_the_record_is_kept(blank):
    book = fact("H0STASP0", ASKP1=blank, ASKP_RSQN1=blank, TOTAL_ASKP_RSQN=blank)
    assert (book.ask_1, book.ask_volume_1, book.total_ask_volume, book.bid_1) == (None, 0.0, 0.0, 70_000.0)
    expected = fact("H0STANC0", askp1=blank, bidp1=blank)
    assert (expected.ask, expected.bid, expected.price) == (None, None, 70_000.0)
    nav = fact("H0STNAV0", nav_prdy_vrss=blank, oprc_nav=blank)
    assert (nav.change, nav.open, nav.high) == (0.0, None, 35_200.1)


def test_a_nav_is_in_won_with_its_change():
    assert fact("H0STNAV0") == NavObserved("kis", "069500", NOW_NS, 35_123.45, 123.4, 35_000.0, 35_200.1, 34_900.0)


@pytest.mark.parametrize(
    ("sign", "number", "change"), [("5", "-12.5", -12.5), ("5", "12.5", -12.5), ("2", "12.5", 12.5)]
)
def test_the_sign_of_a_change_is_its_codes_whether_or_not_the_number_has_it_too(sign, number, change):
    assert fact("H0STNAV0", nav_prdy_vrss_sign=sign, nav_prdy_vrss=number).change == change


@pytest.mark.parametrize("transaction", FACTS)
@pytest.mark.parametrize("appended", [0, 1, 4])
def test_the_width_of_a_record_comes_from_the_frame(transaction, appended):
    one = fields_of(transaction, width=LAYOUTS[transaction][0] + appended)
    facts, broken = parsed(transaction, one, one, one)
    assert (facts, broken) == ([fact(transaction)] * 3, None)


@pytest.mark.parametrize("transaction", FACTS)
def test_padded_numbers_and_leading_zeros_are_numbers(transaction):
    fields = fields_of(transaction)
    padded = [
        f" 0{field} " if field.replace(".", "").isdigit() and len(field) in (4, 5, 8) else field for field in fields
    ]
    if "ANC" in transaction:
        padded[33] = fields[33]
    if "MKO" not in transaction:
        assert padded != fields
    assert parsed(transaction, padded) == parsed(transaction, fields)


WRONG = words("""
    H0STASP0 MKSC_SHRN_ISCD=  H0STASP0 MKSC_SHRN_ISCD=00_30  H0STASP0 MKSC_SHRN_ISCD=7  H0STASP0 BSOP_HOUR=246000
    H0STASP0 ASKP1=x  H0STASP0 ASKP1=-1  H0STASP0 BIDP_RSQN10=nan  H0STASP0 BIDP_RSQN10=1e999  H0STASP0 ACML_VOL=
    H0STANC0 stck_prpr=-1  H0STANC0 bsop_date=20261320  H0STMKO0 trht_yn=X  H0STNAV0 nav=0
    H0STNAV0 nav_prdy_vrss=1_0  H0STNAV0 mksc_shrn_iscd=-
""")
WRONG = [*zip(WRONG[::2], map(named, WRONG[1::2]), strict=True), ("H0STMKO0", {"tr_susp_reas_cntt": "\0"})]


@pytest.mark.parametrize(("transaction", "wrong"), WRONG, ids=str)
def test_an_impossible_record_ends_the_frame_and_keeps_the_records_before_it(transaction, wrong):
    text = frame(fields_of(transaction), fields_of(transaction, **wrong), transaction=transaction)
    facts, broken = parse_facts(text, NOW_NS)
    assert facts == [fact(transaction)]
    assert broken is not None
    assert (broken.content, broken.quarantined_ns) == (text.encode(), NOW_NS)
    assert broken.reason.startswith("record 2: ")


@pytest.mark.parametrize("transaction", FACTS)
def test_a_frame_with_fewer_records_than_its_header_claims_keeps_its_first_record(transaction):
    one = fields_of(transaction)
    facts, broken = parsed(transaction, one, one[:5], count=4)
    assert facts == [fact(transaction)]
    assert broken is not None
    assert "do not make 4 records" in broken.reason


@pytest.mark.parametrize("transaction", TIMED)
def test_a_torn_frame_keeps_every_record_before_the_tear_where_the_next_one_can_be_seen(transaction):
    one = fields_of(transaction, width=LAYOUTS[transaction][0] + 3)
    facts, broken = parsed(transaction, one, one, one[:-10])
    assert facts == [fact(transaction)] * 2
    assert broken is not None


def test_overseas_trades_are_quarantined_by_their_name():
    facts, broken = parsed("HDFSCNT0", ["7"] * 26)
    assert facts == []
    assert broken is not None
    assert broken.reason == "'HDFSCNT0' is a record of no kind that is kept"


@pytest.mark.parametrize("transaction", LAYOUTS)
def test_the_dialect_returns_each_kind_of_record_as_a_trade_or_a_fact(transaction):
    text = frame(fields_of(transaction), transaction=transaction)
    result = KisSession("key").parse(Data(text.encode()), NOW_NS)
    assert result.broken is None
    assert (len(result.trades), len(result.facts)) == ((1, 0) if "CNT" in transaction else (0, 1))


@given(st.sampled_from(FACTS), st.lists(st.tuples(st.integers(0, 62), st.text(max_size=8)), min_size=1, max_size=5))
def test_a_damaged_field_gives_a_fact_or_a_reason_never_an_exception(transaction, damage):
    fields = fields_of(transaction, width=63)
    for index, text in damage:
        fields[index] = text
    facts, broken = parsed(transaction, fields)
    assert facts or broken is not None


@pytest.mark.parametrize("transaction", FACTS)
@pytest.mark.parametrize("lost", [2, 4])
def test_a_frame_cut_where_its_fields_still_divide_evenly_makes_up_no_record(transaction, lost):
    one = fields_of(transaction, width=LAYOUTS[transaction][0] + 3)
    facts, broken = parsed(transaction, one, one[:-lost], count=2)
    assert facts == [fact(transaction)]
    assert broken is not None


@given(st.sampled_from(FACTS), st.integers(min_value=0), st.integers(1, 4), st.integers(0, 3))
def test_a_frame_cut_anywhere_keeps_no_more_than_it_had(transaction, cut, count, appended):
    documented = LAYOUTS[transaction][0]
    one = fields_of(transaction, width=documented + 1 + appended)
    text = frame(*[one] * count, transaction=transaction)
    torn = text[: cut % len(text)]
    assume(torn.count("^") + 1 != count * documented)  # that looks whole, and nothing but the text's end is wrong
    facts, broken = parse_facts(torn, NOW_NS)
    assert facts == [fact(transaction)] * len(facts)
    assert len(facts) == count or broken is not None


@given(st.one_of(st.text(), st.binary(), st.binary().map(lambda tail: b"0|H0STASP0|001|" + tail)))
def test_parse_facts_raises_on_no_input(text):
    facts, broken = parse_facts(text, NOW_NS)
    assert facts or broken is not None
