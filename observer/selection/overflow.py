"""Rate of symbols that want a slot and find none, over an hour. Pure (docs/requirement.md).

The requirement does not define the rate's denominator. Here it is the share of *symbols* that wanted a slot in the hour
and had none: refused in that hour or still waiting, not assigned one in that hour, and holding none now. Current
holders count as having wanted one, whenever it was assigned. Fillers of free slots do not count. Refusals are not
counted: a lasting claim is refused once.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

import msgspec

from bus.events import Event, Severity, SlotAssigned, SlotExtended, SlotOverflowed, SlotReleased
from observer.selection.allocation import FILLER
from observer.selection.settings import SlotSettings
from observer.selection.slot_projection import extended

Level = Literal["normal", "warning", "alert", "urgent"]

WINDOW_NS: Final = 3600 * 1_000_000_000

SYMBOLS_MIN: Final = 20
"""With fewer symbols in the hour no rate is reported: one of three is 33 %."""

LEFT_BELOW: Final = 0.8
"""A level ends below this part of the rate at which it begins; a rate around the limit is reported once."""

# The requirement's table, rising: a line in the log, a notice, an urgent review.
_SEVERITIES: Final[Mapping[Level, Severity | None]] = {
    "normal": None,
    "warning": "info",
    "alert": "warning",
    "urgent": "critical",
}
_RISING: Final = tuple(_SEVERITIES)


def rates_of(settings: SlotSettings) -> Mapping[Level, float]:
    """The rates above which the levels begin: the requirement's, around the configured one of an alert. A warning never
    begins above an alert.
    """
    alert = settings.overflow_alert_rate
    return {"normal": -1.0, "warning": min(0.05, alert), "alert": alert, "urgent": max(0.20, alert)}


def overflow_rate(
    changes: Iterable[SlotAssigned | SlotOverflowed], holding: Collection[str], waiting: Collection[str], now_ns: int
) -> float | None:
    """The share without a slot of the symbols that wanted one in the hour before `now_ns`; None for too few symbols.

    `changes` are of that hour and perhaps of others; `holding` are the current holders, `waiting` the waiting symbols.
    """
    refused, given = set(waiting), set(holding)
    for change in changes:
        moment_ns = change.assigned_ns if isinstance(change, SlotAssigned) else change.overflowed_ns
        if now_ns - WINDOW_NS < moment_ns <= now_ns:
            (given if isinstance(change, SlotAssigned) else refused).add(change.symbol)
    wanted = refused | given
    return len(refused - given) / len(wanted) if len(wanted) >= SYMBOLS_MIN else None


def next_level(level: Level, rate: float | None, rates: Mapping[Level, float]) -> Level:
    """The level after `level` at this rate: the highest that begins below it, or the current one while the rate is not
    clearly below its beginning. Without a rate: normal.
    """
    if rate is None:
        return "normal"
    reached = [each for each in _RISING if rate > rates[each]][-1]
    held = [each for each in _RISING if rate >= LEFT_BELOW * rates[each]][-1]
    return max(reached, min(level, held, key=_RISING.index), key=_RISING.index)


class OverflowLevel(msgspec.Struct, frozen=True):
    """A changed level in words, and the severity of its alert; None: back to normal."""

    severity: Severity | None
    text: str


class OverflowWatch:
    """The recent slot decisions, the holders by slot, and the last reported level. The last decision of each kind per
    symbol is enough.
    """

    def __init__(self, rates: Mapping[Level, float]) -> None:
        self._rates = rates
        self._last: dict[tuple[str, bool], SlotAssigned | SlotOverflowed] = {}
        self._held: dict[str, SlotAssigned] = {}  # by slot
        self.level: Level = "normal"
        """The level of the last check."""
        self.rate: float | None = None
        """The rate of the last check; None for too few symbols."""

    def apply(self, events: Iterable[Event]) -> None:
        """Apply slot decisions in order; other events are ignored."""
        for event in events:
            match event:
                case SlotAssigned():
                    self._hold(event)
                case SlotExtended() if (held := self._held.get(event.slot)) is not None:
                    self._hold(msgspec.structs.replace(extended(held, event), assigned_ns=event.extended_ns))
                case SlotReleased():
                    self._held.pop(event.slot, None)
                case SlotOverflowed():
                    self._last[event.symbol, False] = event

    def _hold(self, event: SlotAssigned) -> None:
        self._held[event.slot] = event
        if event.trigger != FILLER:
            self._last[event.symbol, True] = event

    def resume(self, events: Iterable[Event], now_ns: int) -> None:
        """Resume an earlier process of this day, which has reported its alerts."""
        self.apply(events)
        self.level = next_level(self.level, self._rate(now_ns, ()), self._rates)

    def check(self, now_ns: int, waiting: Collection[str]) -> OverflowLevel | None:
        """The level with the current waiting symbols; None if it is unchanged."""
        rate = self.rate = self._rate(now_ns, waiting)
        before, self.level = self.level, next_level(self.level, rate, self._rates)
        if before == self.level:
            return None
        share = "too few symbols wanted a slot for a rate" if rate is None else f"{rate:.1%} of the symbols found none"
        return OverflowLevel(_SEVERITIES[self.level], f"slots, last hour: level {self.level} ({share})")

    def _rate(self, now_ns: int, waiting: Collection[str]) -> float | None:
        holding = {held.symbol for held in self._held.values() if held.trigger != FILLER}
        return overflow_rate(self._last.values(), holding, waiting, now_ns)
