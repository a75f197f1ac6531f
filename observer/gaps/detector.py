"""Detects missing trades of a stream by the exchange's cumulative volumes.

Every trade carries its own volume and the exchange's volume of the day after it. If the volume after the trade before,
plus the trade's own volume, differs from the volume after the trade, exactly the difference is missing; the day's trade
counts give the number of missing trades. Nothing is inferred from silence, so a recovery can be proved complete.

Trades lost between a subscription and its first trade leave no trace in the later trades. If the connection breaks in
that time, the chain continues from the last known volume before the subscription (a snapshot's volume, for example):
the gap is then wider than the loss, never narrower.
"""

from collections.abc import Iterable, Mapping, Sequence
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


class _Chain:
    """Detection state of one watched symbol.

    `session_date` is empty before the first trade; `before` is the mark known until then. `opening` is the first trade
    if no mark preceded it, kept until a mark arrives. `interruption` is the reason for the next gap; None if no
    interruption is known, else it was at `cut_ns`. `own` is the last trade's own volume, 0 after a mark.
    """

    __slots__ = (
        "before", "cut_ns", "exchange_time_ns", "interruption", "opening", "own", "session_date", "trades", "volume"
    )  # fmt: skip

    def __init__(self, before: Mark | None = None) -> None:
        self.before = before
        self.session_date = ""
        self.volume = 0.0
        self.own = 0.0
        self.trades: int | None = None
        self.exchange_time_ns = 0
        self.opening: Trade | None = None
        self.interruption: GapReason | None = None
        self.cut_ns = 0

    def follow(self, trade: Trade) -> None:
        self.volume = trade.cumulative_volume
        self.own = trade.volume
        self.trades = trade.cumulative_trades
        self.exchange_time_ns = trade.exchange_time_ns
        if trade.receive_time_ns > self.cut_ns:
            self.interruption = None

    def begin(self, trade: Trade) -> None:
        """Make `trade` the first trade of its session."""
        self.session_date = trade.session_date
        self.opening = trade
        self.follow(trade)

    def continue_from(self, mark: Mark) -> None:
        """Continue from the last stored trade of an earlier process."""
        self.session_date = mark.session_date
        self.volume = mark.cumulative_volume
        self.own = 0.0
        self.trades = mark.cumulative_trades
        self.exchange_time_ns = mark.exchange_time_ns
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
            self.volume = volume
            self.own = 0.0
            self.trades = trades
            self.exchange_time_ns = exchange_time_ns
            self.interruption = self.interruption or "volume_mismatch"


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
        if chain.interruption is None:
            return None
        return _gap_until(provider, symbol, chain, cumulative_volume, to_ns, now_ns)

    def account(self, symbol: str, cumulative_volume: float, now_ns: int, provider: str) -> GapDetected | None:
        """Compare a watched symbol with the day's volume at a moment whose trades have all arrived by `now_ns`. Returns
        the gap until now, after which the chain goes on; None if nothing is missing or the symbol has no volume yet.
        """
        chain = self._chains.get(symbol)
        if chain is None or not chain.session_date:
            return None
        gap = _gap_until(provider, symbol, chain, cumulative_volume, now_ns, now_ns)
        if gap is not None:
            chain.volume, chain.own, chain.trades = cumulative_volume, 0.0, None
            chain.exchange_time_ns, chain.interruption = now_ns, None
        return gap

    def resume(self, marks: Iterable[Mark]) -> list[GapDetected]:
        """Continue an earlier process's subscriptions from its last stored trades. Returns the gaps found.

        A mark may precede the symbol's start, precede its first trade, or follow it: then the first trade is compared
        with it now. The marks must be of trades stored *before* this process began to stream.
        """
        return [gap for mark in marks if (gap := self._resume_one(mark)) is not None]

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
            outcome = _gap_before(trade, chain)
        elif missing < -VOLUME_NOISE:
            self.inconsistent += 1
        chain.volume = volume
        chain.own = trade.volume
        chain.trades = trade.cumulative_trades
        chain.exchange_time_ns = trade.exchange_time_ns
        if trade.receive_time_ns > chain.cut_ns:
            chain.interruption = None
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
        chain.begin(trade)
        return "new"

    def _resume_one(self, mark: Mark) -> GapDetected | None:
        chain = self._chains.get(mark.symbol)
        if chain is None:
            self._marks[mark.symbol] = mark
            return None
        if not chain.session_date:
            chain.continue_from(mark)
            return None
        opening, chain.opening = chain.opening, None
        if opening is None or opening.session_date != mark.session_date:
            return None
        if opening.cumulative_volume - opening.volume - mark.cumulative_volume <= VOLUME_NOISE:
            return None
        earlier = _Chain()
        earlier.continue_from(mark)
        return _gap_before(opening, earlier)


