"""Decides when to reconnect a lost or refused stream. Pure: the caller passes market time and random numbers.

The pauses are 1, 2, 5, 10, 30, 60 s, and at most 60 connections an hour; after that the account's stream is suspended
and tried on a slow beat, Track A untouched.
"""

from collections import deque
from collections.abc import Sequence
from math import ceil
from typing import Final

import msgspec

from observer.base.units import NS_PER_S

_HOUR_S: Final = 3600
_JITTER: Final = 0.1


class Pause(msgspec.Struct, frozen=True):
    """The pause before the next attempt; `newly_suspended`: it is the first pause of the slow beat."""

    duration_ns: int
    newly_suspended: bool


class ReconnectBackoff:
    """The pauses between the connections of one account, in market time.

    No hour has more than `attempts_per_hour` attempts: the attempts of the slow beat in an hour are reserved for it,
    the rest serves quick reconnects. When the rest is used up, the stream is suspended until data flow again; until
    then there is one attempt each `slow_beat_s`.

    Only data prove a connection: one that was accepted and stayed idle may be a fight of two clients for one key, so
    nothing else shortens the pauses again.
    """

    def __init__(self, delays_s: Sequence[float], attempts_per_hour: int, slow_beat_s: float) -> None:
        """Raises ValueError where the slow beat alone would be more than `attempts_per_hour`."""
        quick = attempts_per_hour - ceil(_HOUR_S / slow_beat_s)
        if quick < 1:
            raise ValueError(f"one attempt each {slow_beat_s:g} s leaves none of {attempts_per_hour} an hour")
        self._delays_s = delays_s
        self._slow_beat_s = slow_beat_s
        self._attempts_ns: deque[int] = deque(maxlen=quick)  # the latest of the quick ones, oldest first
        self._failures = 0  # connections in a row without data: the index into the table of delays
        self._suspended = False

    def attempted(self, now_ns: int) -> None:
        """Record the start of a connection attempt."""
        if not self._suspended:
            self._attempts_ns.append(now_ns)

    def data_flowed(self) -> None:
        """Record that the connection delivered data."""
        self._failures = 0
        self._suspended = False

    def pause(self, now_ns: int, rng: float, *, at_once: bool = False) -> Pause:
        """The pause after a connection ended; up to a tenth longer by `rng` (0 to 1), because accounts should not
        march in step. `at_once`: it ended on our own request, to be opened again with another key.
        """
        was_suspended = self._suspended
        self._suspended = was_suspended or self._is_used_up(now_ns)
        if self._suspended:
            delay_s = self._slow_beat_s
        elif at_once:
            return Pause(0, newly_suspended=False)
        else:
            delay_s = self._delays_s[min(self._failures, len(self._delays_s) - 1)]
            self._failures += 1
        return Pause(round(delay_s * (1.0 + _JITTER * rng) * NS_PER_S), self._suspended and not was_suspended)

    def _is_used_up(self, now_ns: int) -> bool:
        full = len(self._attempts_ns) == self._attempts_ns.maxlen
        return full and now_ns - self._attempts_ns[0] < _HOUR_S * NS_PER_S
