"""The latest state of each symbol of the day, as the triggers use it, and which symbols may hold no slot. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from statistics import median
from typing import Final

import msgspec

from bus.events import DropReason, MarketStateChanged, RiseApplied, Snapshot, Trade, TradesConflated, UniverseMember
from observer.base.units import NS_PER_S
from observer.selection.context import Baseline
from observer.selection.indicators import TradeRate, price_factor, scaled
from observer.selection.market_stops import AROUND_NS, MarketStops
from observer.selection.profile import EarlierDays, Profile, volume_by
from observer.selection.recent_volume import RecentVolume, UniversePace, VenuePaces, certain_ratio, overflowing_trades
from observer.selection.triggers import SymbolView, TriggersSettings

NO_OPENINGS: Final[Mapping[str, Sequence[int]]] = {}


class HaltState(msgspec.Struct, frozen=True):
    """The reported start of a halt, and the day's volume in the first sweep after that (None: no sweep yet)."""

    reported_ns: int
    volume: float | None = None

    def after_sweep(self, volume: float, seen_ns: int) -> "HaltState | None":
        """The halt after a sweep with this volume of the day at this time; None if the volume exceeds that of an
        earlier sweep in the halt. The first sweep alone proves nothing: its volume may be from before the halt.
        """
        if seen_ns <= self.reported_ns:
            return self
        if self.volume is None:
            return HaltState(self.reported_ns, volume)
        return self if volume <= self.volume else None


class SymbolState(SymbolView, kw_only=True):
    """The latest state of one symbol, with its highest trade rate since the last evaluation.

    `trade_volume` is the mean volume of a trade, None if no trade was ever streamed. `pace` is that of its venue. The
    exchange reports a `halt`, a master file a `suspension`; neither source clears the other.
    """

    rate: TradeRate
    recent: RecentVolume
    pace: UniversePace
    trade_volume: float | None
    at_upper_limit: bool = False
    halt: HaltState | None = None
    suspension: HaltState | None = None
    delisted: bool = False
    # The profile's volume by the beginning and by the end of the latest minutes, with these moments.
    usual_since: tuple[int, float | None] = (-1, None)
    usual_until: tuple[int, float | None] = (-1, None)
    seen_ns: int = 0
    first: Snapshot | None = None  # of the day: its price limits state the base price
    swept_ns: int = 0
    silent_ns: int = 0  # until then, no trade followed the last one
    shares_factor: float = 1.0  # today's shares per share of yesterday

    @property
    def drop_reason(self) -> DropReason | None:
        """Why the symbol may hold no slot: halted symbols have no trades, and symbols at the upper limit hardly any."""
        if self.delisted:
            return "delisted"
        if self.halt is not None or self.suspension is not None:
            return "halted"
        return "upper_limit" if self.at_upper_limit else None

    def update_traded(self, volume: float, seen_ns: int) -> None:
        """Apply a sweep's volume of the day: trading ends a halt if the volume grows during it."""
        self.halt = self.halt and self.halt.after_sweep(volume, seen_ns)
        self.suspension = self.suspension and self.suspension.after_sweep(volume, seen_ns)

    def update_rate(self, per_second: float) -> None:
        """Keep the highest rate until the next evaluation."""
        if self.trades_per_second is None or per_second > self.trades_per_second:
            self.trades_per_second = per_second

    def update_sweep(self, volume: float, seen_ns: int) -> None:
        """Estimate the trade rate between two sweeps from the traded volume and the mean volume of a trade."""
        before = self.cumulative_volume
        if before is not None and self.trade_volume and seen_ns > self.seen_ns > 0:
            trades = (volume - before) / self.trade_volume
            self.update_rate(trades * NS_PER_S / (seen_ns - self.seen_ns))
        if before is None or volume >= before:  # a trade can be younger than the sweep that is reported after it
            self.cumulative_volume, self.seen_ns = volume, seen_ns
            if seen_ns >= self.recent.next_ns:
                self.recent.mark(seen_ns, volume)
        self.swept_ns = seen_ns

    def update_rise(self, rise: RiseApplied) -> None:
        """Apply a volume rise, with which the latest minutes begin anew."""
        seconds = (rise.received_ns - rise.since_ns) / NS_PER_S
        if self.trade_volume:
            self.update_rate((rise.cumulative_volume - rise.since_volume) / self.trade_volume / seconds)
        self.cumulative_volume, self.seen_ns = rise.cumulative_volume, rise.received_ns
        self.recent.begin(rise.since_ns, rise.since_volume, rise.received_ns, rise.cumulative_volume)
        self.update_range(rise.high, rise.low, rise.received_ns)
        self.at_upper_limit = rise.at_upper_limit

    def update_trade(self, trade: Trade) -> None:
        """Apply a streamed trade."""
        self._update_streamed(trade, trade.exchange_time_ns, high=trade.price, low=trade.price)
        self.rate.add(trade.exchange_time_ns)
        self.update_rate(self.rate.per_second(trade.exchange_time_ns))

    def update_conflated(self, row: TradesConflated) -> None:
        """Apply a row of conflated trades: only the row's values count, so a replay reproduces them."""
        self._update_streamed(row, row.to_ns, high=row.high, low=row.low)
        self.rate.add_evenly(row.trades, row.from_ns, row.to_ns)
        self.update_rate(self.rate.per_second(row.to_ns))

    def _update_streamed(self, streamed: Trade | TradesConflated, traded_ns: int, *, high: float, low: float) -> None:
        volume, before = streamed.cumulative_volume, self.cumulative_volume
        # Judged by the market's time: what is read late would count as a surge of the minute in which it is read.
        if traded_ns >= self.seen_ns:
            self.cumulative_volume, self.seen_ns = volume, traded_ns
            if traded_ns >= self.recent.next_ns:
                self.recent.mark(traded_ns, volume)
        elif before is None or volume > before:  # a sweep's answer can be older than its receipt
            self.cumulative_volume = volume
        if streamed.cumulative_trades:
            self.trade_volume = volume / streamed.cumulative_trades
        self.update_range(high, low, traded_ns)

    def update_range(self, high: float | None, low: float | None, seen_ns: int) -> None:
        """Extend the day's range to include this one; the source may be older than the current state."""
        if high is not None and (self.high is None or high > self.high):
            self.high, self.range_ns = high, seen_ns
        if low is not None and (self.low is None or low < self.low):
            self.low, self.range_ns = low, seen_ns


