"""Which lane gets the next permit, and when. Pure arithmetic over one number: when the next slot is free.

Slots are evenly spaced, so never more than the limit fall into any second, wherever that second begins. *Urgent* calls
(a gap's few requests) reserve the next slot ahead of time. *Normal* and *bulk* calls take a slot only when it is free
now, so an urgent call never stands behind a sweep; bulk holds back a little longer, so that normal ones go first.

What it cannot do: if urgent calls alone use up the limit, the other lanes get nothing. And a call that starts late
after its reservation moves closer to the next one: the worst second then holds one more. The spacing therefore carries
a margin of 5 %: at 20 calls a second, 52.5 ms, and each call may start up to 50 ms late without a 21st in any second.
"""

from math import ceil
from typing import Final, Literal

import msgspec

_NS_PER_S: Final = 1_000_000_000
_MARGIN: Final = 1.05
_COURTESY: Final = 0.1  # of the spacing: what bulk waits longer than normal
# Nobody reserves further ahead. A number beyond is left over from another clock (a scaled day, a clock set back).
HORIZON_NS: Final = 60 * _NS_PER_S

Lane = Literal["urgent", "normal", "bulk"]


class Granted(msgspec.Struct, frozen=True):
    """One call may be sent at `at_ns` (now or a little later); `next_free_ns` is the new state."""

    at_ns: int
    next_free_ns: int


class Wait(msgspec.Struct, frozen=True):
    """Nothing was reserved; ask again at `until_ns`."""

    until_ns: int


def spacing_ns(calls_per_second: float) -> int:
    """The distance between two slots, margin included.

    Raises:
        ValueError: not a positive rate.
    """
    if not calls_per_second > 0:
        raise ValueError(f"{calls_per_second} calls a second")
    return ceil(_NS_PER_S * _MARGIN / calls_per_second)


def decide(next_free_ns: int, now_ns: int, lane: Lane, spacing: int) -> Granted | Wait:
    """A permit or a moment to ask again. `spacing` in ns; the state is `next_free_ns`, 0 at first."""
    free_ns = next_free_ns if next_free_ns <= now_ns + HORIZON_NS + spacing else now_ns
    slot_ns = max(free_ns, now_ns)
    if lane == "urgent":
        if slot_ns > now_ns + HORIZON_NS:
            return Wait(slot_ns - HORIZON_NS)
        return Granted(slot_ns, slot_ns + spacing)
    ready_ns = free_ns + (round(spacing * _COURTESY) if lane == "bulk" else 0)
    return Granted(now_ns, now_ns + spacing) if ready_ns <= now_ns else Wait(ready_ns)


def after_late_start(next_free_ns: int, now_ns: int, spacing: int) -> int:
    """The state after a reserved call starts only now: whoever has not reserved yet keeps the full distance to it."""
    return max(next_free_ns, now_ns + spacing)


def after_penalty(next_free_ns: int, now_ns: int, pause_ns: int) -> int:
    """The state after the broker said "too many": no new slot before the pause is over."""
    return max(next_free_ns, now_ns + min(pause_ns, HORIZON_NS))
