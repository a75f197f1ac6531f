"""When a process that ended is started again: exponential back-off with jitter, and an intensity that ends it.

Pure: machine time comes in as seconds, chance as a seeded generator, and the decision goes out as a value. The window
of the intensity counts every end, however short the life before it (supervisord forgets those that lived a second, and
starts such a program for ever); only the delay is reset by a stable life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from random import Random


class RestartLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How patiently a process is started again. Spans are seconds of machine time.

    With the defaults a process that ends at once is tried after 0.1, 0.2, 0.4 ... seconds and given up at its ninth
    end, some 25 s after the first: the sum of the delays must stay below `window_s`, or the intensity is never reached.
    """

    delay_first_s: float = 0.1
    delay_max_s: float = 30.0
    delay_factor: float = 2.0
    jitter: float = 0.2
    """The share of a delay that chance may take off, so that processes that fell together do not rise together."""
    stable_s: float = 30.0
    """A life of this length sets the delay back to its first value."""
    restarts_max: int = 8
    """More ends than this within `window_s` are too many."""
    window_s: float = 60.0


class RestartHistory(msgspec.Struct, frozen=True):
    """What is remembered of a process's ends: when they were, and how many short lives in a row led to the last."""

    ends_s: tuple[float, ...] = ()
    short_lives: int = 0


class RestartAfter(msgspec.Struct, frozen=True):
    """Start it again after so many seconds."""

    delay_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Do not start it again by yourself."""

    reason: str


def after_end(
    history: RestartHistory, limits: RestartLimits, now_s: float, lived_s: float, chance: Random
) -> tuple[RestartHistory, RestartAfter | GiveUp]:
    """Remember an end at `now_s` of a life of `lived_s` that nobody asked for, and decide what follows."""
    recent_s = (end_s for end_s in history.ends_s if now_s - end_s < limits.window_s)
    ends_s = (*recent_s, now_s)
    short_lives = 0 if lived_s >= limits.stable_s else history.short_lives + 1
    remembered = RestartHistory(ends_s, short_lives)
    if len(ends_s) > limits.restarts_max:
        return remembered, GiveUp(f"ended {len(ends_s)} times within {limits.window_s:g} s")
    return remembered, RestartAfter(_delay_s(short_lives, limits, chance))


def _delay_s(short_lives: int, limits: RestartLimits, chance: Random) -> float:
    """The delay before the next try. It is grown step by step: a power of many short lives would overflow."""
    delay_s = limits.delay_first_s
    for _ in range(short_lives - 1):
        if delay_s >= limits.delay_max_s:
            break
        delay_s *= limits.delay_factor
    return min(delay_s, limits.delay_max_s) * (1 - limits.jitter * chance.random())
