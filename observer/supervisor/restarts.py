"""Restart decisions: exponential back-off with jitter, limited by an intensity.

Pure: machine time in seconds and a seeded generator come in, the decision goes out as a value. The intensity's window
counts every end, however short the run before it (supervisord forgets those that lived a second, and starts such a
program for ever); only a stable run resets the delay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from random import Random


class RestartLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of restarts. Spans are seconds of machine time.

    With the defaults a process that ends at once is tried after 0.1, 0.2, 0.4 ... seconds and given up at its ninth
    end, some 25 s after the first: the sum of the delays must stay below `window_s`, or the intensity is never reached.
    """

    delay_first_s: float = 0.1
    delay_max_s: float = 30.0
    delay_factor: float = 2.0
    jitter: float = 0.2
    """Random reduction of a delay, at most this share, so that processes that ended together restart apart."""
    stable_s: float = 30.0
    """A run of this length resets the delay to its first value."""
    restarts_max: int = 8
    """More ends than this within `window_s` are too many."""
    window_s: float = 60.0


class RestartHistory(msgspec.Struct, frozen=True):
    """A process's ends within the window, and the number of consecutive short runs before the last."""

    ends_s: tuple[float, ...] = ()
    short_lives: int = 0


class RestartAfter(msgspec.Struct, frozen=True):
    """Restart after so many seconds."""

    delay_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Do not restart automatically."""

    reason: str


def after_end(
    history: RestartHistory, limits: RestartLimits, now_s: float, lived_s: float, rng: Random
) -> tuple[RestartHistory, RestartAfter | GiveUp]:
    """Record an unrequested end at `now_s` after a run of `lived_s` seconds, and decide: restart or give up."""
    recent_s = (end_s for end_s in history.ends_s if now_s - end_s < limits.window_s)
    ends_s = (*recent_s, now_s)
    short_lives = 0 if lived_s >= limits.stable_s else history.short_lives + 1
    remembered = RestartHistory(ends_s, short_lives)
    if len(ends_s) > limits.restarts_max:
        return remembered, GiveUp(f"ended {len(ends_s)} times within {limits.window_s:g} s")
    return remembered, RestartAfter(_delay_s(short_lives, limits, rng))


def _delay_s(short_lives: int, limits: RestartLimits, rng: Random) -> float:
    """The delay before the next start, grown step by step: a power of many short runs would overflow."""
    delay_s = limits.delay_first_s
    for _ in range(short_lives - 1):
        if delay_s >= limits.delay_max_s:
            break
        delay_s *= limits.delay_factor
    return min(delay_s, limits.delay_max_s) * (1 - limits.jitter * rng.random())
