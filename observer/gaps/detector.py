"""Detects missing trades of a stream by the exchange's cumulative volumes.

Every trade carries its own volume and the exchange's volume of the day after it. If the volume after the trade before,
plus the trade's own volume, differs from the volume after the trade, exactly the difference is missing; the day's trade
counts give the number of missing trades. Nothing is inferred from silence, so a recovery can be proved complete.

Trades lost between a subscription and its first trade leave no trace in the later trades. If the connection breaks in
that time, the chain continues from the last known volume before the subscription (a snapshot's volume, for example):
the gap is then wider than the loss, never narrower.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Literal

import msgspec

from bus.events import GapDetected, GapReason, Trade, TradesConflated
from observer.base.units import plain
from observer.gaps.intervals import VOLUME_NOISE

# Outcome of a trade: continuous (also the first one of a subscription), duplicate, contradiction, or preceded by a gap.
# The trade after a gap is new, too. A contradiction is no repetition, and yet its volume of the day is below the last
# trade's: one of the two is wrong. An unwatched one is new, and comes while its symbol is not subscribed.
TradeOutcome = Literal["new", "duplicate", "contradiction", "unwatched"] | GapDetected
REPEATED: Final = ("duplicate", "contradiction")
"""The outcomes that leave the chain as it was."""


class Mark(msgspec.Struct, frozen=True):
    """The last stored trade of a symbol from an earlier process, or a moment before a subscription with a known day's
    volume.
    """

    symbol: str
    session_date: str
    cumulative_volume: float
    cumulative_trades: int | None
    exchange_time_ns: int


class _Chain(msgspec.Struct):
    """Detection state of one watched symbol.

    `session_date` is empty before the first trade; `before` is the mark known until then. `interruption` is the reason
    for the next gap; None if no interruption is known, else it was at `cut_ns`. `own` is the last trade's own volume,
    0 after a mark.
    """

    before: Mark | None = None
    session_date: str = ""
    volume: float = 0.0
    own: float = 0.0
    trades: int | None = None
    exchange_time_ns: int = 0
    interruption: GapReason | None = None
    cut_ns: int = 0

    def follow(self, trade: Trade) -> None:
        self.volume = trade.cumulative_volume
        self.own = trade.volume
        self.trades = trade.cumulative_trades
        self.exchange_time_ns = trade.exchange_time_ns
        if trade.receive_time_ns > self.cut_ns:
            self.interruption = None

    def stand_at(self, volume: float, trades: int | None, exchange_time_ns: int) -> None:
        """End at a known volume that is no trade's."""
        self.volume, self.own, self.trades, self.exchange_time_ns = volume, 0.0, trades, exchange_time_ns

    def continue_from(self, mark: Mark) -> None:
        """Continue from the last stored trade of an earlier process."""
        self.session_date = mark.session_date
        self.stand_at(mark.cumulative_volume, mark.cumulative_trades, mark.exchange_time_ns)
        self.interruption = "restart"

    def learn(self, before: Mark | None) -> None:
        """Set the mark before the first trade; of two the earlier one counts."""
        if before is None or self.session_date:
            return
        if self.before is not None and self.before.cumulative_volume <= before.cumulative_volume:
            return
        self.before = before
        if (interruption := self.interruption) is not None:
            self.continue_from(before)
            self.interruption = interruption

    def mark(self, symbol: str, volume: float, exchange_time_ns: int) -> Mark:
        """The end of the symbol's accounted volume on the chain's day."""
        return Mark(symbol, self.session_date, volume, None, exchange_time_ns)

    def is_contradicted_by(self, trade: Trade) -> bool:
        """Whether a trade with less volume of the day than the last one is not among the earlier trades: it is later,
        or its volume ends within the last trade's own. A mark may be a false trade of an earlier process.
        """
        if trade.cumulative_volume == self.volume:
            return False
        is_within = self.own > 0 and trade.cumulative_volume > self.volume - self.own + VOLUME_NOISE
        return is_within or trade.exchange_time_ns > self.exchange_time_ns

    def set_back(self, volume: float, trades: int | None, exchange_time_ns: int) -> None:
        """Drop everything after this volume."""
        if volume < self.volume:
            self.stand_at(volume, trades, exchange_time_ns)
            self.interruption = self.interruption or "volume_mismatch"

    def gap(self, provider: str, symbol: str, before_volume: float, to_ns: int, now_ns: int) -> GapDetected:
        """The gap between the chain's end and this volume of the day, which was reached by `to_ns`. Its id is
        deterministic: provider, symbol, day and the exact volumes.
        """
        return GapDetected(
            gap_id=f"{provider}-{symbol}-{self.session_date}-{plain(self.volume)}-{plain(before_volume)}",
            provider=provider,
            symbol=symbol,
            session_date=self.session_date,
            detected_ns=now_ns,
            from_ns=min(self.exchange_time_ns, to_ns),  # a chain may end at a moment of this machine
            to_ns=to_ns,
            after_volume=self.volume,
            before_volume=before_volume,
            missing_volume=before_volume - self.volume,
            missing_trades=None,
            reason=self.interruption or "volume_mismatch",
        )


