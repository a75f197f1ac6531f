"""A stop of the whole market: no symbol is dealt in at either venue, and the wire says so."""

from functools import cache

import pytest

from observer.simulator.faults import ScriptedStop
from observer.simulator.kis.quotations import single_quote
from observer.simulator.kis.simulator import market_of
from observer.simulator.kis.timelines import Timelines
from observer.simulator.market.market import View
from tests.simulator.simulator_client import at, settings

BOTH = ("KRX", "NXT")
VIEWS: tuple[View, ...] = ("KRX", "NXT", "consolidated")
START_NS, END_NS = at(11), at(11, 30)


@cache
def market(*, stopped):
    stops = (ScriptedStop(at="11:00", for_s=1_800),) if stopped else ()
    return market_of(settings(symbols=60, trades_times=1.0, venues=BOTH, market_stops=stops))


def busiest():
    plain = market(stopped=False)
    nxt = plain.view("NXT")
    return max((i.symbol for i in nxt.instruments), key=lambda symbol: len(nxt.tape(symbol)))


def states(tr_id, symbol):
    timeline = Timelines(market(stopped=True), trade_fields=47, book_fields=63, state_fields=10).of(tr_id, symbol)
    assert timeline is not None
    return [timeline.record(index).split("^") for index in range(timeline.count_until(at(20)))]


@pytest.mark.parametrize("view", VIEWS)
def test_no_symbol_is_traded_in_a_stop_and_one_auction_ends_it(view):
    shown = market(stopped=True).view(view)
    resumed = 0
    for instrument in shown.instruments:
        tape = shown.tape(instrument.symbol)
        within = [moment_ns for moment_ns in tape.time_ns if START_NS <= moment_ns < END_NS]
        assert within == []
        resumed += END_NS in tape.time_ns
    assert resumed > len(shown.instruments) // 2


def test_without_a_stop_these_minutes_have_trades():
    plain, symbol = market(stopped=False), busiest()
    assert any(START_NS <= moment_ns < END_NS for moment_ns in plain.tape(symbol).time_ns)


def test_the_volume_of_a_day_with_a_stop_is_that_of_the_day_without_it():
    stopped, plain, symbol = market(stopped=True), market(stopped=False), busiest()
    assert stopped.tape(symbol).volume_after[-1] >= plain.tape(symbol).volume_after[-1] * 0.99
    assert stopped.state_at(symbol, START_NS - 1) == plain.state_at(symbol, START_NS - 1)


@pytest.mark.parametrize(("tr_id", "codes"), [("H0STMKO0", ["174", "175"]), ("H0NXMKO0", ["184", "185"])])
def test_the_market_state_of_each_venue_announces_the_stop_and_its_end(tr_id, codes):
    reported = [record[3] for record in states(tr_id, busiest())]
    begin = reported.index(codes[0])
    assert reported.index(codes[1]) > begin > reported.index("112")
    assert {record[1] for record in states(tr_id, busiest()) if record[3] == codes[0]} == {"N"}


def test_a_single_quote_says_that_dealing_is_stopped_for_now():
    query = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": busiest()}
    shown = [single_quote(market(stopped=True), now_ns, query)["output"] for now_ns in (START_NS - 1, START_NS, END_NS)]
    assert [quote["temp_stop_yn"] for quote in shown] == ["N", "Y", "N"]  # type: ignore[index]


@pytest.mark.parametrize(
    "stops",
    [[("08:59", 60)], [("09:00", 60)], [("15:10", 1_800)], [("11:00", 1_800), ("11:20", 60)], [("25:00", 60)]],
)
def test_a_stop_beyond_the_continuous_trading_or_in_another_one_is_refused(stops):
    scripted = tuple(ScriptedStop(at=begin, for_s=seconds) for begin, seconds in stops)
    with pytest.raises(ValueError, match="market_stops"):
        settings(market_stops=scripted)


def test_a_stop_on_an_exam_day_lies_in_its_own_hours():
    late = settings(opens_at="10:00", venues=BOTH, symbols=4, market_stops=(ScriptedStop(at="15:30", for_s=600),))
    day = market_of(late)
    assert all(
        not at(15, 30) <= moment_ns < at(15, 40) for i in day.instruments for moment_ns in day.tape(i.symbol).time_ns
    )
    with pytest.raises(ValueError, match="market_stops"):
        settings(opens_at="10:00", market_stops=(ScriptedStop(at="09:30"),))
