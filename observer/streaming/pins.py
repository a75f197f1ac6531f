"""Places that a person gives and takes while a day is streamed."""

from collections.abc import Callable, Iterable

from bus.commands import Done, Refused
from bus.events import Event
from observer.clock import Clock
from observer.selection.selector import NotWished, Selector, Wished
from observer.streaming.keeping import SOURCE


class Pins:
    """Satisfies `workers.orders.SlotOrders`."""

    def __init__(
        self, selector: Selector, clock: Clock, carry_out: Callable[[Selector, Iterable[Event]], None]
    ) -> None:
        self._selector = selector
        self._clock = clock
        self._carry_out = carry_out

    def pin(self, symbol: str) -> Done | Refused:
        """Give the symbol a place until it is unpinned or the day's stream ends."""
        return self._answer(self._selector.pin(symbol, self._clock.now_ns()), f"{symbol} is pinned")

    def unpin(self, symbol: str) -> Done | Refused:
        """Free the symbol's place."""
        return self._answer(self._selector.unpin(symbol, self._clock.now_ns()), f"{symbol} is unpinned")

    def _answer(self, outcome: Wished | NotWished, what: str) -> Done | Refused:
        match outcome:
            case NotWished(code, reason):
                return Refused(code, reason)
            case Wished(slot, events):
                self._carry_out(self._selector, events)
                return Done(SOURCE, f"{what}: place {slot}" if events else f"{what} already: place {slot}")