def in_order(trades: Sequence[Trade]) -> Sequence[Trade]:
    """The records of one frame in the exchange's order: each symbol's by day and cumulative volume.

    The broker does not guarantee the order of a frame's records. In order of arrival, a late record would count first
    as a gap and then as a duplicate: dropped, and reported as missing.
    """
    return trades if len(trades) == 1 else sorted(trades, key=_counted)


def _counted(trade: Trade) -> tuple[str, str, float]:
    return trade.symbol, trade.session_date, trade.cumulative_volume


def _gap_before(trade: Trade, chain: _Chain) -> GapDetected:
    before_volume = trade.cumulative_volume - trade.volume
    return GapDetected(
        gap_id=_gap_id(trade.provider, trade.symbol, chain, before_volume),
        provider=trade.provider,
        symbol=trade.symbol,
        session_date=trade.session_date,
        detected_ns=trade.receive_time_ns,
        from_ns=min(chain.exchange_time_ns, trade.exchange_time_ns),  # a chain may end at a moment of this machine
        to_ns=trade.exchange_time_ns,
        after_volume=chain.volume,
        before_volume=before_volume,
        missing_volume=before_volume - chain.volume,
        missing_trades=_missing_trades(trade.cumulative_trades, chain.trades),
        reason=chain.interruption or "volume_mismatch",
        venue=trade.venue,
    )


def _gap_until(
    provider: str, symbol: str, chain: _Chain, cumulative_volume: float, to_ns: int, now_ns: int
) -> GapDetected | None:
    """The gap between the last trade of `chain` and this volume of the day at `to_ns`; None if nothing is missing. The
    number of missing trades is unknown.
    """
    missing_volume = cumulative_volume - chain.volume
    if missing_volume <= VOLUME_NOISE:
        return None
    return GapDetected(
        gap_id=_gap_id(provider, symbol, chain, cumulative_volume),
        provider=provider,
        symbol=symbol,
        session_date=chain.session_date,
        detected_ns=now_ns,
        from_ns=min(chain.exchange_time_ns, to_ns),
        to_ns=to_ns,
        after_volume=chain.volume,
        before_volume=cumulative_volume,
        missing_volume=missing_volume,
        missing_trades=None,
        reason=chain.interruption or "volume_mismatch",
    )


def _later(one: Mark | None, other: Mark | None) -> Mark | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda mark: (mark.session_date, mark.cumulative_volume))


def _gap_id(provider: str, symbol: str, chain: _Chain, before_volume: float) -> str:
    """The id of a gap: provider, symbol, day and its exact volumes; deterministic."""
    return f"{provider}-{symbol}-{chain.session_date}-{plain(chain.volume)}-{plain(before_volume)}"


def _missing_trades(count: int | None, previous_count: int | None) -> int | None:
    """The number of trades between two counts; None if a count is unknown or contradicts the missing volume."""
    if count is None or previous_count is None or count - 1 <= previous_count:
        return None
    return count - 1 - previous_count
