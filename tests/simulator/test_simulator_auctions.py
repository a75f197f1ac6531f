"""Expected prices in the stream of trades: what the wire shows of an auction and no client may take for a trade."""

from functools import cache
from itertools import groupby, pairwise

import pytest

from observer.simulator.faults import ScriptedStop
from observer.simulator.kis.simulator import market_of
from observer.simulator.kis.timelines import NoticedTrades, Timelines
from tests.simulator.simulator_client import at, settings

HOUR_CLASS = 43  # HOUR_CLS_CODE, the 44th field
BREAKER = ScriptedStop(at="11:00", for_s=1_800)


@cache
def market(stop=BREAKER):
    return market_of(settings(symbols=60, seed=1, trades_times=1.0, venues=("KRX", "NXT"), market_stops=(stop,)))


def records(tr_id, symbol, stop=BREAKER):
    made = Timelines(market(stop), trade_fields=47, book_fields=63, state_fields=10, expected_prices=True)
    timeline = made.of(tr_id, symbol)
    assert timeline is not None
    return [timeline.record(index).split("^") for index in range(timeline.count_until(at(20, 1)))]


def interrupted(view="KRX"):
    """A symbol with an interruption outside the stop that ends in a trade there."""
    shown = market().view(view)  # type: ignore[arg-type]  # one of its names
    return next(
        i.symbol
        for i in shown.instruments
        for halt in shown.halts(i.symbol)
        if halt.reason == "volatility"
        and not at(10, 50) < halt.end_ns < at(11, 31)
        and halt.end_ns in shown.tape(i.symbol).time_ns
    )


def test_the_codes_are_those_of_the_times_of_day():
    found = [(record[HOUR_CLASS], record[1]) for record in records("H0STCNT0", interrupted())]
    by_code = {code: [time for each, time in found if each == code] for code in dict(found)}
    assert set(by_code) == {"0", "A", "B", "C"}
    assert all("083000" <= time < "090000" for time in by_code["B"])
    assert all("152000" <= time < "153000" for time in by_code["A"])
    assert any("112000" <= time < "113000" for time in by_code["C"]), "the auction that ends the stop"
    assert any(not "110000" <= time < "113000" for time in by_code["C"]), "an interruption"
    assert not [time for _, time in found if "110000" <= time < "112000"], "before its auction a stop shows nothing"


@pytest.mark.parametrize(("tr_id", "view"), [("H0STCNT0", "KRX"), ("H0NXCNT0", "NXT")])
def test_without_the_expected_prices_the_records_are_the_trades_of_the_venue(tr_id, view):
    symbol = interrupted(view)
    dealt = [record for record in records(tr_id, symbol) if record[HOUR_CLASS] == "0" and record[12] != "0"]
    tape = market().view(view).tape(symbol)  # type: ignore[arg-type]  # one of its names
    assert [int(record[13]) for record in dealt] == list(tape.volume_after)


def test_the_last_expected_price_of_an_auction_is_what_is_dealt_at_its_end():
    of_day = records("H0STCNT0", interrupted())
    ends = [(one, after) for one, after in pairwise(of_day) if one[HOUR_CLASS] > after[HOUR_CLASS]]
    assert len(ends) >= 4
    assert {(one[2], one[12]) == (after[2], after[12]) for one, after in ends} == {True}


def test_expected_prices_count_as_no_trades():
    made = Timelines(market(), trade_fields=47, book_fields=63, state_fields=10, expected_prices=True)
    symbol = interrupted()
    timeline = made.of("H0STCNT0", symbol)
    assert isinstance(timeline, NoticedTrades)
    end = timeline.count_until(at(20, 1))
    dealt = [record for record in records("H0STCNT0", symbol) if record[HOUR_CLASS] == "0" and record[12] != "0"]
    assert end - timeline.notices(0, end) == len(dealt)


def test_a_stop_that_closes_the_market_is_the_end_of_both_venues_day():
    stop, symbol = ScriptedStop(at="14:00", closes=True), interrupted("NXT")
    for tr_id in ("H0STCNT0", "H0NXCNT0"):
        times = [record[1] for record in records(tr_id, symbol, stop)]
        assert times
        assert max(times) < "140000"
    for tr_id in ("H0STMKO0", "H0NXMKO0"):
        codes = [record[3] for record in records(tr_id, symbol, stop)]
        assert [code for code, _ in groupby(codes)][-2:] == ["182", "129"]


def test_a_stop_of_one_exchange_leaves_the_other_one_trading():
    of_kospi = market(ScriptedStop(at="11:00", for_s=1_800, exchanges=("KOSPI",)))
    within = {
        i.exchange
        for i in of_kospi.instruments
        if any(at(11) <= time_ns < at(11, 30) for time_ns in of_kospi.tape(i.symbol).time_ns)
    }
    assert within == {"KOSDAQ"}
