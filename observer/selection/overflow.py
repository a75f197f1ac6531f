"""How often symbols that deserve a place find none, over an hour. Requirement 004, Overflow Monitoring. Pure.

The requirement does not say what the rate is of. Here it is the share of *symbols* that wanted a place in the hour and
had to do without: refused in that hour or waiting still, not given one in that hour, and holding none now. Those who
hold one wanted it too, however long ago it was given. Who merely fills what is free wants none. Refusals are not
counted: a claim that lasts is refused once.
"""

from collections.abc import Collection, Iterable
from typing import Final, Literal

import msgspec

from bus.events import AlertRaised, Event, Severity, SlotAssigned, SlotOverflowed, SlotReleased
from observer.selection.ranking import FILLER
from observer.selection.settings import SlotSettings

Level = Literal["normal", "warning", "alert", "urgent"]

WINDOW_NS: Final = 3600 * 1_000_000_000

SYMBOLS_MIN: Final = 20
"""Of fewer symbols in the hour no rate is told: one of three is 33 %."""

LEFT_BELOW: Final = 0.8
"""A level is left below this part of the rate at which it begins; a rate that stays around it is told once."""

_RISING: Final[tuple[Level, ...]] = ("normal", "warning", "alert", "urgent")
# The requirement's table: a line in the log, a notice, an urgent review.
_SEVERITIES: Final[dict[Level, Severity]] = {
    "normal": "info",
    "warning": "info",
    "alert": "warning",
    "urgent": "critical",
}


class OverflowRates(msgspec.Struct, frozen=True, kw_only=True):
    """Above which rates the levels begin; the requirement's by default."""

    warning: float = 0.05
    alert: float = 0.10
    urgent: float = 0.20

    def begins_above(self, level: Level) -> float:
        """The rate above which a level begins; normal begins at nothing."""
        return {"normal": -1.0, "warning": self.warning, "alert": self.alert, "urgent": self.urgent}[level]


def rates_of(settings: SlotSettings) -> OverflowRates:
    """The requirement's levels around the alert's rate, which is configured: a warning never begins above an alert."""
    alert, usual = settings.overflow_alert_rate, OverflowRates()
    return OverflowRates(warning=min(usual.warning, alert), alert=alert, urgent=max(usual.urgent, alert))


def overflow_rate(
    changes: Iterable[SlotAssigned | SlotOverflowed], holding: Collection[str], waiting: Collection[str], now_ns: int
) -> float | None:
    """Of the symbols that wanted a place in the hour before `now_ns`, the share that had none; None for too few.

    `changes` are of that hour and perhaps of others; `holding` are those who have a place now, `waiting` who waits.
    """
    refused, given = set(waiting), set(holding)
    for change in changes:
        moment_ns = change.assigned_ns if isinstance(change, SlotAssigned) else change.overflowed_ns
        if now_ns - WINDOW_NS < moment_ns <= now_ns:
            (given if isinstance(change, SlotAssigned) else refused).add(change.symbol)
    wanted = refused | given
    return len(refused - given) / len(wanted) if len(wanted) >= SYMBOLS_MIN else None


def next_level(level: Level, rate: float | None, rates: OverflowRates) -> Level:
    """The level after `level` at this rate: the highest that begins below it, or the present one while the rate has
    not fallen clearly below its beginning. Without a rate there is nothing to say: normal.
    """
    if rate is None:
        return "normal"
    reached = [each for each in _RISING if rate > rates.begins_above(each)][-1]
    held = [each for each in _RISING if rate >= LEFT_BELOW * rates.begins_above(each)][-1]
    return max(reached, min(level, held, key=_RISING.index), key=_RISING.index)


def overflow_alert(before: Level, after: Level, rate: float | None, now_ns: int, source: str) -> AlertRaised | None:
    """What to tell when the level has changed; None while it has not."""
    if before == after:
        return None
    share = "too few symbols wanted a place to tell a rate" if rate is None else f"{rate:.1%} of the symbols found none"
    return AlertRaised(now_ns, _SEVERITIES[after], source, f"places of the stream, last hour: {after} ({share})")


class OverflowWatch:
    """What was decided of late, who holds which place, and the level that was told last. Of each symbol the last of
    each kind is enough.
    """

    def __init__(self, rates: OverflowRates, source: str) -> None:
        self._rates = rates
        self._source = source
        self._last: dict[tuple[str, bool], SlotAssigned | SlotOverflowed] = {}
        self._held: dict[str, SlotAssigned] = {}  # by place
        self._level: Level = "normal"

    def see(self, events: Iterable[Event]) -> None:
        """Take in what was decided about places, in order; other events are none of its business."""
        for event in events:
            match event:
                case SlotAssigned():
                    self._held[event.slot] = event
                    if event.trigger != FILLER:
                        self._last[event.symbol, True] = event
                case SlotReleased():
                    self._held.pop(event.slot, None)
                case SlotOverflowed():
                    self._last[event.symbol, False] = event

    def resume(self, events: Iterable[Event], now_ns: int) -> None:
        """Go on for an earlier process of this day, which has told what there was to tell."""
        self.see(events)
        self._level = next_level(self._level, self._rate(now_ns, ()), self._rates)

    def look(self, now_ns: int, waiting: Collection[str]) -> AlertRaised | None:
        """What to tell now that these wait; None while nothing has changed."""
        rate = self._rate(now_ns, waiting)
        before, self._level = self._level, next_level(self._level, rate, self._rates)
        return overflow_alert(before, self._level, rate, now_ns, self._source)

    def _rate(self, now_ns: int, waiting: Collection[str]) -> float | None:
        holding = {held.symbol for held in self._held.values() if held.trigger != FILLER}
        return overflow_rate(self._last.values(), holding, waiting, now_ns)
