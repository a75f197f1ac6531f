"""What the planner learns of stored snapshots and slots: volumes that Track B has evaluated. Pure.

A slot claims its line from its assignment until `SETTLED_NS` after its release, when every streamed trade is stored.
Volumes from before the assignment are learned, those within it are not; the pre-roll begins with them. Track B may not
have seen one from just before it: it counts when a sweep's evaluation says so, or `SETTLED_NS` before the assignment.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bus.events import SlotAssigned, SlotReleased, Snapshot, VolumeRise
from observer.tape.planner import TapePlanner
from observer.units import NS_PER_S

SETTLED_NS: Final = 30 * NS_PER_S
_OPEN_NS: Final = 2**63 - 1


class Claim(msgspec.Struct):
    """A time in which a line's trades come over the stream; moments in ns."""

    from_ns: int
    to_ns: int = _OPEN_NS


def claims_of(changes: Iterable[object]) -> dict[str, list[Claim]]:
    """The claims of each line, oldest first, from a day's slot events in order."""
    found: dict[str, list[Claim]] = {}
    for change in changes:
        match change:
            case SlotAssigned():
                found.setdefault(change.symbol, []).append(Claim(change.assigned_ns))
            case SlotReleased() if found.get(change.symbol):
                found[change.symbol][-1].to_ns = change.released_ns + SETTLED_NS
    return found


class Learning:
    """Feeds a planner with the day's stored volumes; `lines` are the covered venues, none for all."""

    def __init__(self, planner: TapePlanner, lines: Sequence[str], preroll_s: float, started_ns: int) -> None:
        self._planner = planner
        self._venues = frozenset(lines)
        self._preroll_s = preroll_s
        self._since_ns = started_ns - round(preroll_s * NS_PER_S)
        self._begun: dict[str, int] = {}  # by line, the assignment whose pre-roll was asked
        self.read_until_ns = 0
        self.last: dict[str, float] = {}  # by line, its last volume, evaluated or not

    def learn(
        self, volumes: Iterable[Snapshot | VolumeRise], claims: dict[str, list[Claim]], evaluated_ns: int, now_ns: int
    ) -> None:
        """Take in volumes received since `read_until_ns`, oldest first; those after `evaluated_ns` count only where a
        later assignment shows that they were evaluated.
        """
        for symbol in claims:
            if self._covers(symbol, None):
                self._planner.chain(symbol).is_streamed = True
        for each in volumes:
            spans = claims.get(each.symbol, ())
            at_ns = each.receive_time_ns
            is_evaluated = at_ns <= evaluated_ns or any(at_ns <= span.from_ns - SETTLED_NS for span in spans)
            is_within = any(span.from_ns < at_ns <= span.to_ns for span in spans)
            if not self._covers(each.symbol, each.venue):
                continue
            self.last[each.symbol] = each.cumulative_volume
            if spans:  # the planner may not have known the line above
                self._planner.chain(each.symbol).is_streamed = True
            if is_evaluated and not is_within:
                value = each.cumulative_value if isinstance(each, Snapshot) else 0.0
                self._planner.learn(each.symbol, each.cumulative_volume, at_ns // NS_PER_S, value)
        self.read_until_ns = max(self.read_until_ns, evaluated_ns + 1 if evaluated_ns < now_ns else now_ns)
        self._begin_prerolls(claims, now_ns)

    def _begin_prerolls(self, claims: dict[str, list[Claim]], now_ns: int) -> None:
        for symbol, spans in claims.items():
            last = spans[-1]
            is_live = last.from_ns <= now_ns < last.to_ns and last.from_ns >= self._since_ns
            if is_live and self._begun.get(symbol) != last.from_ns and self._covers(symbol, None):
                self._begun[symbol] = last.from_ns
                self._planner.first(symbol, last.from_ns // NS_PER_S - round(self._preroll_s))

    def _covers(self, symbol: str, venue: str | None) -> bool:
        if not self._venues:
            return True
        return symbol in self._planner.chains if venue is None else venue in self._venues
