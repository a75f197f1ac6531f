"""What the planner learns from stored snapshots and slots: volumes that Track B has evaluated. Pure.

A *claim* is a time in which the stream carries a line's trades: from the assignment of a slot until the line has no
slot and Track B no longer watches it. The watch can end minutes after the slot's release, as the broker allows few
changes of subscriptions a minute. Track B publishes in one order, and a new process of Track B begins when all events
of the process before it are stored. So whoever has read the end of a claim finds every trade of the claim in the
database, however late the trade came there.

The planner learns volumes from before a claim and none from within it; the pre-roll begins with them. Track B may have
missed a volume just before a claim. Such a volume counts when a sweep's evaluation confirms it, or when it is
`UNSTREAMED_NS` older than the claim.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bus.events import (
    SlotAssigned,
    SlotReleased,
    Snapshot,
    VolumeRise,
    WatchChanged,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.base.units import NS_PER_S
from observer.collection.tape.planner import TapePlanner

UNSTREAMED_NS: Final = 30 * NS_PER_S
"""No broker streams a trade to a subscription that it got so long after the trade."""

Change = SlotAssigned | SlotReleased | WatchChanged
"""An event of Track B that begins or ends the streaming of a line."""

_OPEN_NS: Final = 2**63 - 1


class Claim(msgspec.Struct):
    """A time in which a line's trades come over the stream; moments in ns."""

    from_ns: int
    to_ns: int = _OPEN_NS


class _Line:
    """The slots and claims of a line, oldest first, and whether Track B watches the line."""

    def __init__(self) -> None:
        self.slots: set[str] = set()
        self.is_watched = False
        self.claims: list[Claim] = []

    def change(self, event: Change, at_ns: int) -> None:
        """Apply an event of the line."""
        match event:
            case SlotAssigned():
                self.slots.add(event.slot)
            case SlotReleased():
                self.slots.discard(event.slot)
            case WatchChanged(change=WatchStarted()):
                self.is_watched = True
            case WatchChanged(change=WatchStopped() | WatchSettled()):
                self.is_watched = False
        self.note(at_ns)

    def note(self, at_ns: int) -> None:
        """Begin or end a claim, as slots and watch are now."""
        is_open = bool(self.claims) and self.claims[-1].to_ns == _OPEN_NS
        if self.slots or self.is_watched:
            if not is_open:
                self.claims.append(Claim(at_ns))
        elif is_open:
            self.claims[-1].to_ns = at_ns


def claims_of(changes: Iterable[tuple[int, Change]], closed_ns: int | None = None) -> dict[str, list[Claim]]:
    """Return the claims of each line, oldest first, from a day's events of Track B. Each event comes with the number of
    its process's event stream. `closed_ns` is the time at which Track B closed the day's slots; None: not closed.

    The disk can refuse an event. So a slot's next assignment ends the slot's earlier one, a new process ends the
    watches of the process before it, and the closed day ends everything.
    """
    lines: dict[str, _Line] = {}
    holders: dict[str, _Line] = {}  # by slot
    stream: int | None = None
    for of_stream, event in changes:
        at_ns = _moment_of(event)
        if of_stream != stream:
            stream = of_stream
            for each in lines.values():
                each.is_watched = False
                each.note(at_ns)
        line = lines.setdefault(event.symbol, _Line())
        if isinstance(event, SlotAssigned):
            holder = holders.get(event.slot, line)
            holder.slots.discard(event.slot)
            if holder is not line:
                holder.note(at_ns)
            holders[event.slot] = line
        line.change(event, at_ns)
    if closed_ns is not None:
        for line in lines.values():
            line.slots.clear()
            line.is_watched = False
            line.note(closed_ns)
    return {symbol: line.claims for symbol, line in lines.items() if line.claims}


def _moment_of(event: Change) -> int:
    match event:
        case SlotAssigned():
            return event.assigned_ns
        case SlotReleased():
            return event.released_ns
        case WatchChanged():
            return event.changed_ns


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
        self.last_ns: dict[str, int] = {}  # by line, when it was received

    @property
    def last_s(self) -> int:
        """The second of the newest volume; 0 without a volume."""
        return max(self.last_ns.values(), default=0) // NS_PER_S

    def learn(
        self, volumes: Iterable[Snapshot | VolumeRise], claims: dict[str, list[Claim]], evaluated_ns: int, now_ns: int
    ) -> None:
        """Take in volumes received since `read_until_ns`, oldest first; those after `evaluated_ns` count only where a
        later claim shows that no stream brings them.
        """
        for symbol in claims:
            if self._covers(symbol, None):
                self._planner.chain(symbol).is_streamed = True
        for each in volumes:
            spans = claims.get(each.symbol, ())
            at_ns = each.receive_time_ns
            is_settled = at_ns <= evaluated_ns or any(at_ns <= span.from_ns - UNSTREAMED_NS for span in spans)
            is_within = any(span.from_ns < at_ns <= span.to_ns for span in spans)
            if not self._covers(each.symbol, each.venue):
                continue
            self.last[each.symbol], self.last_ns[each.symbol] = each.cumulative_volume, at_ns
            if spans:  # the planner may not have known the line above
                self._planner.chain(each.symbol).is_streamed = True
            if is_settled and not is_within:
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
