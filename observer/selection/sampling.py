"""Sampling under load: stores every trade, or a limited number of conflated rows per second. Pure.

The requirement asks for 2 Hz in normal operation and for 1 Hz to 0.5 Hz under load. Here normal operation stores every
trade. Under load there is no step of 2 Hz: exchange times are whole seconds, so its rows would be those of 1 Hz.

The load is the number of published events that are not stored yet: it grows when trades come faster than the disk
takes them, whatever the reason. A step down is immediate, a step back follows only after a calm period, so that the
rate does not oscillate.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from bus.events import Trade, TradesConflated
from observer.base.units import NS_PER_S

Kept = Trade | TradesConflated
"""A stored trade, or several conflated in one row."""

RATES_HZ: Final[Sequence[float | None]] = (None, 1.0, 0.5)
"""The steps down; None stores every trade."""


class SamplingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Above which number of unstored events the next lower rate is taken, and below which the next higher one after
    `calm_s` machine seconds.

    Raises:
        ValueError: the lower bound is not below the upper one.
    """

    degrade_above_events: Annotated[int, msgspec.Meta(ge=1)] = 200_000
    recover_below_events: Annotated[int, msgspec.Meta(ge=0)] = 20_000
    calm_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0

    def __post_init__(self) -> None:
        """Checks the bounds against each other."""
        if self.recover_below_events >= self.degrade_above_events:
            raise ValueError(
                f"recover_below_events: {self.recover_below_events} is not below "
                f"degrade_above_events: {self.degrade_above_events}"
            )


class Sampling:
    """The current rate. Times are machine seconds, passed in by the caller."""

    __slots__ = ("_calm_since_s", "_settings", "_stepped_s", "step")

    def __init__(self, settings: SamplingSettings) -> None:
        self._settings = settings
        self._calm_since_s: float | None = None
        self._stepped_s = float("-inf")
        self.step = 0

    @property
    def rate_hz(self) -> float | None:
        """Rows per second of each symbol; None for every trade."""
        return RATES_HZ[self.step]

    def check(self, waiting_events: int, now_s: float) -> bool:
        """Update the rate for this number of unstored events. Returns whether it changed. A step has `calm_s` to take
        effect.
        """
        settings = self._settings
        if waiting_events > settings.degrade_above_events:
            self._calm_since_s = None
            if self.step < len(RATES_HZ) - 1 and now_s - self._stepped_s >= settings.calm_s:
                return self._take(self.step + 1, now_s)
        elif waiting_events >= settings.recover_below_events:
            self._calm_since_s = None
        elif self.step:
            self._calm_since_s = now_s if self._calm_since_s is None else self._calm_since_s
            if now_s - self._calm_since_s >= settings.calm_s:
                return self._take(self.step - 1, now_s)
        return False

    def _take(self, step: int, now_s: float) -> bool:
        self.step = step
        self._calm_since_s, self._stepped_s = None, now_s
        return True


class Conflation:
    """The open span of each symbol: a trade while it is the span's only one, which stays a trade, else the row of its
    trades. Exchange times delimit the spans, so a replay of the same trades gives the same rows.
    """

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[str, Kept] = {}

    def add(self, trade: Trade, rate_hz: float) -> Kept | None:
        """Add a trade; returns the earlier span's trade or row if it begins another span."""
        before = self._open.get(trade.symbol)
        if before is not None and _span(_began_ns(before), rate_hz) == _span(trade.exchange_time_ns, rate_hz):
            self._open[trade.symbol] = _joined(
                before if isinstance(before, TradesConflated) else _row_of(before), trade
            )
            return None
        self._open[trade.symbol] = trade
        return before

    def flush(self, symbol: str | None = None) -> list[Kept]:
        """Close the open span of a symbol, or of all: before a gap is reported, at a change of rate, and at the end."""
        if symbol is not None:
            row = self._open.pop(symbol, None)
            return [] if row is None else [row]
        rows, self._open = list(self._open.values()), {}
        return rows


def _span(time_ns: int, rate_hz: float) -> int:
    return time_ns // round(NS_PER_S / rate_hz)


def _began_ns(kept: Kept) -> int:
    return kept.exchange_time_ns if isinstance(kept, Trade) else kept.from_ns


def _row_of(trade: Trade) -> TradesConflated:
    return TradesConflated(
        provider=trade.provider,
        symbol=trade.symbol,
        session_date=trade.session_date,
        from_ns=trade.exchange_time_ns,
        to_ns=trade.exchange_time_ns,
        receive_time_ns=trade.receive_time_ns,
        trades=1,
        volume=trade.volume,
        open=trade.price,
        high=trade.price,
        low=trade.price,
        close=trade.price,
        cumulative_volume=trade.cumulative_volume,
        cumulative_trades=trade.cumulative_trades,
        venue=trade.venue,
        session=trade.session,
    )


def _joined(row: TradesConflated, trade: Trade) -> TradesConflated:
    return msgspec.structs.replace(
        row,
        to_ns=trade.exchange_time_ns,
        receive_time_ns=trade.receive_time_ns,
        trades=row.trades + 1,
        volume=row.volume + trade.volume,
        high=max(row.high, trade.price),
        low=min(row.low, trade.price),
        close=trade.price,
        cumulative_volume=trade.cumulative_volume,
        cumulative_trades=trade.cumulative_trades,
        venue=trade.venue,
        session=trade.session,
    )