class MarketState:
    """The state of all symbols, and the universe converted to today's shares.

    Args:
        members: the day's universe, by rank.
        settings: of the windows of trade rates and recent volume.
        earlier: the data of earlier days.
        openings_ns: by the venue in the ids of lines, when it begins to trade, rising.
    """

    def __init__(
        self,
        members: Sequence[UniverseMember],
        settings: TriggersSettings,
        earlier: EarlierDays,
        openings_ns: Mapping[str, Sequence[int]] = NO_OPENINGS,
    ) -> None:
        self.members = {member.symbol: member for member in members}
        self.stops = MarketStops(self.members)
        self.by_symbol: dict[str, SymbolState] = {}
        self._window_seconds = settings.velocity_window_seconds
        self._usual_min, self._hold_threshold = settings.recent_volume.usual_min, settings.recent_volume.hold_threshold
        self._recent_step_ns = round(settings.recent_volume.window_seconds * NS_PER_S / 2)
        self._deviations_min = settings.recent_volume.deviations_min
        self._trade_value: float | None = None  # the median of the symbols' mean trades, in the currency
        self._paces = VenuePaces([member.symbol for member in members], openings_ns)
        self._earlier = earlier
        self._dropped: dict[str, DropReason] = {}  # changes with the states: read at every allocation
        self._closed: AbstractSet[str] = frozenset()

    @property
    def dropped(self) -> Mapping[str, DropReason]:
        """The symbols that may hold no slot now, and why."""
        return self._dropped

    def update_closed(self, lines: AbstractSet[str]) -> None:
        """Set the lines that may hold no slot because their venue is closed while another one is open."""
        changed, self._closed = self._closed ^ lines, lines
        for symbol in changed:
            self._judge(symbol, self.by_symbol.get(symbol))

    def volume_of(self, symbol: str) -> tuple[float, int] | None:
        """The symbol's latest volume of the day and its time; None if unknown."""
        state = self.by_symbol.get(symbol)
        return None if state is None or state.cumulative_volume is None else (state.cumulative_volume, state.seen_ns)

    def update_snapshot(self, snapshot: Snapshot) -> None:
        """Apply a snapshot of Track A. The first one's price limits show whether the history is in other shares."""
        state = self.of(snapshot.symbol)
        if state.first is None:
            state.first = snapshot
            self._adjust(state, snapshot)
        self.stops.swept(snapshot)
        state.update_sweep(snapshot.cumulative_volume, snapshot.receive_time_ns)
        state.update_traded(snapshot.cumulative_volume, snapshot.receive_time_ns)
        state.update_range(snapshot.high, snapshot.low, snapshot.receive_time_ns)
        price, upper_limit = snapshot.price, snapshot.upper_limit
        state.at_upper_limit = price is not None and upper_limit is not None and price >= upper_limit
        self._judge(snapshot.symbol, state)

    def update_history(self, members: Iterable[UniverseMember]) -> None:
        """Take the closes and averages of the day's symbols from a later build; no symbol is added."""
        for member in members:
            if member.symbol not in self.members:
                continue
            self.members[member.symbol] = member
            if (state := self.by_symbol.get(member.symbol)) is None:
                continue
            state.opening_volume_by_now = state.opening_range_by_now = None  # of a symbol without averages
            if state.first is not None:
                self._adjust(state, state.first)
        self.update_pace()

    def update_rise(self, rise: RiseApplied) -> bool:
        """Apply a volume rise of the symbol. Returns whether it is newer than what is known."""
        state = self.of(rise.symbol)
        before = state.cumulative_volume
        if rise.received_ns <= state.seen_ns or (before is not None and rise.cumulative_volume < before):
            return False
        state.update_rise(rise)
        self._judge(rise.symbol, state)
        return True

    def update_trade(self, trade: Trade) -> None:
        """Apply a streamed trade of the symbol."""
        self.of(trade.symbol).update_trade(trade)

    def update_conflated(self, row: TradesConflated) -> None:
        """Apply a row of conflated trades of the symbol."""
        self.of(row.symbol).update_conflated(row)

    def update_state(self, state: MarketStateChanged) -> None:
        """Apply the exchange's report on the symbol. In a stop of its market, or just before, a halt is none of its
        own.
        """
        if self.stops.apply(state):
            self._forget_halts(state)
        symbol_state = self.of(state.symbol)
        if not state.halted:
            symbol_state.halt = None
        elif not self.stops.is_stopped(state.symbol):
            symbol_state.halt = HaltState(state.receive_time_ns)
        self._judge(state.symbol, symbol_state)

    def update_traded(self, snapshot: Snapshot) -> None:
        """Apply a past snapshot to halts and stops only."""
        self.stops.swept(snapshot)
        state = self.of(snapshot.symbol)
        state.update_traded(snapshot.cumulative_volume, snapshot.receive_time_ns)
        self._judge(snapshot.symbol, state)

    def _forget_halts(self, stop: MarketStateChanged) -> None:
        """Forget the halts that were reported just before the stop of their market: they came with it."""
        market, since_ns = self.stops.market_of(stop.symbol), stop.receive_time_ns - AROUND_NS
        for symbol, state in self.by_symbol.items():
            halt = state.halt
            if halt is not None and halt.reported_ns > since_ns and self.stops.market_of(symbol) == market:
                state.halt = None
                self._judge(symbol, state)

    def update_listing(self, symbol: str, reported_ns: int, *, delisted: bool, suspended: bool) -> None:
        """Apply a master file's report on the symbol."""
        state = self.of(symbol)
        state.delisted = delisted
        state.suspension = HaltState(reported_ns) if suspended else None
        self._judge(symbol, state)

    def of(self, symbol: str) -> SymbolState:
        """The symbol's state; empty the first time."""
        state = self.by_symbol.get(symbol)
        if state is None:
            state = self.by_symbol[symbol] = SymbolState(
                rate=TradeRate(self._window_seconds),
                recent=RecentVolume(self._recent_step_ns),
                pace=self._paces.of(symbol),
                trade_volume=self._earlier.trade_volumes.get(symbol),
            )
        return state

    def update_pace(self) -> None:
        """Add the volume until now to each venue's pace, after a sweep: at the mean time of the symbols' volumes."""
        for pace, symbols in self._paces.samples:
            shares: dict[str, float] = {}
            seen_ns = 0
            for symbol in symbols:
                state, average = self.by_symbol.get(symbol), self.members[symbol].average_volume_20d
                if state is not None and average and state.cumulative_volume is not None:
                    shares[symbol] = state.cumulative_volume / average
                    seen_ns += state.seen_ns
            if shares:
                pace.add(seen_ns // len(shares), shares)
        self.update_trade_value()

    def update_trade_value(self) -> None:
        """Update the median value of a trade, which that of symbols without a streamed trade is taken to be."""
        values = [
            state.trade_volume * member.previous_close
            for symbol, member in self.members.items()
            if (state := self.by_symbol.get(symbol)) is not None and state.trade_volume
        ]
        self._trade_value = median(values) if values else None

    def forget_rates(self) -> None:
        """Forget the trade rates since the last evaluation."""
        for state in self.by_symbol.values():
            state.trades_per_second = None

    def update_silence(self, symbol: str, until_ns: int) -> None:
        """Apply that no trade of a streamed symbol followed its last one until this moment."""
        state = self.by_symbol.get(symbol)
        if state is None or state.cumulative_volume is None or state.seen_ns <= state.swept_ns:
            return
        state.silent_ns = until_ns
        if until_ns >= state.recent.next_ns:
            state.recent.mark(until_ns, state.cumulative_volume)

    def update_recent(
        self, member: UniverseMember, state: SymbolState, profile: Profile | None, opening: Baseline | None
    ) -> float | None:
        """The symbol's volume in its latest minutes in units of the usual one, which both are kept in its state; None
        if either is unknown, 0 without a trade and where nothing is usual. Where it is certainly too small for a surge,
        the usual is the least.
        """
        recent = state.recent
        since_ns, volume = recent.since_ns, state.cumulative_volume
        state.recent_awaited = False
        if since_ns is None or volume is None:
            return None
        until_ns = state.seen_ns
        if state.silent_ns > until_ns:
            until_ns = state.silent_ns
        volume -= recent.since_volume
        # Where all of the day's volume is that of the latest minutes, its ratio says what theirs would.
        state.recent_awaited = recent.since_volume > 0 and bool(member.average_volume_20d) and state.pace.is_formed
        usual = share = None
        if average := member.average_volume_20d:
            known_since_ns, known_until_ns, share = state.pace.last
            if known_since_ns != since_ns or known_until_ns != until_ns:
                share = state.pace.between(since_ns, until_ns)
            if share is not None:
                usual = share * average
        if profile is not None:
            if usual is not None:
                usual *= self._usual_min
            if usual is None or volume >= usual * self._hold_threshold:
                usual = self._usual_by_profile(state, profile, since_ns, until_ns, usual or 0.0)
        elif usual is None and not average and opening is not None:
            usual = opening.volume_between(since_ns, until_ns)
        # Where the universe does not trade, as after a close, a trade is no surge: the day's ratio would make it one.
        ratio = volume / usual if usual else 0.0 if share is not None or not volume else None
        if ratio is not None and ratio >= self._hold_threshold:
            state.recent_certain = self.certain_ratio(member, ratio, usual or 0.0)
        state.recent_ns, state.usual_recent_volume, state.recent_ratio = until_ns, usual, ratio
        return ratio

    def usual_between(self, symbol: str, since_ns: int, until_ns: int) -> float | None:
        """The usual volume of a symbol with a history between two moments, in shares; None if unknown or 0."""
        average, profile = self.members[symbol].average_volume_20d, self._earlier.profiles.get(symbol)
        share = self.of(symbol).pace.between(since_ns, until_ns) if average else None
        usual = share * average if share is not None and average else None
        if profile is not None:
            before, until = self._usual_until(profile, since_ns), self._usual_until(profile, until_ns)
            least = usual * self._usual_min if usual is not None else 0.0
            known = None if before is None or until is None else (until - before) * self.of(symbol).shares_factor
            usual = least if known is None else max(known, least)
        return usual or None

    def trade_volume(self, member: UniverseMember) -> float | None:
        """The mean volume of the symbol's trades; that of the median value if none was streamed; None if unknown."""
        state = self.by_symbol.get(member.symbol)
        if state is not None and state.trade_volume:
            return state.trade_volume
        return self._trade_value / member.previous_close if self._trade_value and member.previous_close else None

    def certain_ratio(self, member: UniverseMember, ratio: float, usual: float) -> float | None:
        """What is certain of a ratio to this usual volume of the symbol; None if the size of its trades is unknown."""
        trade_volume = self.trade_volume(member)
        return None if trade_volume is None else certain_ratio(ratio, usual, trade_volume, self._deviations_min)

    def seconds_overflow(self, member: UniverseMember, page_trades: int) -> float:
        """How many trades a second of the symbol's latest minutes share it with `page_trades` later ones, by the volume
        and the size of its trades; 0 if unknown.
        """
        state, size = self.by_symbol.get(member.symbol), self.trade_volume(member)
        if state is None or state.cumulative_volume is None or state.recent.since_ns is None:
            return 0.0
        seconds = (max(state.seen_ns, state.silent_ns) - state.recent.since_ns) / NS_PER_S
        risen = state.cumulative_volume - state.recent.since_volume
        if not size or not page_trades or risen <= 0 or seconds <= 0:
            return 0.0
        return overflowing_trades(risen / size / seconds, page_trades)

    def _usual_by_profile(
        self, state: SymbolState, profile: Profile, since_ns: int, until_ns: int, least: float
    ) -> float:
        """The usual volume between two moments, at least `least`."""
        if state.usual_since[0] != since_ns:
            last = state.usual_until  # of a sweep before
            state.usual_since = last if last[0] == since_ns else (since_ns, self._usual_until(profile, since_ns))
        if state.usual_until[0] != until_ns:
            state.usual_until = until_ns, self._usual_until(profile, until_ns)
        before, until = state.usual_since[1], state.usual_until[1]
        if before is None or until is None:
            return least
        return max((until - before) * state.shares_factor, least)

    def _usual_until(self, profile: Profile, at_ns: int) -> float | None:
        return volume_by(profile, self._earlier.time_of_day_s(at_ns))

    def _judge(self, symbol: str, state: SymbolState | None) -> None:
        reason = state.drop_reason if state is not None else None
        reason = "venue_closed" if symbol in self._closed and reason != "delisted" else reason
        if reason is None:
            self._dropped.pop(symbol, None)
        else:
            self._dropped[symbol] = reason

    def _adjust(self, state: SymbolState, snapshot: Snapshot) -> None:
        """On the day of a split or similar event, convert the symbol's data of earlier days to today's shares."""
        member = self.members.get(snapshot.symbol)
        if member is None or (factor := price_factor(member, snapshot)) == 1.0:
            return
        self.members[snapshot.symbol] = scaled(member, factor)
        state.shares_factor = 1 / factor
        if state.trade_volume is not None and state.cumulative_volume is None:  # no trade of today was streamed yet
            state.trade_volume /= factor
