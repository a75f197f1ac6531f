"""What was last seen of each symbol of the day, as the triggers want it, and who may therefore hold no place. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from bus.events import MarketStateChanged, Snapshot, Trade, TradesConflated, UniverseMember
from observer.selection.base_price import price_factor, scaled
from observer.selection.halts import Halt, after_sweep
from observer.selection.indicators import TradeRate
from observer.selection.places import DropReason
from observer.selection.profile import EarlierDays

_NS_PER_S: Final = 1_000_000_000


class Sight:
    """What was last seen of one symbol (`Observed`); the highest trade rate since the last evaluation.

    `trade_volume` is the mean volume of a trade, None while no trade was ever streamed.
    """

    __slots__ = (
        "at_upper_limit",
        "average_volume_by_now",
        "cumulative_volume",
        "delisted",
        "halt",
        "high",
        "low",
        "pinned",
        "rate",
        "seen_ns",
        "shares_factor",
        "suspension",
        "swept",
        "trade_volume",
        "trades_per_second",
    )

    def __init__(self, window_seconds: float, trade_volume: float | None) -> None:
        self.cumulative_volume: float | None = None
        self.average_volume_by_now: float | None = None
        self.high: float | None = None
        self.low: float | None = None
        self.trades_per_second: float | None = None
        self.pinned = False  # a wish is no sight: `Selector` keeps wishes
        self.at_upper_limit = False
        self.halt: Halt | None = None  # as the exchange tells it
        self.suspension: Halt | None = None  # as a master file does: neither word takes back the other
        self.delisted = False
        self.rate = TradeRate(window_seconds)
        self.trade_volume = trade_volume
        self.seen_ns = 0
        self.swept = False
        self.shares_factor = 1.0  # how many of today's shares one of yesterday's is

    @property
    def drop_reason(self) -> DropReason | None:
        """Why the symbol may hold no place: nothing is traded of the halted, and next to nothing at the upper limit."""
        if self.delisted:
            return "delisted"
        if self.halt is not None or self.suspension is not None:
            return "halted"
        return "upper_limit" if self.at_upper_limit else None

    def see_traded(self, volume: float, seen_ns: int) -> None:
        """A sweep saw the day's volume: in a halt that grows, trading goes on."""
        self.halt = after_sweep(self.halt, volume, seen_ns)
        self.suspension = after_sweep(self.suspension, volume, seen_ns)

    def see_rate(self, per_second: float) -> None:
        """Keep the highest until the next evaluation."""
        if self.trades_per_second is None or per_second > self.trades_per_second:
            self.trades_per_second = per_second

    def see_sweep(self, volume: float, seen_ns: int) -> None:
        """The rate between two sweeps, from the volume that was traded and how large the symbol's trades are."""
        before = self.cumulative_volume
        if before is not None and self.trade_volume and seen_ns > self.seen_ns > 0:
            trades = (volume - before) / self.trade_volume
            self.see_rate(trades * _NS_PER_S / (seen_ns - self.seen_ns))
        if before is None or volume >= before:  # a trade can be younger than the sweep that is told after it
            self.cumulative_volume, self.seen_ns = volume, seen_ns

    def see_trade(self, trade: Trade) -> None:
        """A trade was streamed."""
        self._see_streamed(trade, trade.price, trade.price)
        self.rate.add(trade.exchange_time_ns)
        self.see_rate(self.rate.per_second(trade.exchange_time_ns))

    def see_conflated(self, row: TradesConflated) -> None:
        """Several trades were streamed of which one row is kept: only what is in it counts, and can be seen again."""
        self._see_streamed(row, row.high, row.low)
        self.rate.add_evenly(row.trades, row.from_ns, row.to_ns)
        self.see_rate(self.rate.per_second(row.to_ns))

    def _see_streamed(self, streamed: Trade | TradesConflated, high: float, low: float) -> None:
        self.cumulative_volume, self.seen_ns = streamed.cumulative_volume, streamed.receive_time_ns
        if streamed.cumulative_trades:
            self.trade_volume = streamed.cumulative_volume / streamed.cumulative_trades
        self.see_range(high, low)

    def see_range(self, high: float | None, low: float | None) -> None:
        """The day's range is at least this one: whoever tells it may be older than what was seen last."""
        if self.high is None or (high is not None and high > self.high):
            self.high = high
        if self.low is None or (low is not None and low < self.low):
            self.low = low


