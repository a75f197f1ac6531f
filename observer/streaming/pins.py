"""Places that a person gives and takes while a day is streamed."""

from collections.abc import Callable, Sequence
from typing import Protocol

from bus.commands import Done, Refused
from bus.events import Event, SelectionStep
from observer.selection.selector import Selector
from observer.selection.wishes import WAITING, NotWished, Wished
from observer.streaming.keeping import SOURCE


class CarryOut(Protocol):
    """Publishes what was decided in a step, and does it."""

    def __call__(
        self, selector: Selector, step: SelectionStep, now_ns: int, events: Sequence[Event], *, symbol: str, detail: str
    ) -> None:
        """The step is about `symbol`."""


class Pins:
    """Satisfies `workers.orders.SlotOrders`. `moment` is the one of a decision: until then all was seen."""

    def __init__(self, selector: Selector, moment: Callable[[], int], carry_out: CarryOut) -> None:
        self._selector = selector
        self._moment = moment
        self._carry_out = carry_out

    def pin(self, symbol: str) -> Done | Refused:
        """Give the symbol a place, now or as soon as it may hold one, until it is unpinned."""
        now_ns = self._moment()
        return self._answer(self._selector.pin(symbol, now_ns), "pinned", symbol, now_ns)

    def unpin(self, symbol: str) -> Done | Refused:
        """Take the wish back, and the place that the symbol has by it."""
        now_ns = self._moment()
        return self._answer(self._selector.unpin(symbol, now_ns), "unpinned", symbol, now_ns)

    def _answer(self, outcome: Wished | NotWished, step: SelectionStep, symbol: str, now_ns: int) -> Done | Refused:
        if isinstance(outcome, Wished) or outcome.events:
            events, detail = outcome.events, outcome.detail
            self._carry_out(self._selector, step, now_ns, events, symbol=symbol, detail=detail)
        if isinstance(outcome, NotWished):
            return Refused(outcome.code, outcome.reason)
        what = f"{symbol} is {step}" if outcome.is_news else f"{symbol} is {step} already"
        if outcome.slot is not None:
            return Done(SOURCE, f"{what}: place {outcome.slot}")
        return Done(SOURCE, what if outcome.waits_for is None else f"{what}; {WAITING[outcome.waits_for]}")
