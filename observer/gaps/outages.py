"""The gaps of cut connections: opened at the cut, proved or closed as empty by the exchange's volume. Pure.

The detector (`observer.gaps.detector`) proves what is missing; here a proof gets the id and the times of the cut that
caused it, so one cut is one gap of a symbol. The states of a symbol's gap:

| state | cut again | stream is back | volume is equal | volume is missing |
| --- | --- | --- | --- | --- |
| none | opens: *down* | | | a gap of its own |
| *down* | stays | *back* | closed by the next trade alone: none | proved: none |
| *back* | *down*, the same gap | stays | closed as empty: *empty*; by a trade: none | proved: none |
| *empty* | opens another: *down* | stays | stays; by a trade: none | proved, with the id: none |

*empty* stays until the next trade: a quote may be older than its request, and then the trade shows the same gap.
"""

from typing import Final, assert_never

import msgspec

from bus.events import (
    GapDetected,
    GapEmpty,
    GapOpened,
    GapReason,
    Reached,
    Trade,
    TradesConflated,
    WatchChanged,
    WatchInterrupted,
    WatchLearned,
    WatchObserved,
    WatchResumed,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.base.lines import venue_of
from observer.base.units import plain
from observer.gaps.detector import GapDetector, Mark, TradeOutcome
from observer.gaps.intervals import VOLUME_NOISE

Resolution = GapDetected | GapEmpty
"""What becomes of a gap: missing volume is proved, or that nothing is missing."""

_WITHOUT_OUTAGE: Final[frozenset[GapReason]] = frozenset({"volume_mismatch"})
"""Reasons of gaps in which the stream was not cut."""


class Outage(msgspec.Struct, frozen=True):
    """A gap of a symbol: since `from_ns`, until `to_ns` (None: the stream is not back). `is_closed`: its outcome is
    published, as far as a quote can show it; a later proof is about the same gap.
    """

    gap_id: str
    provider: str
    session_date: str
    from_ns: int
    to_ns: int | None = None
    is_closed: bool = False


class GapTracker:
    """Follows the gaps of watched symbols from the cut to the proof. Explicit state, no clock. Its inputs are the
    changes of watches and the trades, as they are published: a replay of them finds the same gaps.

    `main_venue` is the venue of the symbols without a venue in their id, for the events; empty while it is not known.
    """

    __slots__ = ("_outages", "detector", "main_venue")

    def __init__(self, main_venue: str = "") -> None:
        self.detector = GapDetector()
        self.main_venue = main_venue
        self._outages: dict[str, Outage] = {}

    def apply(self, changed: WatchChanged) -> GapOpened | Resolution | None:
        """Apply a change of a symbol's watch. Returns the gap that it opens or resolves; None: neither."""
        symbol, change = changed.symbol, changed.change
        match change:
            case WatchResumed(reached, since_ns, gap_id):
                self.detector.resume(_mark(changed, reached))
                if gap_id is None:
                    return self._open(changed, "restart", reached.cumulative_volume, since_ns)
                self._outages[symbol] = Outage(gap_id, changed.provider, changed.session_date, since_ns)
            case WatchStarted(known):
                self.detector.start(symbol, None if known is None else _mark(changed, known))
                self._back(symbol, changed.changed_ns)
            case WatchLearned(known):
                self.detector.start(symbol, _mark(changed, known))
            case WatchInterrupted(reason, since_ns):
                return self._interrupt(changed, reason, since_ns)
            case WatchObserved(reached):
                return self._account(changed, reached)
            case WatchSettled(reached):
                return self._settle(changed, reached)
            case WatchStopped():
                return self._stop(changed)
            case _:
                assert_never(change)
        return None

    def observe(self, trade: Trade) -> TradeOutcome | GapEmpty:
        """Classify one streamed trade as the detector does. `GapEmpty`: the trade is new, and nothing was missing
        before it.
        """
        outcome = self.detector.observe(trade)
        return self._resolved(trade, outcome) if trade.symbol in self._outages else outcome

    def refused(self, event: Trade | TradesConflated | GapDetected | GapEmpty) -> None:
        """Set the symbol's gap back to before an event that could not be stored; the next proof has its id again."""
        if isinstance(event, GapEmpty):
            outage = Outage(event.gap_id, event.provider, event.session_date, event.from_ns, event.to_ns)
            self._outages[event.symbol] = outage
            return
        self.detector.refused(event)
        if isinstance(event, GapDetected) and self.detector.is_watched(event.symbol):
            outage = Outage(event.gap_id, event.provider, event.session_date, event.from_ns, event.to_ns, True)
            self._outages.setdefault(event.symbol, outage)

    @property
    def unwatched(self) -> frozenset[str]:
        """The symbols of an earlier process that are not streamed again yet."""
        return frozenset(symbol for symbol in self._outages if not self.detector.is_watched(symbol))

    def venue(self, symbol: str) -> str:
        return venue_of(symbol, self.main_venue)

    def is_down(self, symbol: str) -> bool:
        outage = self._outages.get(symbol)
        return outage is not None and outage.to_ns is None

    def is_open(self, symbol: str) -> bool:
        """Whether the stream is back, and nothing has shown yet how much it missed."""
        outage = self._outages.get(symbol)
        return outage is not None and outage.to_ns is not None and not outage.is_closed

    def unresolved(self, symbol: str) -> str | None:
        """The id of the symbol's gap if nothing has shown how much the stream missed."""
        outage = self._outages.get(symbol)
        return outage.gap_id if outage is not None and not outage.is_closed else None

    def _interrupt(self, changed: WatchChanged, reason: GapReason, since_ns: int) -> GapOpened | None:
        """Open a gap, unless one is open, the stream was not cut, or the symbol's volume is not known."""
        self.detector.interrupted(changed.symbol, reason, 0 if reason in _WITHOUT_OUTAGE else since_ns)
        volume = self.detector.reached(changed.symbol)
        if reason in _WITHOUT_OUTAGE or volume is None:
            return None
        return self._open(changed, reason, volume, since_ns)

    def _back(self, symbol: str, now_ns: int) -> None:
        outage = self._outages.get(symbol)
        if outage is not None and outage.to_ns is None:
            self._outages[symbol] = msgspec.structs.replace(outage, to_ns=now_ns)

    def _account(self, changed: WatchChanged, asked: Reached) -> Resolution | None:
        """Compare a watched symbol with the day's volume at the time of its request; the trades until then have
        arrived. A stream that was not back when the broker was asked shows nothing.
        """
        symbol, volume, outage = changed.symbol, asked.cumulative_volume, self._outages.get(changed.symbol)
        if (
            outage is not None
            and not outage.is_closed
            and (outage.to_ns is None or outage.to_ns > asked.exchange_time_ns)
        ):
            return None
        if volume < (self.detector.reached(symbol) or 0.0) - VOLUME_NOISE:  # from before the last streamed trade
            return None
        if (gap := self.detector.account(symbol, volume, changed.changed_ns, changed.provider)) is not None:
            return self._proved(gap)
        return self._close(symbol, volume, changed.changed_ns)

    def _settle(self, changed: WatchChanged, seen: Reached) -> Resolution | None:
        """Stop watching an unsettled symbol, given the day's volume at a time, where its gap ends."""
        symbol, volume, now_ns, at_ns = (
            changed.symbol,
            seen.cumulative_volume,
            changed.changed_ns,
            seen.exchange_time_ns,
        )
        if (gap := self.detector.settle(symbol, volume, now_ns, changed.provider, at_ns)) is not None:
            found = self._proved(gap)
            until_ns = min(found.to_ns, at_ns)
            return msgspec.structs.replace(found, from_ns=min(found.from_ns, until_ns), to_ns=until_ns)
        closed = self._close(symbol, volume, now_ns)
        self._outages.pop(symbol, None)
        return closed

    def _stop(self, changed: WatchChanged) -> GapOpened | None:
        """Stop watching a symbol for good. One that may have missed trades without a cut, and no volume has shown
        whether it did, opens a gap.
        """
        symbol, opened, position = changed.symbol, None, self.detector.position(changed.symbol)
        if symbol not in self._outages and position is not None and symbol in self.detector.unsettled():
            volume, since_ns = position
            opened = self._open(changed, "volume_mismatch", volume, min(since_ns, changed.changed_ns))
        self.detector.stop(symbol)
        self._outages.pop(symbol, None)
        return opened

    def _open(self, changed: WatchChanged, reason: GapReason, volume: float, since_ns: int) -> GapOpened | None:
        provider, symbol, session_date = changed.provider, changed.symbol, changed.session_date
        outage = self._outages.get(symbol)
        if outage is not None and not outage.is_closed:
            self._outages[symbol] = msgspec.structs.replace(outage, to_ns=None)
            return None
        gap_id = f"{provider}-{symbol}-{session_date}-{plain(volume)}-cut-{since_ns // 1_000_000}"
        self._outages[symbol] = Outage(gap_id, provider, session_date, since_ns)
        now_ns, venue = changed.changed_ns, self.venue(symbol)
        return GapOpened(gap_id, provider, symbol, session_date, now_ns, since_ns, volume, reason, venue)

    def _resolved(self, trade: Trade, outcome: TradeOutcome) -> TradeOutcome | GapEmpty:
        outage = self._outages[trade.symbol]
        if trade.receive_time_ns <= outage.from_ns:  # it was held when the stream was cut
            return outcome
        if isinstance(outcome, GapDetected):
            return self._proved(outcome)
        if outcome != "new" or outage.session_date != trade.session_date:
            return outcome
        at_ns, before = trade.receive_time_ns, trade.cumulative_volume - trade.volume
        closed = None if outage.is_closed else self._empty(trade.symbol, outage, before, at_ns)
        del self._outages[trade.symbol]
        return closed or outcome

    def _proved(self, gap: GapDetected) -> GapDetected:
        """The gap, with the id and the times of the cut that caused it."""
        outage = self._outages.pop(gap.symbol, None)
        gap = msgspec.structs.replace(gap, venue=self.venue(gap.symbol))
        if outage is None or outage.session_date != gap.session_date:
            return gap
        to_ns = outage.to_ns
        if to_ns is None or outage.is_closed:  # it may also be missing after the outage
            to_ns = max(outage.from_ns, gap.to_ns, to_ns or 0)
        return msgspec.structs.replace(gap, gap_id=outage.gap_id, from_ns=outage.from_ns, to_ns=to_ns)

    def _close(self, symbol: str, volume: float, now_ns: int) -> GapEmpty | None:
        """Close an open gap in which nothing was traded, as far as a quote shows it."""
        outage = self._outages.get(symbol)
        if outage is None or outage.is_closed:
            return None
        self._outages[symbol] = msgspec.structs.replace(outage, is_closed=True)
        return self._empty(symbol, outage, volume, now_ns)

    def _empty(self, symbol: str, outage: Outage, volume: float, now_ns: int) -> GapEmpty:
        to_ns = max(outage.from_ns, now_ns) if outage.to_ns is None else outage.to_ns
        return GapEmpty(
            outage.gap_id,
            outage.provider,
            symbol,
            outage.session_date,
            now_ns,
            outage.from_ns,
            to_ns,
            volume,
            venue=self.venue(symbol),
        )


def _mark(changed: WatchChanged, reached: Reached) -> Mark:
    return Mark(
        changed.symbol,
        changed.session_date,
        reached.cumulative_volume,
        reached.cumulative_trades,
        reached.exchange_time_ns,
    )
