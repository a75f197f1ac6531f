"""Halts in trade records: one event for each change, and no trade lost or invented."""

from hypothesis import given
from hypothesis import strategies as st

from bus.events import MarketStateChanged
from observer.brokers.dialect import Data
from observer.brokers.kis.frames import parse_trades
from observer.brokers.kis.session import KisSession
from tests.brokers.kis_builders import frame, reply
from tests.brokers.kis_records import fields_of

NOW_NS = 1_795_136_401_000_000_000  # 2026-11-20 10:00:01 KST


def reported(flag, symbol="005930", volume="10"):
    return fields_of("H0STCNT0", MKSC_SHRN_ISCD=symbol, TRHT_YN=flag, CNTG_VOL=volume)


def received(session, *records):
    return session.parse(Data(frame(*records).encode()), NOW_NS)


def states(parsed):
    return [(fact.symbol, fact.halted) for fact in parsed.facts if isinstance(fact, MarketStateChanged)]


def test_a_trade_with_the_halt_flag_yields_a_trade_and_a_market_state():
    parsed = received(KisSession("key"), reported("Y"))
    state = MarketStateChanged("kis", "005930", NOW_NS, True, "", "", "", "", "", "", "", "", "KRX")
    assert (len(parsed.trades), parsed.facts, parsed.broken) == (1, [state], None)


def test_a_record_without_volume_and_with_the_halt_flag_is_neither_a_trade_nor_an_error():
    parsed = received(KisSession("key"), reported("Y", volume="0"))
    assert (parsed.trades, states(parsed), parsed.broken) == ((), [("005930", True)], None)


def test_the_trades_beside_a_record_of_no_volume_are_kept():
    parsed = received(KisSession("key"), reported("N", "000660"), reported("Y", volume="0"), reported("N", "035720"))
    assert [trade.symbol for trade in parsed.trades] == ["000660", "035720"]
    assert states(parsed) == [("005930", True)]


def test_a_repeated_halt_flag_yields_no_second_market_state():
    session = KisSession("key")
    assert [states(received(session, reported(flag))) for flag in "NYYNN"] == [
        [],
        [("005930", True)],
        [],
        [("005930", False)],
        [],
    ]


def test_a_trade_does_not_repeat_the_halt_that_a_market_state_reported():
    session = KisSession("key")
    halted = frame(fields_of("H0STMKO0", trht_yn="Y"), transaction="H0STMKO0")
    assert states(session.parse(Data(halted.encode()), NOW_NS)) == [("005930", True)]
    assert states(received(session, reported("Y"))) == []
    assert states(received(session, reported("N"))) == [("005930", False)]


def test_a_new_subscription_forgets_the_halt_state_of_its_symbol():
    session = KisSession("key")
    received(session, reported("Y"))
    session.read(reply("OPSP0001"))
    assert states(received(session, reported("Y"))) == [("005930", True)]


def test_a_record_of_no_volume_without_the_flag_is_quarantined_as_it_came():
    text = frame(reported("N", volume="0"), reported("Y", "000660"))
    parsed = KisSession("key").parse(Data(text.encode()), NOW_NS)
    assert parsed.broken is not None
    assert parsed.broken.content == text.encode()


RECORDS = st.lists(st.tuples(st.sampled_from("YN"), st.sampled_from(["000660", "0004Y0"])), min_size=1, max_size=4)


@given(st.lists(RECORDS, max_size=8))
def test_the_facts_are_the_changes_of_each_symbols_flag_from_frame_to_frame(
    frames,
):
    session, halted, facts, expected = KisSession("key"), set[str](), [], []
    for records in frames:
        parsed = received(session, *(reported(flag, symbol) for flag, symbol in records))
        assert parsed.trades == parse_trades(frame(*(reported(*each) for each in records)), NOW_NS)[0]
        facts += states(parsed)
        last = {symbol: flag == "Y" for flag, symbol in records}
        expected += [(symbol, is_halted) for symbol, is_halted in last.items() if is_halted != (symbol in halted)]
        halted = {symbol for symbol in halted | set(last) if last.get(symbol, True)}
    assert facts == expected