class GapDetector:
    """Detects gaps in the trades of subscribed symbols. Explicit state, no clock; one per streaming process.

    `duplicates` counts repeated trades (to be dropped), `contradictions` those of that outcome, `unwatched` trades of
    unsubscribed symbols (not checked), `inconsistent` trades that overlap their predecessor, which no loss explains.
    """

    __slots__ = ("_chains", "_marks", "_reached", "contradictions", "duplicates", "inconsistent", "unwatched")

    def __init__(self) -> None:
        self._chains: dict[str, _Chain] = {}
        self._marks: dict[str, Mark] = {}
        self._reached: dict[str, Mark] = {}  # marks of symbols that were left
        self.duplicates = 0
        self.contradictions = 0
        self.unwatched = 0
        self.inconsistent = 0

    @property
    def watched(self) -> frozenset[str]:
        return frozenset(self._chains)

    def start(self, symbol: str, before: Mark | None = None) -> None:
        """Start watching a symbol. Earlier trades count only from the mark of an earlier process.

        A symbol that is watched already keeps its state: a renewed subscription after a reconnection continues.
        `before` is the symbol's known volume earlier on this day; it may arrive later, but before the first trade.
        """
        watched = self._chains.get(symbol)
        if watched is not None:
            watched.learn(before)
            return
        chain = self._chains[symbol] = _Chain(_later(before, self._reached.get(symbol)))
        mark = self._marks.pop(symbol, None)
        if mark is not None:
            chain.continue_from(mark)

    def stop(self, symbol: str) -> None:
        """Stop watching a symbol for good."""
        chain = self._chains.pop(symbol, None)
        self._marks.pop(symbol, None)
        if chain is not None and chain.session_date:
            self._reached[symbol] = chain.mark(symbol, chain.volume, chain.exchange_time_ns)

    def refused(self, event: Trade | TradesConflated | GapDetected) -> None:
        """Move the symbol's chain back to before an event that could not be stored (a trade, a conflated row or a gap),
        so that the next stored trade shows the gap.

        Call this for all later events, too, or check those only afterwards.
        """
        chain = self._chains.get(event.symbol)
        if chain is None or chain.session_date != event.session_date:
            return
        if isinstance(event, GapDetected):
            chain.set_back(event.after_volume, None, event.from_ns)
            return
        count, at_ns = (
            (event.trades, event.from_ns) if isinstance(event, TradesConflated) else (1, event.exchange_time_ns)
        )
        count_before = None if event.cumulative_trades is None else event.cumulative_trades - count
        chain.set_back(event.cumulative_volume - event.volume, count_before, at_ns)

    def interrupted(self, symbol: str, reason: GapReason, since_ns: int = 0) -> None:
        """Record that a watched symbol lost continuity at `since_ns`; its next gap has this reason."""
        chain = self._chains.get(symbol)
        if chain is None:
            return
        if not chain.session_date and chain.before is not None:
            chain.continue_from(chain.before)
        chain.interruption, chain.cut_ns = reason, since_ns

    def reached(self, symbol: str) -> float | None:
        """The day's volume up to which a watched symbol's trades are accounted for; None before the first trade."""
        chain = self._chains.get(symbol)
        return chain.volume if chain is not None and chain.session_date else None

    def last_trade_ns(self, symbol: str) -> int:
        """The exchange time of a watched symbol's last trade; 0 if its last known volume is no trade's."""
        chain = self._chains.get(symbol)
        return chain.exchange_time_ns if chain is not None and chain.own > 0 else 0

    def delivered_ns(self, symbols: Iterable[str]) -> Mapping[str, int]:
        """By symbol, the moment until which all its trades have come; of symbols of one connection, which delivers in
        order: the time of the latest trade of any. Omits those without a trade since their watch or their last cut.
        """
        unsettled = self.unsettled()
        found = [each for each in symbols if each not in unsettled and self.last_trade_ns(each)]
        return dict.fromkeys(found, max(map(self.last_trade_ns, found), default=0))

    def is_watched(self, symbol: str) -> bool:
        return symbol in self._chains

    def position(self, symbol: str) -> tuple[float, int] | None:
        """The symbol's last known volume of the day and its time, from a trade or a mark; None if unknown."""
        chain = self._chains.get(symbol)
        if chain is not None and chain.session_date:
            return chain.volume, chain.exchange_time_ns
        mark = chain.before if chain is not None else self._reached.get(symbol)
        return None if mark is None else (mark.cumulative_volume, mark.exchange_time_ns)

    def unsettled(self) -> frozenset[str]:
        """The symbols without a trade since they lost continuity: whether trades are missing is open."""
        chains = self._chains.items()
        return frozenset(each for each, chain in chains if chain.interruption is not None and chain.session_date)

    def settle(
        self, symbol: str, cumulative_volume: float, now_ns: int, provider: str, at_ns: int | None = None
    ) -> GapDetected | None:
        """Stop watching an unsettled symbol, given the day's volume at `at_ns` (None: now). Returns the gap until then;
        None if nothing is missing.

        A gap normally shows in the next trade. For a symbol that is left before its next trade, only the exchange's
        volume shows it; the number of missing trades stays unknown.
        """
        chain, to_ns = self._chains.pop(symbol), now_ns if at_ns is None else at_ns
        self._reached[symbol] = chain.mark(symbol, max(chain.volume, cumulative_volume), to_ns)
        if chain.interruption is None or cumulative_volume - chain.volume <= VOLUME_NOISE:
            return None
        return chain.gap(provider, symbol, cumulative_volume, to_ns, now_ns)

    def account(self, symbol: str, cumulative_volume: float, now_ns: int, provider: str) -> GapDetected | None:
        """Compare a watched symbol with the day's volume at a moment whose trades have all arrived by `now_ns`. Returns
        the gap until now, after which the chain goes on; None if nothing is missing or the symbol has no volume yet.
        """
        chain = self._chains.get(symbol)
        if chain is None or not chain.session_date or cumulative_volume - chain.volume <= VOLUME_NOISE:
            return None
        gap = chain.gap(provider, symbol, cumulative_volume, now_ns, now_ns)
        chain.stand_at(cumulative_volume, None, now_ns)
        chain.interruption = None
        return gap

    def resume(self, mark: Mark) -> None:
        """Continue an earlier process's subscription, before the symbol's start, from the last trade stored *before*
        this process began to stream.
        """
        self._marks[mark.symbol] = mark

    def observe(self, trade: Trade) -> TradeOutcome:
        """Classify one streamed trade. On the hot path: allocates only if it finds a gap."""
        chain = self._chains.get(trade.symbol)
        if chain is None:
            return self._observe_unwatched(trade)
        if trade.session_date != chain.session_date:
            return self._other_session(chain, trade)
        volume = trade.cumulative_volume
        if volume <= chain.volume:
            return self._repeated(chain, trade)
        missing = volume - trade.volume - chain.volume
        outcome: TradeOutcome = "new"
        if missing > VOLUME_NOISE:
            gap = chain.gap(
                trade.provider, trade.symbol, volume - trade.volume, trade.exchange_time_ns, trade.receive_time_ns
            )
            missing_trades = _missing_trades(trade.cumulative_trades, chain.trades)
            outcome = msgspec.structs.replace(gap, missing_trades=missing_trades, venue=trade.venue)
        elif missing < -VOLUME_NOISE:
            self.inconsistent += 1
        chain.follow(trade)
        return outcome

    def _repeated(self, chain: _Chain, trade: Trade) -> TradeOutcome:
        """Classify a trade with no more volume of the day than the chain's last trade."""
        if chain.is_contradicted_by(trade):
            self.contradictions += 1
            return "contradiction"
        self.duplicates += 1
        return "duplicate"

    def _observe_unwatched(self, trade: Trade) -> TradeOutcome:
        self.unwatched += 1
        left = self._reached.get(trade.symbol)
        if left and left.session_date == trade.session_date and trade.cumulative_volume <= left.cumulative_volume:
            self.duplicates += 1
            return "duplicate"
        return "unwatched"

    def note(self, trade: Trade) -> None:
        """Continue behind an unwatched trade, which is stored; one that is not must leave no trace in the chain."""
        volume, count = trade.cumulative_volume, trade.cumulative_trades
        self._reached[trade.symbol] = Mark(trade.symbol, trade.session_date, volume, count, trade.exchange_time_ns)

    def _other_session(self, chain: _Chain, trade: Trade) -> TradeOutcome:
        """Classify the first trade of a chain or of another day; a late trade of an earlier day is a duplicate."""
        if trade.session_date < chain.session_date:
            self.duplicates += 1
            return "duplicate"
        chain.session_date = trade.session_date
        chain.follow(trade)
        return "new"


