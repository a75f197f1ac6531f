"""A day's bar from the day's own last snapshot, so that it need not be fetched the next morning. Pure.

Only a snapshot that was taken when the closing auction was over has the whole day in it (the auction ends within half a
minute after the close), and only one from before the after-hours trading begins has nothing else in it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from bus.events import DailyBar, Snapshot
from observer.units import NS_PER_S

CLOSED_AFTER_S: Final = 60.0  # after the close: the auction's price is made at a moment chosen by lot within 30 s
AFTER_HOURS_AFTER_S: Final = 600.0  # after the close: trading at the closing price begins


def closing_window(closes_ns: int) -> tuple[int, int]:
    """From when until when (exclusive, UTC ns) a snapshot shows a finished day."""
    return closes_ns + round(CLOSED_AFTER_S * NS_PER_S), closes_ns + round(AFTER_HOURS_AFTER_S * NS_PER_S)


def closing_bars(snapshots: Iterable[Snapshot], session_date: str, closes_ns: int) -> Mapping[str, DailyBar]:
    """By symbol the day's bar, from its last snapshot in the closing window; none for a symbol without a trade."""
    from_ns, to_ns = closing_window(closes_ns)
    last: dict[str, Snapshot] = {}
    for snapshot in snapshots:
        if snapshot.session_date != session_date or not from_ns <= snapshot.receive_time_ns < to_ns:
            continue
        before = last.get(snapshot.symbol)
        if before is None or snapshot.receive_time_ns >= before.receive_time_ns:
            last[snapshot.symbol] = snapshot
    bars = (_bar(snapshot) for snapshot in last.values())
    return {bar.symbol: bar for bar in bars if bar is not None}


def _bar(snapshot: Snapshot) -> DailyBar | None:
    opened, high, low = snapshot.open, snapshot.high, snapshot.low
    if opened is None or high is None or low is None or snapshot.cumulative_volume <= 0:
        return None
    if not 0 < low <= min(opened, snapshot.price) <= max(opened, snapshot.price) <= high:
        return None
    return DailyBar(
        provider=snapshot.provider,
        symbol=snapshot.symbol,
        session_date=snapshot.session_date,
        open=opened,
        high=high,
        low=low,
        close=snapshot.price,
        volume=snapshot.cumulative_volume,
        value=snapshot.cumulative_value,
    )
