"""When a symbol was in the stream on a day, and what others saw of its trading in that time. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bus.events import SlotAssigned, SlotReleased

NS_PER_S: Final = 1_000_000_000
# Reasons of `observer.selection`.
_MOVED: Final = frozenset({"moved", "moved_home"})
_UNFINISHED: Final = "unfinished"


class Look(msgspec.Struct, frozen=True):
    """A symbol's volume of the day as somebody saw it who does not depend on the stream, received at this time.

    `began_ns`: not before that was it asked for; None when that is not known.
    """

    received_ns: int
    volume: float
    began_ns: int | None = None


class Witness(msgspec.Struct, frozen=True):
    """The day's volume around an interval by who does not depend on the stream; None where nobody looked.

    A look is somewhat older than its receipt, so each is taken where it errs on the right side: `before` and `last` are
    the last ones received before the interval and in it (so much was traded until then at least); `first` is the first
    one that was asked for when the symbol was heard already, `after` one that was asked for after the interval (more
    was not traded before its end).
    """

    before: float | None = None
    first: float | None = None
    last: float | None = None
    after: float | None = None


ASKED: Final = "asked"
"""`WatchChanged.reason` of one that started: the broker told its volume when it was watched already: a look."""

NOBODY: Final = Witness()


class Interval(msgspec.Struct, frozen=True):
    """An unbroken time of a symbol in the stream, [from, to] in UTC nanoseconds.

    `has_end`: whoever streamed it was there to release its place, or the day goes on. Without it the day ended and
    nobody said a word, or only later: the machine was off, say, and what was traded until then others must tell.
    """

    from_ns: int
    to_ns: int
    witness: Witness = NOBODY
    has_end: bool = True


def intervals(
    changes: Iterable[SlotAssigned | SlotReleased], closes_ns: int, *, is_over: bool
) -> dict[str, list[Interval]]:
    """By symbol, the unbroken times in which it had a place; `changes` in the order in which they were decided.

    Whoever still has a place is in the stream until `closes_ns`, which is no end if the day is over. A place given to
    another symbol is lost to its holder; a move to another account at one moment breaks nothing.
    """
    holders: dict[str, str] = {}
    since_ns: dict[str, int] = {}
    found: dict[str, list[Interval]] = {}

    def leave(slot: str, symbol: str, at_ns: int, *, has_end: bool = True) -> None:
        del holders[slot]
        if symbol not in holders.values():
            found.setdefault(symbol, []).append(Interval(since_ns.pop(symbol), at_ns, has_end=has_end))

    for change in changes:
        holder = holders.get(change.slot)
        if isinstance(change, SlotReleased):
            if holder == change.symbol:
                leave(change.slot, change.symbol, change.released_ns, has_end=change.reason != _UNFINISHED)
            continue
        if holder not in (None, change.symbol):
            leave(change.slot, str(holder), change.assigned_ns)
        holders[change.slot] = change.symbol
        if change.symbol not in since_ns:
            since_ns[change.symbol] = _begin(change, found.get(change.symbol, []))
    for symbol, from_ns in since_ns.items():
        found.setdefault(symbol, []).append(Interval(from_ns, max(from_ns, closes_ns), has_end=not is_over))
    return found


def seconds_of(times: Iterable[Interval]) -> float:
    """How long that is in all, in market seconds."""
    return sum(interval.to_ns - interval.from_ns for interval in times) / NS_PER_S


def utilization(times: Iterable[Interval], hours: Interval, places: int) -> float | None:
    """Which part of the time of all places, from `hours.from_ns` to `hours.to_ns`, symbols were in them."""
    offered_ns = places * (hours.to_ns - hours.from_ns)
    used_ns = sum(max(0, min(each.to_ns, hours.to_ns) - max(each.from_ns, hours.from_ns)) for each in times)
    return used_ns / offered_ns if offered_ns else None


def witnessed(interval: Interval, heard: Iterable[int], looks: Sequence[Look], at_most: float | None) -> Interval:
    """The interval with its witness.

    Args:
        interval: one of the day.
        heard: when registrations of the symbol were acknowledged; without one in the interval it counts from its start.
        looks: of the day, in any order.
        at_most: the day's whole volume; None while nobody knows.
    """
    began_ns = min((at_ns for at_ns in heard if interval.from_ns <= at_ns <= interval.to_ns), default=interval.from_ns)
    in_order = sorted(looks, key=lambda look: look.received_ns)
    before = [look.volume for look in in_order if look.received_ns <= interval.from_ns]
    within = [look for look in in_order if interval.from_ns < look.received_ns <= interval.to_ns]
    first = [look.volume for look in within if look.began_ns is not None and look.began_ns >= began_ns]
    after = [look.volume for look in in_order if look.began_ns is not None and look.began_ns >= interval.to_ns]
    witness = Witness(
        before[-1] if before else None,
        first[0] if first else None,
        within[-1].volume if within else None,
        after[0] if after else at_most,
    )
    return msgspec.structs.replace(interval, witness=witness)


def _begin(assigned: SlotAssigned, earlier: list[Interval]) -> int:
    """Since when the symbol is in the stream: a move goes on with the interval that ended at the same moment."""
    if assigned.reason in _MOVED and earlier and earlier[-1].to_ns == assigned.assigned_ns:
        return earlier.pop().from_ns
    return assigned.assigned_ns
