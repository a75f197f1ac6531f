"""Finds the trades that a stream did not bring, by the exchange's own arithmetic. design.md 6.6.

Every trade carries its volume and the day's volume after it. If the previous day's volume plus this trade's volume is
not the new one, exactly the difference is missing, in exactly as many trades as the day's trade counts are apart. So
nothing is guessed from silence, and a recovery can be proved complete.

What is lost between a registration and its first trade leaves no trace in the trades: there is nothing to compare with
yet. When the line breaks in that time, the chain goes on from what was known of the symbol before it was registered (a
snapshot's volume, say): the hole is then wider than what was missed, never narrower.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from bus.events import GapDetected, GapReason, Trade, TradesConflated
from observer.gaps.volumes import VOLUME_NOISE

# A trade that follows on (also: the first one of a registration), one seen before, or one that follows a hole. A trade
# behind a hole is as new as any other.
Observation = Literal["new", "duplicate"] | GapDetected


class Mark(msgspec.Struct, frozen=True):
    """The last trade of a symbol that an earlier process is known to have stored; or a moment before a registration at
    which the day's volume was known.
    """

    symbol: str
    session_date: str
    cumulative_volume: float
    cumulative_trades: int | None
    exchange_time_ns: int


class _Chain:
    """What is known of one watched symbol.

    `session_date` is empty while nothing was seen; `before` is what was known until then. `opening` is the first trade
    when nothing was known before it, kept until a mark says what should have preceded it. `interruption` is why the
    next hole is expected, None if it is not.
    """

    __slots__ = ("before", "exchange_time_ns", "interruption", "opening", "session_date", "trades", "volume")

    def __init__(self, before: Mark | None = None) -> None:
        self.before = before
        self.session_date = ""
        self.volume = 0.0
        self.trades: int | None = None
        self.exchange_time_ns = 0
        self.opening: Trade | None = None
        self.interruption: GapReason | None = None

    def follow(self, trade: Trade) -> None:
        """Make `trade` the last one seen."""
        self.volume = trade.cumulative_volume
        self.trades = trade.cumulative_trades
        self.exchange_time_ns = trade.exchange_time_ns
        self.interruption = None

    def begin(self, trade: Trade) -> None:
        """Make `trade` the first one seen of its session."""
        self.session_date = trade.session_date
        self.opening = trade
        self.follow(trade)

    def continue_from(self, mark: Mark) -> None:
        """Go on where an earlier process stopped."""
        self.session_date = mark.session_date
        self.volume = mark.cumulative_volume
        self.trades = mark.cumulative_trades
        self.exchange_time_ns = mark.exchange_time_ns
        self.interruption = "restart"

    def learn(self, before: Mark | None) -> None:
        """Take what was known before the first trade, if nothing was."""
        if self.before is not None or self.session_date or before is None:
            return
        self.before = before
        if (interruption := self.interruption) is not None:
            self.continue_from(before)
            self.interruption = interruption

    def mark(self, symbol: str, volume: float, exchange_time_ns: int) -> Mark:
        """How far the symbol is accounted for on this chain's day."""
        return Mark(symbol, self.session_date, volume, None, exchange_time_ns)

    def set_back(self, volume: float, trades: int | None, exchange_time_ns: int) -> None:
        """Forget what came behind this volume, if anything did."""
        if volume < self.volume:
            self.volume = volume
            self.trades = trades
            self.exchange_time_ns = exchange_time_ns
            self.interruption = self.interruption or "volume_mismatch"


