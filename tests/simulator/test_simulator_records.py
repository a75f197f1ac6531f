"""Every kind of record of the stream: as wide as documented, in time, and of one mind with the market."""

import json
from itertools import pairwise

import pytest

from observer.base.local_time import local_datetime
from observer.simulator.counters import Counters
from observer.simulator.kis.authentication import Authentication
from observer.simulator.kis.session import StreamSession
from observer.simulator.kis.timelines import Timelines, captured_frames
from observer.simulator.market.instruments import price_limits, tick_size
from tests.simulator.simulator_client import APP_KEYS, at, market_with, request_text, split_records

MARKET = market_with(symbols=120)
SYMBOL = max((i.symbol for i in MARKET.instruments if i.ordinary), key=lambda symbol: MARKET.plan(symbol).usual_trades)
ETF = next(i.symbol for i in MARKET.instruments if i.group == "EF" and i.trades)
CAPTURED_TRADE = "0|H0STCNT0|001|" + "^".join(["005930", "140610", "277750", *["1"] * 44])


class Viewer:
    """One client of a session."""

    def __init__(self, captured="", *, trade_fields=47, book_fields=63, limit=41):
        authentication = Authentication(1, APP_KEYS, 20)
        self.approval = authentication.issue_approval("first", APP_KEYS["first"], at(8)).text
        self.counters = Counters()
        timelines = Timelines(MARKET, trade_fields=trade_fields, book_fields=book_fields, state_fields=10)
        self.session = StreamSession(
            timelines, authentication, {}, limit, self.counters, captured_frames(captured.encode())
        )

    def ask(self, tr_id, symbol, now_ns=at(8)):
        return self.session.receive(request_text(self.approval, symbol, tr_id=tr_id), now_ns)

    def register(self, tr_id, symbol, now_ns=at(8)):
        return str(json.loads(self.ask(tr_id, symbol, now_ns).texts[-1])["body"]["msg_cd"])

    def records(self, tr_id, symbol, until_ns, since_ns=at(8)):
        assert self.register(tr_id, symbol, since_ns) == "OPSP0000"
        return [record for frame in self.session.due(until_ns) for record in split_records(frame, tr_id)]


@pytest.mark.parametrize(
    ("tr_id", "symbol", "width"),
    [
        *((f"H0{venue}CNT0", SYMBOL, 47) for venue in ("ST", "NX", "UN")),
        *((f"H0{venue}ASP0", SYMBOL, 63) for venue in ("ST", "NX", "UN")),
        ("H0STANC0", SYMBOL, 46),
        ("H0STMKO0", SYMBOL, 10),
        ("H0STNAV0", ETF, 8),
    ],
)
def test_a_record_is_as_wide_as_its_kind(tr_id, symbol, width):
    records = Viewer().records(tr_id, symbol, at(9, 30))
    assert records
    assert {len(record) for record in records} == {width}
    assert {record[0] for record in records} == {symbol}


def test_records_have_the_configured_number_of_fields():
    viewer = Viewer(trade_fields=46, book_fields=59)
    assert {len(record) for record in viewer.records("H0STCNT0", SYMBOL, at(9, 30))} == {46}
    assert {len(record) for record in Viewer(book_fields=59).records("H0STASP0", SYMBOL, at(9, 30))} == {59}


def test_trades_and_books_state_their_session_in_the_field_that_was_appended_in_september_2026():
    assert {record[46] for record in Viewer().records("H0STCNT0", SYMBOL, at(9, 30))} == {"2"}
    assert {record[62] for record in Viewer().records("H0STASP0", SYMBOL, at(9, 30))} == {"2"}


def test_a_market_state_without_a_reason_says_null():
    halted = next(i.symbol for i in MARKET.instruments if i.suspended or MARKET.halts(i.symbol))
    texts = {record[2] for record in Viewer().records("H0STMKO0", halted, at(16))}
    assert "" not in texts
    assert "(null)" in {record[2] for record in Viewer().records("H0STMKO0", SYMBOL, at(16))}


def test_a_book_is_around_the_last_trade_on_the_grid_and_inside_the_limits():
    instrument = MARKET.instrument(SYMBOL)
    assert instrument is not None
    lowest, highest = price_limits(instrument.base_price)
    trades = Viewer().records("H0STCNT0", SYMBOL, at(16))
    books = Viewer().records("H0STASP0", SYMBOL, at(16))
    assert [book[1] for book in books] == [trade[1] for trade in trades]
    for trade, book in list(zip(trades, books, strict=True))[::20]:
        asks, bids = [int(text) for text in book[3:13] if text != "0"], [int(t) for t in book[13:23] if t != "0"]
        assert (book[3], book[13], book[23], book[33]) == (trade[10], trade[11], trade[36], trade[37])
        assert (book[43], book[44], book[53]) == (trade[38], trade[39], trade[13])
        assert all(low < high for low, high in pairwise(asks))
        assert all(high > low for high, low in pairwise(bids))
        assert not asks or not bids or bids[0] < asks[0]
        assert all(lowest <= price <= highest and price % tick_size(price) == 0 for price in (*asks, *bids))
        assert sum(map(int, book[23:33])) <= int(book[43])


