"""Detects stale subscriptions: acknowledged by the broker, without trades. Pure.

Keep-alives arrive, the connection stays open, and a symbol without trading is silent, too; only Track A's volumes
distinguish the two. If a sweep shows more volume than the stream, and the stream is still behind at the next sweep, the
broker has dropped the subscription: a trade arrives well within these minutes.
"""

from collections.abc import Callable, Mapping

import msgspec

from observer.gaps.intervals import VOLUME_NOISE


class _Swept(msgspec.Struct, frozen=True):
    """The day's volume in the first sweep after the subscription, and in the latest one."""

    first: float
    latest: float


class StaleDetector:
    """Track A's volumes of the subscribed symbols; explicit state, no clock."""

    __slots__ = ("_swept",)

    def __init__(self) -> None:
        self._swept: dict[str, _Swept] = {}

    def subscribed_anew(self, symbol: str, volume: float | None = None) -> None:
        """Start a subscription: earlier trading is not expected in the stream. `volume` is the day's until now, if
        known.
        """
        if volume is None:
            self._swept.pop(symbol, None)
        else:
            self._swept[symbol] = _Swept(volume, volume)

    def is_behind(self, symbol: str, volume: float, reached: float | None) -> bool:
        """Whether the streamed volume is behind this observed volume, from a sweep or not. Valid for an uninterrupted
        subscription: after its first trade the stream must carry all that follow.
        """
        first = self._swept[symbol].first if symbol in self._swept else None
        received = first if reached is None else reached
        return received is not None and volume - received > VOLUME_NOISE

    def after_sweep(self, volumes: Mapping[str, float], reached: Callable[[str], float | None]) -> Mapping[str, float]:
        """The stale symbols, with the minimum missing volume (shares) of each.

        Args:
            volumes: the day's volume of each subscribed symbol in the sweep; other symbols are forgotten.
            reached: the day's volume after a symbol's last streamed trade; None before the first.
        """
        stale: dict[str, float] = {}
        swept: dict[str, _Swept] = {}
        for symbol, volume in volumes.items():
            before = self._swept.get(symbol)
            if before is not None:
                missing = before.latest - max(before.first, reached(symbol) or 0.0)
                if missing > 0:
                    stale[symbol] = missing
            swept[symbol] = _Swept(before.first if before else volume, volume)
        self._swept = swept
        return stale
