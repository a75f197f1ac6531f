"""One symbol's day of trades, in columns. Pure.

A column per quantity instead of an object per trade: half a million trades stay under 60 bytes each, and every running
figure (volume, value, high, low, counts) is there at any trade without adding up again.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from observer.simulator.halts import Halt

NS_PER_S: Final = 1_000_000_000
OPEN_S: Final = 9 * 3_600
CLOSE_S: Final = 15 * 3_600 + 30 * 60
CONTINUOUS_S: Final = 380 * 60  # 09:00 to 15:20; then the closing auction collects orders until 15:30
# CCLD_DVSN of the stream: 1 buy, 3 auction, 5 sell.
BUY: Final = 1
AUCTION: Final = 3
SELL: Final = 5
_KST: Final = timezone(timedelta(hours=9))
MINUTES: Final = CONTINUOUS_S // 60


def _weight_of_minute(minute: int) -> float:
    """The U of a day: a busy opening, a quiet noon, a busier end."""
    return 0.5 + 2.5 * math.exp(-minute / 25) + 1.2 * math.exp((minute - MINUTES) / 20)


VOLUME_BY_MINUTE: Final = tuple(accumulate(_weight_of_minute(minute) for minute in range(MINUTES)))


def midnight_ns(session_date: str) -> int:
    """UTC nanoseconds of 00:00 KST of an ISO date."""
    day = date.fromisoformat(session_date)
    return int(datetime(day.year, day.month, day.day, tzinfo=_KST).timestamp()) * NS_PER_S


def share_of_day(seconds_since_open: float) -> float:
    """The part of an ordinary day's volume that is done by then, 0..1."""
    minute = int(seconds_since_open // 60)
    if minute < 0:
        return 0.0
    return VOLUME_BY_MINUTE[min(minute, MINUTES - 1)] / VOLUME_BY_MINUTE[-1]


class Tape:
    """All trades of one symbol on one day, oldest first. Trade 0 is the opening cross, the last one the closing cross.
    `halts` are the times without trades, in their order.

    `buys` and `sells` count trades by aggressor; a cross counts as a buy, so that their sum grows by one with every
    trade. `buy_volume` and `sell_volume` leave the crosses out, as the real totals do.
    """

    __slots__ = (
        "buy_volume",
        "buys",
        "halts",
        "high_krw",
        "low_krw",
        "price_krw",
        "sell_volume",
        "side",
        "time_ns",
        "value_krw",
        "volume",
        "volume_after",
    )

    def __init__(
        self,
        time_ns: Iterable[int],
        price_krw: Iterable[int],
        volume: Iterable[int],
        side: bytes,
        halts: tuple[Halt, ...] = (),
    ) -> None:
        self.halts = halts
        self.time_ns = array("q", time_ns)
        self.price_krw = array("i", price_krw)
        self.volume = array("q", volume)
        self.side = side
        self.volume_after = array("q", accumulate(self.volume))
        self.value_krw = array("q", accumulate(map(int.__mul__, self.price_krw, self.volume)))
        self.high_krw = array("i", accumulate(self.price_krw, max))
        self.low_krw = array("i", accumulate(self.price_krw, min))
        self.buys = array("i", accumulate(code != SELL for code in side))
        self.buy_volume = array("q", accumulate(map(int.__mul__, self.volume, map(BUY.__eq__, side))))
        self.sell_volume = array("q", accumulate(map(int.__mul__, self.volume, map(SELL.__eq__, side))))

    def __len__(self) -> int:
        return len(self.time_ns)

    def count_until(self, moment_ns: int) -> int:
        """How many trades have happened at or before a moment."""
        return bisect_right(self.time_ns, moment_ns)


EMPTY_TAPE: Final = Tape((), (), (), b"")
