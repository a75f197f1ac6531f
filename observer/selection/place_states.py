"""The state of each place (requirement 004, Slot Lifecycle): who was given it, and what the broker acknowledged. Pure.

available -> allocated -> active -> releasing -> available
^           |
+-----------+  replacing
"""

from typing import Literal

from bus.events import Event, SelectionAdvanced, SlotAssigned, SlotReleased, WatchChanged

PlaceState = Literal["available", "allocated", "active", "releasing", "replacing"]
"""Nobody has it; somebody was given it, and the broker has not acknowledged the registration (or it was lost); the
broker has; nobody has it any more, and the last registration is not gone; somebody was given it, and that of the one
before is not gone.
"""


class PlaceStates:
    """Takes in a day's events in their order. `holders` are the assignments that stand, by place."""

    def __init__(self) -> None:
        self.holders: dict[str, SlotAssigned] = {}
        self._registered: dict[str, str] = {}  # by symbol: the place by which it is registered

    def see(self, event: Event) -> None:
        """The next event of the day."""
        match event:
            case SelectionAdvanced(step="began"):  # a process knows no registrations of the one before it
                self._registered.clear()
            case SlotAssigned():
                self.holders[event.slot] = event
            case SlotReleased():
                self.holders.pop(event.slot, None)
            case WatchChanged(step="started"):
                held = {holder.symbol: slot for slot, holder in self.holders.items()}
                if event.symbol in held:
                    self._registered[event.symbol] = held[event.symbol]
            case WatchChanged(step="interrupted" | "stopped"):
                self._registered.pop(event.symbol, None)

    def of(self, slot: str) -> PlaceState:
        """The state of a place after all that was seen."""
        holder = self.holders.get(slot)
        if holder is not None and self._registered.get(holder.symbol) == slot:
            return "active"
        if slot in self._registered.values():
            return "releasing" if holder is None else "replacing"
        return "available" if holder is None else "allocated"