def in_order(trades: Sequence[Trade]) -> Sequence[Trade]:
    """The records of one frame in the exchange's order: each symbol's by day and cumulative volume.

    The broker does not guarantee the order of a frame's records. In order of arrival, a late record would count first
    as a gap and then as a duplicate: dropped, and reported as missing.
    """
    if len(trades) == 1:
        return trades
    return sorted(trades, key=attrgetter("symbol", "session_date", "cumulative_volume"))


def _later(one: Mark | None, other: Mark | None) -> Mark | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda mark: (mark.session_date, mark.cumulative_volume))


def _missing_trades(count: int | None, previous_count: int | None) -> int | None:
    """The number of trades between two counts; None if a count is unknown or contradicts the missing volume."""
    if count is None or previous_count is None or count - 1 <= previous_count:
        return None
    return count - 1 - previous_count


# --- stale ---
#
# Detects stale subscriptions: acknowledged by the broker, without trades. Pure.
#
# Keep-alives arrive, the connection stays open, and a symbol without trading is silent, too; only Track A's volumes
# distinguish the two. If a sweep shows more volume than the stream, and the stream is still behind at the next sweep,
# the
# broker has dropped the subscription: a trade arrives well within these minutes.


class StaleDetector:
    """Track A's volumes of the subscribed symbols; explicit state, no clock."""

    __slots__ = ("_swept",)

    def __init__(self) -> None:
        # By symbol, the day's volume in the first sweep after the subscription, and in the latest one.
        self._swept: dict[str, tuple[float, float]] = {}

    def subscribed_anew(self, symbol: str, volume: float | None = None) -> None:
        """Start a subscription: earlier trading is not expected in the stream. `volume` is the day's until now, if
        known.
        """
        if volume is None:
            self._swept.pop(symbol, None)
        else:
            self._swept[symbol] = volume, volume

    def is_behind(self, symbol: str, volume: float, reached: float | None) -> bool:
        """Whether the streamed volume is behind this observed volume, from a sweep or not. Valid for an uninterrupted
        subscription: after its first trade the stream must carry all that follow.
        """
        first, _ = self._swept.get(symbol, (None, None))
        received = first if reached is None else reached
        return received is not None and volume - received > VOLUME_NOISE

    def after_sweep(self, volumes: Mapping[str, float], reached: Callable[[str], float | None]) -> Mapping[str, float]:
        """The stale symbols, with the minimum missing volume (shares) of each.

        Args:
            volumes: the day's volume of each subscribed symbol in the sweep; other symbols are forgotten.
            reached: the day's volume after a symbol's last streamed trade; None before the first.
        """
        stale: dict[str, float] = {}
        swept: dict[str, tuple[float, float]] = {}
        for symbol, volume in volumes.items():
            first, latest = self._swept.get(symbol, (volume, 0.0))
            if (missing := latest - max(first, reached(symbol) or 0.0)) > 0:
                stale[symbol] = missing
            swept[symbol] = first, volume
        self._swept = swept
        return stale
