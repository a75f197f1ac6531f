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

from typing import Final

import msgspec

from bus.events import GapDetected, GapEmpty, GapOpened, GapReason, Trade, TradesConflated
from observer.base.lines import venue_of
from observer.base.units import plain
from observer.gaps.detector import GapDetector, TradeOutcome
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
    """Follows the gaps of watched symbols from the cut to the proof. Explicit state, no clock. Cuts and proofs go
    through it; all else of a watch goes to its `detector` alone.

    `main_venue` is the venue of the symbols without a venue in their id, for the events; empty while it is not known.
    """

    __slots__ = ("_outages", "detector", "main_venue")

    def __init__(self, main_venue: str = "") -> None:
        self.detector = GapDetector()
        self.main_venue = main_venue
        self._outages: dict[str, Outage] = {}

    def interrupt(
        self, provider: str, symbol: str, session_date: str, reason: GapReason, *, since_ns: int, now_ns: int
    ) -> GapOpened | None:
        """Record that a watched symbol lost continuity. Returns the gap that this opens; None where one is open, where
        the stream was not cut, and where the symbol's volume is not known.
        """
        self.detector.interrupted(symbol, reason, 0 if reason in _WITHOUT_OUTAGE else since_ns)
        volume = self.detector.reached(symbol)
        if reason in _WITHOUT_OUTAGE or volume is None:
            return None
        return self._open(provider, symbol, session_date, reason, volume, since_ns=since_ns, now_ns=now_ns)

    def resume(
        self, provider: str, symbol: str, session_date: str, volume: float, *, since_ns: int, now_ns: int,
        gap_id: str | None,
    ) -> GapOpened | None:  # fmt: skip
        """Record that an earlier process streamed the symbol until `since_ns`, up to this volume. Returns the gap that
        this opens; None if that process had opened `gap_id`, which goes on.
        """
        if gap_id is None:
            return self._open(provider, symbol, session_date, "restart", volume, since_ns=since_ns, now_ns=now_ns)
        self._outages[symbol] = Outage(gap_id, provider, session_date, since_ns)
        return None

    def back(self, symbol: str, now_ns: int) -> None:
        """Record that the symbol is streamed again."""
        outage = self._outages.get(symbol)
        if outage is not None and outage.to_ns is None:
            self._outages[symbol] = msgspec.structs.replace(outage, to_ns=now_ns)

    def observe(self, trade: Trade) -> TradeOutcome | GapEmpty:
        """Classify one streamed trade as the detector does. `GapEmpty`: the trade is new, and nothing was missing
        before it.
        """
        outcome = self.detector.observe(trade)
        return self._resolved(trade, outcome) if trade.symbol in self._outages else outcome

    def account(self, provider: str, symbol: str, volume: float, *, asked_ns: int, now_ns: int) -> Resolution | None:
        """Compare a watched symbol with the day's volume, requested at `asked_ns`; its trades until then have arrived
        by `now_ns`. Returns None if nothing new is shown, as for a stream that was not back when the broker was asked.
        """
        outage = self._outages.get(symbol)
        if outage is not None and not outage.is_closed and (outage.to_ns is None or outage.to_ns > asked_ns):
            return None
        if volume < (self.detector.reached(symbol) or 0.0) - VOLUME_NOISE:  # from before the last streamed trade
            return None
        if (gap := self.detector.account(symbol, volume, now_ns, provider)) is not None:
            return self._proved(gap)
        return self._close(symbol, volume, now_ns)

    def settle(
        self, provider: str, symbol: str, volume: float, now_ns: int, at_ns: int | None = None
    ) -> Resolution | None:
        """Stop watching an unsettled symbol, given the day's volume at `at_ns` (None: now), where its gap ends."""
        if (gap := self.detector.settle(symbol, volume, now_ns, provider, at_ns)) is not None:
            found = self._proved(gap)
            until_ns = found.to_ns if at_ns is None else min(found.to_ns, at_ns)
            return msgspec.structs.replace(found, from_ns=min(found.from_ns, until_ns), to_ns=until_ns)
        closed = self._close(symbol, volume, now_ns)
        self._outages.pop(symbol, None)
        return closed

    def unproved(self, provider: str, symbol: str, session_date: str, now_ns: int) -> GapOpened | None:
        """Before `stop`: the gap of a symbol that is left although it may have missed trades without a cut, and no
        volume has shown whether it did; None for any other.
        """
        position = self.detector.position(symbol)
        if symbol in self._outages or position is None or symbol not in self.detector.unsettled():
            return None
        volume, since_ns = position
        return self._open(
            provider, symbol, session_date, "volume_mismatch", volume, since_ns=min(since_ns, now_ns), now_ns=now_ns
        )

    def stop(self, symbol: str) -> Outage | None:
        """Stop watching a symbol for good. Returns the symbol's gap if nothing has shown how much the stream missed."""
        self.detector.stop(symbol)
        outage = self._outages.pop(symbol, None)
        return outage if outage is not None and not outage.is_closed else None

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

    def _open(
        self, provider: str, symbol: str, session_date: str, reason: GapReason, volume: float, *, since_ns: int,
        now_ns: int,
    ) -> GapOpened | None:  # fmt: skip
        outage = self._outages.get(symbol)
        if outage is not None and not outage.is_closed:
            self._outages[symbol] = msgspec.structs.replace(outage, to_ns=None)
            return None
        gap_id = f"{provider}-{symbol}-{session_date}-{plain(volume)}-cut-{since_ns // 1_000_000}"
        self._outages[symbol] = Outage(gap_id, provider, session_date, since_ns)
        venue = self.venue(symbol)
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
            *(outage.gap_id, outage.provider, symbol, outage.session_date, now_ns, outage.from_ns, to_ns, volume),
            venue=self.venue(symbol),
        )
