"""A day's bar from the day's own last snapshot, so that it need not be fetched the next morning. Pure.

Only a snapshot that was taken when the closing auction was over has the whole day in it, and only one from before the
next session begins has nothing else in it: `DayPlan.closing_window_ns`.
"""

from collections.abc import Iterable, Mapping

from bus.events import DailyBar, Snapshot


def closing_bars(
    snapshots: Iterable[Snapshot], session_date: str, closing_window_ns: tuple[int, int]
) -> Mapping[str, DailyBar]:
    """By symbol the day's bar, from its last snapshot in the closing window (end exclusive, UTC ns); none for a symbol
    without a trade.
    """
    from_ns, to_ns = closing_window_ns
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
    opened, high, low, close = snapshot.open, snapshot.high, snapshot.low, snapshot.price
    if opened is None or high is None or low is None or close is None or snapshot.cumulative_volume <= 0:
        return None
    if not 0 < low <= min(opened, close) <= max(opened, close) <= high:
        return None
    return DailyBar(
        provider=snapshot.provider,
        symbol=snapshot.symbol,
        session_date=snapshot.session_date,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=snapshot.cumulative_volume,
        value=snapshot.cumulative_value,
        source="sweep",
    )
