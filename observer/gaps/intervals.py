"""A symbol's streamed intervals of a day, their volume observations, and spans of cumulative volume. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bus.events import SlotAssigned, SlotReleased, StreamedTime
from observer.base.units import NS_PER_S

VolumeSpan = tuple[float, float]
"""A span of the day's cumulative volume: above the first value, up to the second."""

VOLUME_NOISE: Final = 1e-6
"""Rounding error of sums of fractional volumes (crypto), in shares; whole shares are exact in doubles."""


class UnheldRow(msgspec.Struct, frozen=True):
    """A row of conflated trades with the shares (`volume`) and executions (`trades`) that no stored trade of the line
    has; the prices and the volumes around it are those of all its trades, in (after_volume, upto_volume].
    """

    from_ns: int
    to_ns: int
    after_volume: float
    upto_volume: float
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int


def clipped(span: VolumeSpan, bounds: VolumeSpan) -> VolumeSpan | None:
    """The part of the span within the bounds; None if empty."""
    start, end = max(span[0], bounds[0]), min(span[1], bounds[1])
    return (start, end) if start < end else None


def total(spans: Iterable[VolumeSpan]) -> float:
    return sum(end - start for start, end in spans)


def without_noise(volume: float) -> float:
    """The volume; zero if it is within the rounding error of sums."""
    return 0.0 if abs(volume) <= VOLUME_NOISE else volume


def outside(span: VolumeSpan, spans: Iterable[VolumeSpan]) -> list[VolumeSpan]:
    """The parts of the span outside the disjoint, ordered `spans`."""
    found: list[VolumeSpan] = []
    start, end = span
    for other_start, other_end in spans:
        if start < min(other_start, end):
            found.append((start, min(other_start, end)))
        start = max(start, other_end)
    return [*found, (start, end)] if start < end else found


# Reasons of `observer.selection`.
_MOVED: Final = frozenset({"moved", "moved_home"})
_UNFINISHED: Final = "unfinished"


class VolumeObservation(msgspec.Struct, frozen=True):
    """A symbol's volume of the day from a source independent of the stream, received at this time.

    `began_ns`: the time of its request; None if unknown.
    """

    received_ns: int
    volume: float
    began_ns: int | None = None


class ObservedVolumes(msgspec.Struct, frozen=True):
    """Volume observations around an interval, independent of the stream; None where there is none.

    An observation is somewhat older than its receipt, so each bounds the volume from its safe side: `before` and `last`
    are the last ones received before the interval and in it (at least this much was traded until then); `first` is the
    first one requested after the subscription began, `after` one requested after the interval (at most this much was
    traded before its end).
    """

    before: float | None = None
    first: float | None = None
    last: float | None = None
    after: float | None = None


UNOBSERVED: Final = ObservedVolumes()


class Interval(msgspec.Struct, frozen=True):
    """An unbroken time of a symbol in the stream, [from, to] in UTC nanoseconds.

    `has_end`: the streaming process released the slot itself, or the day goes on. False: the process ended without a
    release (the machine was off, say), or a later process released the slot; only volume observations show the volume
    until the end.
    """

    from_ns: int
    to_ns: int
    observed: ObservedVolumes = UNOBSERVED
    has_end: bool = True


def intervals(
    changes: Iterable[SlotAssigned | SlotReleased], closes_ns: int, *, is_over: bool
) -> dict[str, list[Interval]]:
    """By symbol, the unbroken times with a slot; `changes` in the order of their decisions.

    A symbol that still has a slot streams until `closes_ns`, which is no proven end if the day is over. Assigning a
    slot to another symbol ends its holder's interval; a move to another account at the same moment continues it.
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
    """The total length, in market seconds."""
    return sum(interval.to_ns - interval.from_ns for interval in times) / NS_PER_S


def utilization(times: Iterable[StreamedTime], hours: Interval, slots: int) -> float | None:
    """The fraction of all slots' time from `hours.from_ns` to `hours.to_ns` in which the broker streamed a symbol."""
    offered_ns = slots * (hours.to_ns - hours.from_ns)
    used_ns = sum(max(0, min(each.to_ns, hours.to_ns) - max(each.from_ns, hours.from_ns)) for each in times)
    return used_ns / offered_ns if offered_ns else None


def with_observed(
    interval: Interval, received: Iterable[int], observations: Sequence[VolumeObservation], at_most: float | None
) -> Interval:
    """The interval with its volume observations.

    Args:
        interval: one of the day.
        received: times of the symbol's subscription acknowledgements; if none, from the interval's start.
        observations: of the day, in any order.
        at_most: the day's whole volume; None while unknown.
    """
    began_ns = min(
        (at_ns for at_ns in received if interval.from_ns <= at_ns <= interval.to_ns), default=interval.from_ns
    )
    in_order = sorted(observations, key=lambda observation: observation.received_ns)
    before = [observation.volume for observation in in_order if observation.received_ns <= interval.from_ns]
    within = [observation for observation in in_order if interval.from_ns < observation.received_ns <= interval.to_ns]
    first = [
        observation.volume
        for observation in within
        if observation.began_ns is not None and observation.began_ns >= began_ns
    ]
    after = [
        observation.volume
        for observation in in_order
        if observation.began_ns is not None and observation.began_ns >= interval.to_ns
    ]
    observed = ObservedVolumes(
        before[-1] if before else None,
        first[0] if first else None,
        within[-1].volume if within else None,
        after[0] if after else at_most,
    )
    return msgspec.structs.replace(interval, observed=observed)


def _begin(assigned: SlotAssigned, earlier: list[Interval]) -> int:
    """Start of the symbol's streamed time. A moved symbol continues the interval that ended at the same moment."""
    if assigned.reason in _MOVED and earlier and earlier[-1].to_ns == assigned.assigned_ns:
        return earlier.pop().from_ns
    return assigned.assigned_ns
