"""The volume that the exchange had counted when a track stopped, for a day that is ended later. Pure.

What was traded after the stop is not missing: the volume now may count an auction, an after-market and more. Each
function returns the exact volume or one that is not below it, so a gap until the stop can be too wide, never too small.
"""

from collections.abc import Iterable, Mapping

from bus.events import Snapshot
from observer.gaps.intervals import VOLUME_NOISE
from observer.gaps.recovery import MinuteBarLike, TimeAndSalesRow


def volume_at(rows: Iterable[TimeAndSalesRow], stop_ns: int, known: float, volume_now: float) -> float | None:
    """Return the day's volume just before `stop_ns` by the symbol's trades around it; None if these trades do not prove
    it.

    The proof: the first trade after the stop begins at the volume at which the last trade before the stop ends. Without
    a later trade, the volume now is that volume; without an earlier trade, the `known` volume is. Trades up to `known`
    do not count.
    """
    later = sorted((row for row in rows if row.cumulative_volume > known + VOLUME_NOISE), key=_volume_of)
    before = [row for row in later if row.exchange_time_ns < stop_ns]
    after = [row for row in later if row.exchange_time_ns >= stop_ns]
    reached = before[-1].cumulative_volume if before else known
    following = after[0].cumulative_volume - after[0].volume if after else volume_now
    return reached if abs(following - reached) <= VOLUME_NOISE else None


def volume_before(bars: Iterable[MinuteBarLike], stop_ns: int, day_volume: float) -> float:
    """Upper bound of the day's volume before `stop_ns`: the volume now, less the volume of the minutes after the stop.
    The minute of the stop counts as a minute before it.
    """
    return day_volume - sum({bar.start_ns: bar.volume for bar in bars if bar.start_ns >= stop_ns}.values())


def volumes_after(snapshots: Iterable[Snapshot], stop_ns: int) -> Mapping[str, tuple[float, int]]:
    """By symbol, the first volume that a sweep certainly requested after `stop_ns`, and when it came.

    The snapshots are the day's from some time before the stop on. A sweep may have been under way at the stop, and the
    next one may have sent its first request by then: only the one after that is late enough.
    """
    seen = list(snapshots)
    first = max((each.sweep for each in seen if each.receive_time_ns < stop_ns), default=-1) + 2
    found: dict[str, tuple[float, int]] = {}
    for each in sorted(seen, key=_receipt_of):
        if each.sweep >= first and each.receive_time_ns >= stop_ns:
            found.setdefault(each.symbol, (each.cumulative_volume, each.receive_time_ns))
    return found


def _volume_of(row: TimeAndSalesRow) -> float:
    return row.cumulative_volume


def _receipt_of(snapshot: Snapshot) -> int:
    return snapshot.receive_time_ns
