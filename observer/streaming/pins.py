"""Places that a person gives and takes while a day is streamed."""

from collections.abc import Sequence
from typing import Protocol

from bus.commands import Done, Refused
from bus.events import Event, SelectionStep
from observer.clock import Clock
from observer.selection.selector import NotWished, Selector, Wished
from observer.streaming.keeping import SOURCE


class CarryOut(Protocol):
    """Publishes what was decided in a step, and does it."""

    def __call__(
        self, selector: Selector, step: SelectionStep, now_ns: int, events: Sequence[Event], *, symbol: str
    ) -> None:
        """The step is about `symbol`."""


class Pins:
    """Satisfies `workers.orders.SlotOrders`."""

    def __init__(self, selector: Selector, clock: Clock, carry_out: CarryOut) -> None:
        self._selector = selector
        self._clock = clock
        self._carry_out = carry_out

    def pin(self, symbol: str) -> Done | Refused:
        """Give the symbol a place until it is unpinned or the day's stream ends."""
        now_ns = self._clock.now_ns()
        return self._answer(self._selector.pin(symbol, now_ns), "pinned", symbol, now_ns)

    def unpin(self, symbol: str) -> Done | Refused:
        """Free the symbol's place."""
        now_ns = self._clock.now_ns()
        return self._answer(self._selector.unpin(symbol, now_ns), "unpinned", symbol, now_ns)

    def _answer(self, outcome: Wished | NotWished, step: SelectionStep, symbol: str, now_ns: int) -> Done | Refused:
        match outcome:
            case NotWished(code, reason):
                return Refused(code, reason)
            case Wished(slot, events):
                self._carry_out(self._selector, step, now_ns, events, symbol=symbol)
                what = f"{symbol} is {step}" if events else f"{symbol} is {step} already"
                return Done(SOURCE, f"{what}: place {slot}")
