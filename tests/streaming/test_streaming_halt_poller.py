"""Which symbols with a slot are queried for a halt after a sweep."""

import asyncio

from bus.events import MarketStateChanged, Snapshot
from observer.clock import ManualClock
from observer.streaming.halt_poller import HaltPoller
from tests.selection.builders import seen
from tests.waiting import until_async

STILL, OTHER = "005930", "000660"
AT_NXT = "035720.NXT"


class Desk:
    """A broker that calls some symbols halted. Satisfies `HaltSource`."""

    def __init__(self, halted: set[str]) -> None:
        self.queried: list[str] = []
        self._halted = halted

    async def is_halted(self, symbol: str) -> bool:
        self.queried.append(symbol)
        return symbol in self._halted


def swept(number: int, **volumes: float) -> list[Snapshot]:
    """The sweep of this number: volumes by the symbols' names above."""
    lines = {"still": (STILL, "KRX"), "other": (OTHER, "KRX"), "at_nxt": (AT_NXT, "NXT")}
    return [
        seen(line, volume, receive_time_ns=number * 10**9, venue=venue)
        for name, volume in volumes.items()
        for line, venue in [lines[name]]
    ]


def queried(
    held: list[str], *sweeps: list[Snapshot], expected: int, halted: frozenset[str] = frozenset({STILL})
) -> tuple[list[str], list[MarketStateChanged]]:
    """The symbols queried after the sweeps, and what was reported of them."""
    desk, reported = Desk(set(halted)), list[MarketStateChanged]()

    async def run() -> None:
        poller = HaltPoller("kis", desk, ManualClock(10**9), reported.extend)
        for each in sweeps:
            poller.after_sweep(each, held)
        running = asyncio.create_task(poller.run())
        if expected:
            await until_async(lambda: len(reported) == expected)
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(run())
    return desk.queried, reported


def test_a_symbol_that_stands_still_while_its_venue_trades_is_queried() -> None:
    before, after = swept(1, still=100, other=100), swept(2, still=100, other=101)
    symbols, [state] = queried([STILL, OTHER], before, after, expected=1)
    assert symbols == [STILL, OTHER]
    assert (state.symbol, state.halted, state.venue) == (STILL, True, "KRX")


def test_no_symbol_is_queried_while_no_symbol_of_its_venue_trades() -> None:
    before, stopped = swept(1, still=100, other=100), swept(2, still=100, other=100)
    assert queried([STILL, OTHER], before, stopped, expected=0) == ([], [])


def test_after_a_stop_of_the_market_a_symbol_that_does_not_resume_is_queried() -> None:
    sweeps = [swept(1, still=100, other=100), swept(2, still=100, other=100), swept(3, still=100, other=150)]
    assert queried([STILL, OTHER], *sweeps, expected=1)[0] == [STILL, OTHER]


def test_a_symbol_is_not_reported_as_halted_if_the_one_that_traded_most_is_halted_too() -> None:
    before, after = swept(1, still=100, other=100), swept(2, still=100, other=150)  # a stop begins after that
    stopped = frozenset({STILL, OTHER})
    assert queried([STILL, OTHER], before, after, expected=0, halted=stopped) == ([STILL, OTHER], [])


def test_each_venue_is_judged_by_its_own_symbols() -> None:
    before, after = swept(1, still=100, other=100, at_nxt=7), swept(2, still=100, other=100, at_nxt=8)
    assert queried([STILL, AT_NXT], before, after, expected=0) == ([], [])


def test_an_answer_of_the_sweep_before_says_nothing() -> None:
    before = swept(1, still=100, other=100)
    assert queried([STILL, OTHER], before, [*swept(1, still=100), *swept(2, other=101)], expected=0) == ([], [])
