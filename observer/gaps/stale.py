"""Symbols whose registration is acknowledged, and whose trades do not come: a stream that looks alive and is not. Pure.

Keep-alives arrive, nothing closes, and a symbol that does not trade is silent, too; only what Track A sees of it tells
the two apart. When a sweep saw more volume than the stream has brought, and the next sweep comes with the stream still
behind, the broker has forgotten the symbol: minutes are enough for a trade to arrive.
"""

from collections.abc import Callable, Mapping

import msgspec

from observer.gaps.volumes import VOLUME_NOISE


class _Swept(msgspec.Struct, frozen=True):
    """The day's volume when the first sweep after the registration saw the symbol, and when the latest one did."""

    first: float
    latest: float


class Deafness:
    """What Track A saw of the registered symbols; explicit state, no clock."""

    __slots__ = ("_swept",)

    def __init__(self) -> None:
        self._swept: dict[str, _Swept] = {}

    def registered_anew(self, symbol: str, volume: float | None = None) -> None:
        """What was traded before this is not the stream's to bring; `volume` is the day's until now, if it is known."""
        if volume is None:
            self._swept.pop(symbol, None)
        else:
            self._swept[symbol] = _Swept(volume, volume)

    def is_behind(self, symbol: str, volume: float, reached: float | None) -> bool:
        """Whether the stream has not brought what was traded until somebody saw this volume, sweep or not. To be asked
        of a registration without interruption: once a trade came, all that follows is the stream's to bring.
        """
        first = self._swept[symbol].first if symbol in self._swept else None
        heard = first if reached is None else reached
        return heard is not None and volume - heard > VOLUME_NOISE

    def after_sweep(self, volumes: Mapping[str, float], reached: Callable[[str], float | None]) -> Mapping[str, float]:
        """The symbols that are not heard, with the volume (shares) that is missing of each at least.

        Args:
            volumes: the day's volume of each registered symbol as the sweep saw it; others are forgotten.
            reached: the day's volume after the last trade that the stream brought of a symbol; None before the first.
        """
        deaf: dict[str, float] = {}
        swept: dict[str, _Swept] = {}
        for symbol, volume in volumes.items():
            before = self._swept.get(symbol)
            if before is not None:
                missing = before.latest - max(before.first, reached(symbol) or 0.0)
                if missing > 0:
                    deaf[symbol] = missing
            swept[symbol] = _Swept(before.first if before else volume, volume)
        self._swept = swept
        return deaf
