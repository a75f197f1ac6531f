"""Which symbols with a slot are queried for a halt after a sweep."""

import asyncio

import msgspec

from observer.base.clock import ManualClock
from observer.base.errors import ProviderError
from observer.collection.halt_poller import HALTS_UNKNOWN, HaltPoller
from observer.monitoring.alerts.process import Alerts
from observer.selection.market_stops import MarketStops
from tests.selection.builders import member, seen, state
from tests.waiting import until_async

STILL, OTHER = "005930", "000660"
AT_NXT = "035720.NXT"


def stops_of(**exchanges):
    """No stop; the lines are of KOSPI but for these."""
    names = {STILL: "still", OTHER: "other", AT_NXT: "at_nxt", "035720": "third"}
    return MarketStops(
        {symbol: member(symbol, exchange=exchanges.get(name, "KOSPI")) for symbol, name in names.items()}
    )


class Desk:
    """A broker that calls these symbols halted, or does not answer. Satisfies `HaltSource`."""

    def __init__(self, *halted):
        self.halted = halted
        self.queried = []
        self.unanswered = set()

    async def is_halted(self, symbol):
        self.queried.append(symbol)
        if symbol in self.unanswered:
            raise ProviderError("down")
        return symbol in self.halted


def swept(number, **volumes):
    """The sweep of this number: volumes by the symbols' names above."""
    lines = {"still": (STILL, "KRX"), "other": (OTHER, "KRX"), "at_nxt": (AT_NXT, "NXT")}
    return [
        seen(line, volume, receive_time_ns=number * 10**9, venue=venue)
        for name, volume in volumes.items()
        for line, venue in [lines[name]]
    ]


def quiet_alerts():
    return Alerts(ManualClock(10**9), "track-b", lambda *_: None)


def queried(held, *sweeps, expected, stops=None):
    """The symbols queried after the sweeps while one is halted, and what was reported of them."""
    desk, reported = Desk(STILL), []

    async def run():
        poller = HaltPoller("kis", desk, ManualClock(10**9), reported.extend, quiet_alerts())
        for each in sweeps:
            poller.after_sweep(each, held, stops or stops_of())
        running = asyncio.create_task(poller.run())
        if expected:
            await until_async(lambda: len(reported) == expected)
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(run())
    return desk.queried, reported


def test_a_symbol_that_stands_still_while_its_venue_trades_is_queried():
    before, after = swept(1, still=100, other=100), swept(2, still=100, other=101)
    symbols, [state] = queried([STILL, OTHER], before, after, expected=1)
    assert symbols == [STILL, OTHER], "the halted one, and a symbol that shows that its venue trades"
    assert (state.symbol, state.halted, state.venue) == (STILL, True, "KRX")


def test_no_symbol_is_queried_while_no_symbol_of_its_venue_trades():
    before, stopped = swept(1, still=100, other=100), swept(2, still=100, other=100)
    assert queried([STILL, OTHER], before, stopped, expected=0) == ([], [])


def test_after_a_stop_of_the_market_a_symbol_that_does_not_resume_is_queried():
    sweeps = [swept(1, still=100, other=100), swept(2, still=100, other=100), swept(3, still=100, other=150)]
    assert queried([STILL, OTHER], *sweeps, expected=1)[0] == [STILL, OTHER]


def test_each_venue_is_judged_by_its_own_symbols():
    before, after = swept(1, still=100, other=100, at_nxt=7), swept(2, still=100, other=100, at_nxt=8)
    assert queried([STILL, AT_NXT], before, after, expected=0) == ([], [])


def test_while_one_exchange_is_stopped_the_trades_of_the_other_lead_to_no_query():
    before, after = swept(1, still=100, other=100), swept(2, still=100, other=101)
    assert queried([STILL, OTHER], before, after, expected=0, stops=stops_of(other="KOSDAQ")) == ([], [])


def test_no_symbol_of_a_stopped_market_is_queried():
    stops = stops_of()
    stops.apply(msgspec.structs.replace(state(OTHER, halted=False), market_notice="breaker"))
    before, after = swept(1, still=100, other=100), swept(2, still=100, other=101)
    assert queried([STILL, OTHER], before, after, expected=0, stops=stops) == ([], [])


def test_an_answer_of_the_sweep_before_says_nothing():
    before = swept(1, still=100, other=100)
    assert queried([STILL, OTHER], before, [*swept(1, still=100), *swept(2, other=101)], expected=0) == ([], [])


def test_a_stop_of_the_market_that_begins_after_the_sweep_takes_no_slot_away():
    """The other symbol traded before the sweep, and is stopped by the time of the queries."""
    desk, reported = Desk(STILL, OTHER), []

    async def run():
        poller = HaltPoller("kis", desk, ManualClock(10**9), reported.extend, quiet_alerts())
        for each in (swept(1, still=100, other=100), swept(2, still=100, other=101)):
            poller.after_sweep(each, [STILL], stops_of())
        running = asyncio.create_task(poller.run())
        await until_async(lambda: len(desk.queried) == 2)
        assert reported == []
        desk.halted = (STILL,)  # the market goes on, and the symbol does not
        poller.after_sweep(swept(3, still=100, other=102), [STILL], stops_of())
        await until_async(lambda: reported)
        running.cancel()

    asyncio.run(run())
    assert [state.symbol for state in reported] == [STILL]


async def test_a_halt_that_the_broker_does_not_answer_for_is_an_alert_until_it_does():
    desk, alerts = Desk(), quiet_alerts()

    poller = HaltPoller("kis", desk, ManualClock(10**9), lambda _: None, alerts)
    poller.after_sweep(swept(1, still=100, other=100), [STILL], stops_of())
    poller.after_sweep(swept(2, still=100, other=101), [STILL], stops_of())
    desk.unanswered = {STILL}
    running = asyncio.create_task(poller.run())
    await until_async(lambda: HALTS_UNKNOWN in alerts.identities)
    desk.unanswered = set()
    poller.after_sweep(swept(3, still=100, other=102), [STILL], stops_of())
    await until_async(lambda: HALTS_UNKNOWN not in alerts.identities)
    running.cancel()


def test_the_answer_for_one_symbol_does_not_end_the_alert_of_another():
    desk, alerts = Desk(), quiet_alerts()
    desk.unanswered = {STILL}

    async def run():
        poller = HaltPoller("kis", desk, ManualClock(10**9), lambda _: None, alerts)
        poller.after_sweep(swept(1, still=100, at_nxt=100, other=100), [STILL, OTHER], stops_of())
        poller.after_sweep(
            [*swept(2, still=100, other=100), seen("035720", 2, venue="KRX")], [STILL, OTHER], stops_of()
        )
        poller.after_sweep(
            [*swept(3, still=100, other=100), seen("035720", 3, venue="KRX")], [STILL, OTHER], stops_of()
        )
        running = asyncio.create_task(poller.run())
        await until_async(lambda: desk.queried == [STILL, OTHER])
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(run())
    assert HALTS_UNKNOWN in alerts.identities
