"""Restart decisions: exponential back-off with jitter, limited by an intensity.

Pure: machine time in seconds and a seeded generator come in, the decision goes out as a value. Both windows count every
end, however long the run before it (supervisord forgets those that lived a second, and starts such a program for ever);
only a stable run resets the delay. The short window ends a storm soon, the long one a loop of slow ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from random import Random


class RestartLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of restarts. Spans are seconds of machine time; a run counts from readiness, so a start that never becomes
    ready is a run of 0 seconds.

    With the defaults a process that ends at once is tried after 0.1, 0.2, 0.4 ... seconds and given up at its ninth
    end, some 25 s after the first: the sum of the delays must stay below `window_s`, or the intensity is never reached.
    One that ends after 12 s is given up at its eleventh end, after less than four minutes; one that is killed because
    it is not ready within 30 s after some seven minutes. A loop with more than three minutes a round goes on.
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
    loop_restarts_max: int = 10
    """More ends than this within `loop_window_s` are too many, too."""
    loop_window_s: float = 1800.0
    slow_delay_max_s: float = 600.0
    """The longest delay of an essential process, which is not given up: it doubles from `delay_max_s` up to this."""
    recovered_s: float = 600.0
    """A run of this length ends the crash loop of an essential process."""


class RestartHistory(msgspec.Struct, frozen=True):
    """A process's ends within the longer window, and the numbers of consecutive short runs and ends in a crash loop."""

    ends_s: tuple[float, ...] = ()
    short_lives: int = 0
    loop_ends: int = 0


class RestartAfter(msgspec.Struct, frozen=True):
    """Restart after so many seconds. `crash_loop` says why the delay is a long one; empty for an ordinary back-off."""

    delay_s: float
    crash_loop: str = ""


class GiveUp(msgspec.Struct, frozen=True):
    """Do not restart automatically."""

    reason: str


def after_end(
    history: RestartHistory,
    limits: RestartLimits,
    now_s: float,
    ran_s: float,
    rng: Random,
    *,
    is_essential: bool = False,
) -> tuple[RestartHistory, RestartAfter | GiveUp]:
    """Record an unrequested end at `now_s` after a run of `ran_s` seconds, and decide: restart or give up.

    An essential process is never given up: in a crash loop its delay doubles with each end.
    """
    ends_s = _recent((*history.ends_s, now_s), now_s, max(limits.window_s, limits.loop_window_s))
    ends_s = ends_s[-1 - max(limits.restarts_max, limits.loop_restarts_max) :]
    short_lives = 0 if ran_s >= limits.stable_s else history.short_lives + 1
    reason = _crash_loop(ends_s, limits, now_s)
    if not is_essential:
        remembered = RestartHistory(ends_s, short_lives)
        return remembered, GiveUp(reason) if reason else RestartAfter(_delay_s(short_lives, limits, rng))
    before = 0 if ran_s >= limits.recovered_s else history.loop_ends
    if not reason and before == 0:
        return RestartHistory(ends_s, short_lives), RestartAfter(_delay_s(short_lives, limits, rng))
    loop_ends = before + 1
    slow = msgspec.structs.replace(limits, delay_first_s=limits.delay_max_s, delay_max_s=limits.slow_delay_max_s)
    why = reason or f"ended {loop_ends} times without a run of {limits.recovered_s:g} s"
    return RestartHistory(ends_s, short_lives, loop_ends), RestartAfter(_delay_s(loop_ends, slow, rng), why)


def _crash_loop(ends_s: tuple[float, ...], limits: RestartLimits, now_s: float) -> str:
    """Which of the windows holds too many ends, in words; empty if neither does."""
    windows = ((limits.restarts_max, limits.window_s), (limits.loop_restarts_max, limits.loop_window_s))
    for restarts_max, window_s in windows:
        count = len(_recent(ends_s, now_s, window_s))
        if count > restarts_max:
            return f"ended {count} times within {window_s:g} s"
    return ""


def _recent(ends_s: tuple[float, ...], now_s: float, window_s: float) -> tuple[float, ...]:
    return tuple(end_s for end_s in ends_s if now_s - end_s < window_s)


def _delay_s(short_lives: int, limits: RestartLimits, rng: Random) -> float:
    """The delay before the next start, grown step by step: a power of many short runs would overflow."""
    delay_s = limits.delay_first_s
    for _ in range(short_lives - 1):
        if delay_s >= limits.delay_max_s:
            break
        delay_s *= limits.delay_factor
    return min(delay_s, limits.delay_max_s) * (1 - limits.jitter * rng.random())
