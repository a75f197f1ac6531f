"""The last price of each line, its prices by minute of the day, and how often it trades. Pure.

Snapshots of Track A give prices of all lines, trades those of the lines with a slot.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from typing import Final

from bus.events import Snapshot, Trade, TradesConflated
from observer.base.units import NS_PER_MINUTE, NS_PER_S

POINT_MINUTES: Final = 5  # between two points of a chart: a session has some eighty
_RATE_S: Final = 60
_MINUTES: Final = 24 * 60


class LinePrices:
    """One line's prices; `value` is what it traded on the day, in the currency, as of the last snapshot."""

    __slots__ = ("_minutes", "_points", "_trades", "at_ns", "previous_close", "price", "value")

    def __init__(self) -> None:
        self.price: float | None = None
        self.at_ns = 0
        self.previous_close: float | None = None
        self.value = 0.0
        # two rows of one length; some thousand lines have these, so they are packed
        self._minutes = array("H")
        self._points = array("d")
        self._trades: deque[tuple[int, int]] = deque()  # the last minute's, by second

    def see(self, at_ns: int, minute: int, price: float) -> None:
        """A price at a moment; one that is older than the last is ignored."""
        if at_ns < self.at_ns:
            return
        self.price, self.at_ns = price, at_ns
        point = minute - minute % POINT_MINUTES
        if self._minutes and self._minutes[-1] == point:
            self._points[-1] = price
        else:
            self._minutes.append(point)
            self._points.append(price)

    def count(self, at_ns: int, trades: int) -> None:
        """So many trades at a moment."""
        second = at_ns // NS_PER_S
        if self._trades and self._trades[-1][0] == second:
            self._trades[-1] = second, self._trades[-1][1] + trades
        else:
            self._trades.append((second, trades))
            self._forget(at_ns)

    def trades_in_minute(self, now_ns: int) -> int:
        """The trades of the minute before."""
        self._forget(now_ns)
        return sum(trades for _, trades in self._trades)

    def _forget(self, now_ns: int) -> None:
        while self._trades and self._trades[0][0] <= now_ns // NS_PER_S - _RATE_S:
            self._trades.popleft()

    @property
    def change_percent(self) -> float | None:
        """The change since the previous close."""
        if self.price is None or not self.previous_close:
            return None
        return round(100 * (self.price / self.previous_close - 1), 2)

    @property
    def points(self) -> Sequence[tuple[float, float]]:
        """The last price of each five minutes, with the minute of the day at which they begin."""
        return list(zip(map(float, self._minutes), self._points, strict=True))


class Prices:
    """Folds a day's snapshots and trades. `begins_ns` is the local midnight (UTC ns) with which the day begins,
    `swept_ns` the time of the newest snapshot; 0 before the first.
    """

    def __init__(self, session_date: str, begins_ns: int) -> None:
        self._session_date = session_date
        self._begins_ns = begins_ns
        self.lines: dict[str, LinePrices] = {}
        self.swept_ns = 0

    def apply(self, event: Snapshot | Trade | TradesConflated) -> None:
        """Apply the next event; those of other days, and trades that were fetched later, are ignored."""
        if event.session_date != self._session_date:
            return
        match event:
            case Snapshot():
                if event.price is not None:
                    self.see_snapshot(
                        event.symbol, event.receive_time_ns, event.price, event.previous_close, event.cumulative_value
                    )
            case Trade():
                if event.gap_id is None:
                    self._see(event.symbol, event.exchange_time_ns, event.price).count(event.exchange_time_ns, 1)
            case TradesConflated():
                self._see(event.symbol, event.to_ns, event.close).count(event.to_ns, event.trades)

    def see_snapshot(
        self, symbol: str, at_ns: int, price: float, previous_close: float | None, cumulative_value: float
    ) -> None:
        """What a snapshot says of prices."""
        self.swept_ns = max(self.swept_ns, at_ns)
        line = self._see(symbol, at_ns, price)
        line.previous_close = previous_close or line.previous_close
        line.value = max(line.value, cumulative_value)

    def _see(self, symbol: str, at_ns: int, price: float) -> LinePrices:
        line = self.lines.get(symbol)
        if line is None:
            line = self.lines[symbol] = LinePrices()
        line.see(at_ns, min(max(0, (at_ns - self._begins_ns) // NS_PER_MINUTE), _MINUTES - 1), price)
        return line