class Sights:
    """What was seen of all symbols, and the universe as the day must see it: in the shares of today.

    Args:
        members: the day's universe, by rank.
        window_seconds: over which trades are counted for their rate.
        earlier: what is known of earlier days.
    """

    def __init__(self, members: Sequence[UniverseMember], window_seconds: float, earlier: EarlierDays) -> None:
        self.members = {member.symbol: member for member in members}
        self.by_symbol: dict[str, Sight] = {}
        self._window_seconds = window_seconds
        self._earlier = earlier
        self._dropped: dict[str, DropReason] = {}  # changes with the sights: it is asked for at every allocation

    @property
    def dropped(self) -> Mapping[str, DropReason]:
        """Who may hold no place now, and why."""
        return self._dropped

    def volume_of(self, symbol: str) -> tuple[float, int] | None:
        """The day's volume of the symbol when it was last seen, and when that was; None when it was not."""
        sight = self.by_symbol.get(symbol)
        return None if sight is None or sight.cumulative_volume is None else (sight.cumulative_volume, sight.seen_ns)

    def see_snapshot(self, snapshot: Snapshot) -> None:
        """Track A saw the symbol. The first time its price limits tell whether its history is of other shares."""
        sight = self.of(snapshot.symbol)
        if not sight.swept:
            sight.swept = True
            self._adjust(sight, snapshot)
        sight.see_sweep(snapshot.cumulative_volume, snapshot.receive_time_ns)
        sight.see_traded(snapshot.cumulative_volume, snapshot.receive_time_ns)
        sight.see_range(snapshot.high, snapshot.low)
        sight.at_upper_limit = snapshot.upper_limit is not None and snapshot.price >= snapshot.upper_limit
        self._judge(snapshot.symbol, sight)

    def see_state(self, state: MarketStateChanged) -> None:
        """The exchange told whether the symbol is halted."""
        sight = self.of(state.symbol)
        sight.halt = Halt(state.receive_time_ns) if state.halted else None
        self._judge(state.symbol, sight)

    def see_traded(self, snapshot: Snapshot) -> None:
        """What a snapshot of the past tells of halts."""
        sight = self.of(snapshot.symbol)
        sight.see_traded(snapshot.cumulative_volume, snapshot.receive_time_ns)
        self._judge(snapshot.symbol, sight)

    def see_listing(self, symbol: str, told_ns: int, *, delisted: bool, suspended: bool) -> None:
        """A master file told what has become of the symbol."""
        sight = self.of(symbol)
        sight.delisted = delisted
        sight.suspension = Halt(told_ns) if suspended else None
        self._judge(symbol, sight)

    def of(self, symbol: str) -> Sight:
        """What was seen of the symbol: nothing yet, the first time."""
        sight = self.by_symbol.get(symbol)
        if sight is None:
            sight = self.by_symbol[symbol] = Sight(self._window_seconds, self._earlier.trade_volumes.get(symbol))
        return sight

    def _judge(self, symbol: str, sight: Sight) -> None:
        if (reason := sight.drop_reason) is None:
            self._dropped.pop(symbol, None)
        else:
            self._dropped[symbol] = reason

    def _adjust(self, sight: Sight, snapshot: Snapshot) -> None:
        """On the day of a split, or of its like, what earlier days tell of the symbol is brought to today's shares."""
        member = self.members.get(snapshot.symbol)
        if member is None or (factor := price_factor(member, snapshot)) == 1.0:
            return
        self.members[snapshot.symbol] = scaled(member, factor)
        sight.shares_factor = 1 / factor
        is_of_earlier_days = sight.cumulative_volume is None  # no trade of today was streamed yet
        if sight.trade_volume is not None and is_of_earlier_days:
            sight.trade_volume /= factor