def test_expected_prices_come_in_the_auctions_only_and_end_at_the_cross():
    records = Viewer().records("H0STANC0", SYMBOL, at(16))
    assert all("083000" <= r[1] < "090000" or "152000" <= r[1] < "153000" for r in records)
    opening = [record for record in records if record[1] < "090000"]
    tape = MARKET.tape(SYMBOL)
    assert (int(opening[-1][2]), int(opening[-1][12])) == (tape.price[0], tape.volume[0])
    assert (int(records[-1][2]), int(records[-1][12])) == (tape.price[-1], tape.volume[-1])


def test_the_market_state_changes_with_the_phases_and_with_halts():
    halted = next(i.symbol for i in MARKET.instruments if MARKET.halts(i.symbol))
    records = Viewer().records("H0STMKO0", halted, at(16))
    phases = [record[3] for record in records]
    assert list(dict.fromkeys(phases)) == ["110", "112", "121", "129"]
    assert len(records) >= 4 + len(MARKET.halts(halted))
    reasons = {halt.reason for halt in MARKET.halts(halted)}
    assert ("Y" in {record[1] for record in records}) == ("disclosure" in reasons)
    assert ("Y" in {record[8] for record in records}) == ("volatility" in reasons)


def test_a_disclosure_halt_is_reported_between_the_trades_by_a_record_of_no_volume():
    symbol, [halt] = next(
        (i.symbol, halts)
        for i in MARKET.instruments
        if (halts := [halt for halt in MARKET.halts(i.symbol) if halt.reason == "disclosure"])
    )
    viewer, tape = Viewer(), MARKET.tape(symbol)
    records = viewer.records("H0STCNT0", symbol, at(16))
    [index] = [index for index, record in enumerate(records) if record[35] == "Y"]
    notice, before = records[index], records[index - 1]
    assert index == tape.count_until(halt.start_ns)
    assert (notice[1], notice[12]) == (local_datetime(halt.start_ns).strftime("%H%M%S"), "0")
    assert {number for number, pair in enumerate(zip(notice, before, strict=True)) if pair[0] != pair[1]} == {1, 12, 35}
    trades = [record for record in records if record[12] != "0"]
    assert [int(record[13]) for record in trades] == list(tape.volume_after)
    assert viewer.counters.trades_by_symbol == {symbol: len(tape)}


def test_a_nav_is_near_the_price_and_inside_its_own_range():
    records = Viewer().records("H0STNAV0", ETF, at(15, 30))
    for record in records[::100]:
        nav, low, high = float(record[1]), float(record[7]), float(record[6])
        assert low <= nav <= high
    state = MARKET.state_at(ETF, at(15, 30))
    assert float(records[-1][1]) == pytest.approx(state.price, rel=0.01)


def test_a_share_has_no_nav():
    assert Viewer().records("H0STNAV0", SYMBOL, at(16)) == []


def test_trades_and_quotes_of_a_symbol_count_as_two_registrations():
    viewer = Viewer(limit=2)
    codes = [viewer.register(tr_id, SYMBOL) for tr_id in ("H0STCNT0", "H0STASP0", "H0STANC0")]
    assert codes == ["OPSP0000", "OPSP0000", "OPSP0008"]


def test_captured_frames_are_sent_once_unchanged_to_a_client_that_registers_them():
    viewer = Viewer(json.dumps({"id": "one", "raw": CAPTURED_TRADE}) + "\n" + json.dumps({"raw": '{"header":{}}'}))
    assert viewer.ask("H0STCNT0", "005930").captured == (CAPTURED_TRADE,)
    assert viewer.register("H0STCNT0", "005930") == "OPSP0002"
    assert viewer.session.due(at(8)) == ()
    assert viewer.register("HDFSCNT0", "DNASAAPL") == "OPSP8991"


def test_a_captured_line_that_is_no_frame_is_reported_with_its_number():
    with pytest.raises(ValueError, match="line 2"):
        captured_frames(b'{"raw": "0|H0STCNT0|001|a^b"}\nno json\n')
