"""Pins and unpins symbols while a day is streamed."""

from collections.abc import Callable, Sequence

from bus.commands import Done, Refused
from bus.events import Event, Pinned, PinRefused, SelectionStep, Unpinned
from observer.base.local_time import local_datetime
from observer.collection.recorder import SOURCE
from observer.selection.pins import WAITING, PinRefusal, PinRequest
from observer.selection.selector import Selector


class Pins:
    """Satisfies `observer.system.process_orders.SlotOrders`. `moment` returns the time of a decision, after all earlier
    trades are applied; `carry_out` publishes the events of a decision and then its step, and carries it out.
    """

    def __init__(
        self,
        selector: Selector,
        moment: Callable[[], int],
        carry_out: Callable[[Selector, SelectionStep, int, Sequence[Event]], None],
    ) -> None:
        self._selector = selector
        self._moment = moment
        self._carry_out = carry_out

    def pin(self, symbol: str) -> Done | Refused:
        """Pin the symbol until it is unpinned: it gets a slot now, or as soon as a slot is allowed."""
        now_ns = self._moment()
        outcome = self._selector.pin(symbol, now_ns)
        if isinstance(outcome, PinRefusal):
            if outcome.events:
                self._carry_out(self._selector, PinRefused(symbol), now_ns, outcome.events)
            return Refused(outcome.code, outcome.reason)
        self._carry_out(self._selector, Pinned(symbol, outcome.waits_for, outcome.until_ns), now_ns, outcome.events)
        return _answer(f"{symbol} is pinned{_until(outcome.until_ns)}", outcome)

    def unpin(self, symbol: str) -> Done | Refused:
        now_ns = self._moment()
        outcome = self._selector.unpin(symbol, now_ns)
        if isinstance(outcome, PinRefusal):
            return Refused(outcome.code, outcome.reason)
        self._carry_out(self._selector, Unpinned(symbol), now_ns, outcome.events)
        freed = f"; its slot {outcome.slot} is free" if outcome.slot is not None else ""
        return Done(SOURCE, f"{symbol} is unpinned{freed}")


def _until(until_ns: int | None) -> str:
    return "" if until_ns is None else f" until {local_datetime(until_ns):%Y-%m-%d %H:%M:%S}"


def _answer(what: str, outcome: PinRequest) -> Done:
    what = what if outcome.is_news else f"{what} already"
    if outcome.slot is not None:
        return Done(SOURCE, f"{what}: slot {outcome.slot}")
    return Done(SOURCE, what if outcome.waits_for is None else f"{what}; {WAITING[outcome.waits_for]}")