class GapDetector:
    """Watches the trades of registered symbols; explicit state, no clock. One for each process that streams.

    `duplicates` counts trades that were seen before (to be dropped), `unwatched` trades of symbols that are not
    registered (not judged), `inconsistent` trades that overlap the one before them, which no loss explains.
    """

    __slots__ = ("_chains", "_marks", "_reached", "duplicates", "inconsistent", "unwatched")

    def __init__(self) -> None:
        self._chains: dict[str, _Chain] = {}
        self._marks: dict[str, Mark] = {}
        self._reached: dict[str, Mark] = {}  # how far symbols that were left are accounted for
        self.duplicates = 0
        self.unwatched = 0
        self.inconsistent = 0

    @property
    def watched(self) -> frozenset[str]:
        """The symbols between `start` and `stop`."""
        return frozenset(self._chains)

    def start(self, symbol: str, before: Mark | None = None) -> None:
        """A registration begins. What happened before is not ours, unless a mark of an earlier process is there.

        A symbol that is watched already stays as it is: a registration renewed after a reconnection goes on. `before`
        is what was known of the symbol earlier on this day; it may become known only now, as long as no trade came.
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
        """A registration ends for good: what the symbol does from now on is not ours."""
        chain = self._chains.pop(symbol, None)
        self._marks.pop(symbol, None)
        if chain is not None and chain.session_date:
            self._reached[symbol] = chain.mark(symbol, chain.volume, chain.exchange_time_ns)

    def refused(self, event: Trade | TradesConflated | GapDetected) -> None:
        """A trade, a row of several, or a gap that was judged here could not be kept: the symbol's chain ends before
        it, so that the next trade that is kept shows the hole.

        Everything that was judged after it must be told too, or not be judged yet.
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

    def interrupted(self, symbol: str, reason: GapReason) -> None:
        """A watched symbol lost continuity, and it is known why: its next hole carries this reason."""
        chain = self._chains.get(symbol)
        if chain is None:
            return
        if not chain.session_date and chain.before is not None:
            chain.continue_from(chain.before)
        chain.interruption = reason

    def reached(self, symbol: str) -> float | None:
        """The day's volume after the last trade seen of a watched symbol; None before the first."""
        chain = self._chains.get(symbol)
        return chain.volume if chain is not None and chain.session_date else None

    def unsettled(self) -> frozenset[str]:
        """The symbols that lost continuity and did not trade since: whether something is missing of them is open."""
        return frozenset(
            symbol for symbol, chain in self._chains.items() if chain.interruption is not None and chain.session_date
        )

    def settle(self, symbol: str, cumulative_volume: float, now_ns: int, provider: str) -> GapDetected | None:
        """Stop watching an unsettled symbol, given the day's volume now: what is missing of it until now, if anything.

        A hole shows in the next trade; when a symbol is left before it trades again, only the exchange's own volume
        tells. How many trades are missing it does not tell.
        """
        chain = self._chains.pop(symbol)
        self._reached[symbol] = chain.mark(symbol, max(chain.volume, cumulative_volume), now_ns)
        missing_volume = cumulative_volume - chain.volume
        if chain.interruption is None or missing_volume <= VOLUME_NOISE:
            return None
        return GapDetected(
            gap_id=_gap_id(symbol, chain, cumulative_volume),
            provider=provider,
            symbol=symbol,
            session_date=chain.session_date,
            detected_ns=now_ns,
            from_ns=chain.exchange_time_ns,
            to_ns=now_ns,
            after_volume=chain.volume,
            before_volume=cumulative_volume,
            missing_volume=missing_volume,
            missing_trades=None,
            reason=chain.interruption,
        )

    def resume(self, marks: Iterable[Mark]) -> list[GapDetected]:
        """Continue an earlier process's registrations from its last stored trades.

        A mark may come before the symbol is started, before its first trade, or after: then the first trade is compared
        with it now. The marks must be of trades stored *before* this process began to stream.
        """
        found = (self._resume_one(mark) for mark in marks)
        return [gap for gap in found if gap is not None]

    def observe(self, trade: Trade) -> Observation:
        """Judge one streamed trade. On the hot path: nothing is built unless a hole is found."""
        chain = self._chains.get(trade.symbol)
        if chain is None:
            return self._observe_unwatched(trade)
        if trade.session_date != chain.session_date:
            return self._other_session(chain, trade)
        volume = trade.cumulative_volume
        if volume <= chain.volume:
            self.duplicates += 1
            return "duplicate"
        missing = volume - trade.volume - chain.volume
        observation: Observation = "new"
        if missing > VOLUME_NOISE:
            observation = _gap_before(trade, chain)
        elif missing < -VOLUME_NOISE:
            self.inconsistent += 1
        chain.volume = volume
        chain.trades = trade.cumulative_trades
        chain.exchange_time_ns = trade.exchange_time_ns
        chain.interruption = None
        return observation

    def _observe_unwatched(self, trade: Trade) -> Observation:
        """Of a symbol that is not watched, or not any more: two lines may still bring it, and it is kept once."""
        self.unwatched += 1
        reached = self._reached.get(trade.symbol)
        is_known = reached is not None and reached.session_date == trade.session_date
        if reached is not None and is_known and trade.cumulative_volume <= reached.cumulative_volume:
            self.duplicates += 1
            return "duplicate"
        self._reached[trade.symbol] = Mark(
            trade.symbol, trade.session_date, trade.cumulative_volume, trade.cumulative_trades, trade.exchange_time_ns
        )
        return "new"

    def _other_session(self, chain: _Chain, trade: Trade) -> Observation:
        """A first trade, or the first of another day; a straggler of an earlier day was seen on that day."""
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
    """The records of one frame as the exchange counted them, each symbol's by day and cumulative volume.

    Nobody promises the order of a frame's records. Judged as it comes, one that is told too late is a hole first and a
    duplicate then: lost, and reported as missing.
    """
    return trades if len(trades) == 1 else sorted(trades, key=_counted)


def _counted(trade: Trade) -> tuple[str, str, float]:
    return trade.symbol, trade.session_date, trade.cumulative_volume


def _gap_before(trade: Trade, chain: _Chain) -> GapDetected:
    """The hole between the last trade of `chain` and `trade`."""
    before_volume = trade.cumulative_volume - trade.volume
    return GapDetected(
        gap_id=_gap_id(trade.symbol, chain, before_volume),
        provider=trade.provider,
        symbol=trade.symbol,
        session_date=trade.session_date,
        detected_ns=trade.receive_time_ns,
        from_ns=chain.exchange_time_ns,
        to_ns=trade.exchange_time_ns,
        after_volume=chain.volume,
        before_volume=before_volume,
        missing_volume=before_volume - chain.volume,
        missing_trades=_missing_trades(trade.cumulative_trades, chain.trades),
        reason=chain.interruption or "volume_mismatch",
    )


def _later(one: Mark | None, other: Mark | None) -> Mark | None:
    """Which of two moments of a symbol is the later one."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda mark: (mark.session_date, mark.cumulative_volume))


def _gap_id(symbol: str, chain: _Chain, before_volume: float) -> str:
    """The same hole has the same name whoever finds it, and however often."""
    return f"{symbol}-{chain.session_date}-{int(chain.volume)}-{int(before_volume)}"


def _missing_trades(count: int | None, previous_count: int | None) -> int | None:
    """Trades between two counts; None where one is unknown or the counts contradict the missing volume."""
    if count is None or previous_count is None or count - 1 <= previous_count:
        return None
    return count - 1 - previous_count
