"""A stop of a whole market: when it runs, and that it takes no slot away."""

import msgspec
import pytest

from observer.base.units import NS_PER_S
from observer.selection.market_state import MarketState
from observer.selection.profile import EarlierDays
from observer.selection.settings import TriggersSettings
from tests.selection.builders import member, state, swept

KOSPI, OTHER, KOSDAQ, AT_NXT = "005930", "000660", "247540", "005930.NXT"
EXCHANGES = {KOSPI: "KOSPI", OTHER: "KOSPI", KOSDAQ: "KOSDAQ", AT_NXT: "KOSPI"}
MINUTE_NS = 60 * NS_PER_S


def market():
    members = [msgspec.structs.replace(member(symbol), exchange=exchange) for symbol, exchange in EXCHANGES.items()]
    return MarketState(members, TriggersSettings(), EarlierDays())


def report(made, notice, symbol=KOSPI, *, halted=False, at_ns=0):
    reported = state(symbol, halted=halted, reported_ns=at_ns)
    made.update_state(msgspec.structs.replace(reported, market_notice=notice, venue="KRX"))


def stopped(made):
    return {symbol for symbol in EXCHANGES if made.stops.is_stopped(symbol)}


@pytest.mark.parametrize("notice", ["halted", "breaker", "breaker_to_close"])
def test_a_stop_is_that_of_all_lines_of_one_exchange_at_one_venue(notice):
    made = market()
    report(made, notice)
    assert stopped(made) == {KOSPI, OTHER}
    assert [(stop.name, stop.notice) for stop in made.stops.running.values()] == [("KRX KOSPI", notice)]


@pytest.mark.parametrize("notice", ["sell_sidecar", "buy_sidecar", "open", "opening_auction", "closing_auction", None])
def test_any_other_notice_begins_no_stop(notice):
    made = market()
    report(made, notice)
    assert stopped(made) == set()


@pytest.mark.parametrize("notice", ["breaker_ended", "closing_auction", "closed"])
def test_a_stop_ends_with_its_notice_or_with_the_close(notice):
    made = market()
    report(made, "breaker")
    report(made, notice, OTHER)
    assert stopped(made) == set()


@pytest.mark.parametrize("notice", ["sell_sidecar_ended", "open", None])
def test_a_report_on_a_symbol_within_a_stop_does_not_end_it(notice):
    made = market()
    report(made, "breaker")
    report(made, notice, OTHER)
    assert stopped(made) == {KOSPI, OTHER}


def sweep(made, symbol, volume, *, at_ns):
    swept(made, symbol, volume, receive_time_ns=at_ns)


def test_a_stop_whose_end_was_not_received_ends_with_a_volume_that_grew_in_it():
    made = market()
    report(made, "breaker", at_ns=MINUTE_NS)
    sweep(made, OTHER, 100.0, at_ns=2 * MINUTE_NS)
    sweep(made, KOSDAQ, 100.0, at_ns=2 * MINUTE_NS)
    sweep(made, KOSDAQ, 900.0, at_ns=9 * MINUTE_NS)
    sweep(made, OTHER, 100.0, at_ns=9 * MINUTE_NS)
    assert stopped(made) == {KOSPI, OTHER}
    sweep(made, OTHER, 101.0, at_ns=10 * MINUTE_NS)
    assert stopped(made) == set()


def test_a_volume_that_grew_within_a_minute_of_the_begin_or_in_an_earlier_stop_ends_no_stop():
    made = market()
    report(made, "breaker", at_ns=MINUTE_NS)
    sweep(made, OTHER, 100.0, at_ns=2 * MINUTE_NS - 1)
    sweep(made, OTHER, 101.0, at_ns=3 * MINUTE_NS)
    report(made, "breaker_ended", at_ns=4 * MINUTE_NS)
    report(made, "breaker", at_ns=5 * MINUTE_NS)
    sweep(made, OTHER, 102.0, at_ns=7 * MINUTE_NS)
    assert stopped(made) == {KOSPI, OTHER}


def test_a_symbol_that_is_reported_as_halted_in_a_stop_of_its_market_keeps_its_slot():
    made = market()
    report(made, "breaker", halted=True)
    report(made, None, OTHER, halted=True)
    report(made, None, KOSDAQ, halted=True)
    assert dict(made.dropped) == {KOSDAQ: "halted"}


def test_a_symbol_that_was_halted_before_a_stop_stays_halted():
    made = market()
    report(made, None, OTHER, halted=True)
    report(made, "breaker", at_ns=MINUTE_NS)
    report(made, None, OTHER, halted=True, at_ns=MINUTE_NS)
    assert dict(made.dropped) == {OTHER: "halted"}


def test_a_halt_that_is_reported_just_before_a_stop_of_its_market_came_with_it():
    made = market()
    report(made, None, OTHER, halted=True, at_ns=MINUTE_NS)
    report(made, None, KOSDAQ, halted=True, at_ns=MINUTE_NS)
    report(made, "breaker", at_ns=2 * MINUTE_NS - 1)
    assert dict(made.dropped) == {KOSDAQ: "halted"}


def test_after_a_stop_a_halt_is_the_symbols_own():
    made = market()
    report(made, "breaker")
    report(made, "breaker_ended")
    report(made, None, OTHER, halted=True)
    assert dict(made.dropped) == {OTHER: "halted"}
