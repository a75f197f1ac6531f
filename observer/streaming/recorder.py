"""What becomes of streamed trades: judged for holes, kept one by one or conflated, and settled when a symbol is left.

Nothing here waits when a trade comes: it is judged and appended to what will be published, on the task that reads the
socket.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from bus.events import (
    AlertRaised,
    Event,
    GapDetected,
    GapReason,
    SamplingChanged,
    Severity,
    Trade,
    TradesConflated,
    WatchChanged,
    WatchStep,
)
from bus.producer import Producer
from observer.brokers import PROVIDER
from observer.clock import Clock
from observer.errors import ProviderError
from observer.gaps.detector import GapDetector, Mark
from observer.gaps.intervals import ASKED
from observer.providers.interfaces import QuoteSource, chunks
from observer.selection.sampling import Conflation, Sampling, SamplingSettings

SOURCE: Final = "track-b"  # in alerts: the process whose body this is


Kept = Trade | TradesConflated
"""What becomes of streamed trades: each as it came, or several in one row."""


class TradeKeeping:
    """The trades of one day's stream. Whatever moves the detector is published: a replay finds the same gaps with it.

    Trades that are conflated are seen by nobody until their row is published, which happens at the latest before
    anything else is told of their symbol, and before whatever is decided (`tell_rows`). So a replay, which has the rows
    alone, comes to the same.

    Args:
        producer: takes what is to be kept.
        quotes: tells the day's volume of a symbol that is left with an open question.
        clock: market time.
        sampling: how much is kept under load.
        session_date: the day.
        see: told of what is kept, when it is published.
    """

    def __init__(
        self,
        producer: Producer,
        quotes: QuoteSource,
        clock: Clock,
        sampling: SamplingSettings,
        session_date: str,
        see: Callable[[Kept], None],
    ) -> None:
        self.detector = GapDetector()
        self._producer = producer
        self._quotes = quotes
        self._clock = clock
        self._sampling = Sampling(sampling)
        self._session_date = session_date
        self._see = see
        self._conflation = Conflation()
        self._leaving: dict[str, object] = {}  # who is being settled, each time as another one

    # --- trades come ---

    def take(self, trade: Trade) -> None:
        """Judge a trade and keep it; one that was seen before is dropped, and counted by the detector."""
        observation = self.detector.observe(trade)
        if observation == "duplicate":
            return
        if isinstance(observation, GapDetected):
            self.tell_rows(trade.symbol)
            self._producer.publish(observation, trade)  # the one without the other would tell a wrong hole
            self._see(trade)
        elif (rate_hz := self._sampling.rate_hz) is None:
            self._keep(trade)
        elif row := self._conflation.add(trade, rate_hz):
            self._keep(row)

    def tell_rows(self, symbol: str | None = None) -> None:
        """Publish the open row of a symbol, or of all."""
        for row in self._conflation.flush(symbol):
            self._keep(row)

    def _keep(self, kept: Kept) -> None:
        self._producer.publish(kept)
        self._see(kept)

    def sample(self) -> None:
        """Keep less of the stream when the disk does not take it in time, and more again when it does."""
        self.tell_rows()
        waiting = self._producer.unacknowledged
        if not self._sampling.look(waiting, asyncio.get_running_loop().time()):
            return
        rate_hz, now_ns = self._sampling.rate_hz, self._clock.now_ns()
        reason = f"{waiting:,} events wait to be stored"
        self._producer.publish(SamplingChanged(PROVIDER, now_ns, rate_hz, reason))
        kept = "every trade is kept again" if rate_hz is None else f"trades are conflated to {rate_hz:g} rows a second"
        severity: Severity = "info" if rate_hz is None else "warning"
        self._producer.publish(AlertRaised(now_ns, severity, SOURCE, f"{kept}: {reason}"))

    def on_refused(self, events: Sequence[Event], _error: OSError) -> None:
        """What the disk did not take becomes a hole before the next trade that it takes."""
        for event in events:
            if isinstance(event, Trade | TradesConflated | GapDetected):
                self.detector.refused(event)

    # --- symbols are watched, and left ---

    def resume(self, marks: Iterable[Mark]) -> None:
        """Go on where an earlier process of this day stopped, before anything is watched."""
        for mark in marks:
            self.detector.resume([mark])
            self._tell("resumed", mark.symbol, mark)

    def watch(self, symbol: str, before: Mark | None = None) -> None:
        """From now on nothing of the symbol may be missing; `before` is what was known of it earlier on this day. Told
        also of one that is watched and registered again: it is streamed from here on.

        One that comes back while it is being left is not left: its next trade shows what is missing of the time
        between, too.
        """
        self._leaving.pop(symbol, None)
        self.detector.start(symbol, before)
        self._tell("started", symbol, before)

    def learn(self, before: Mark) -> None:
        """What was known of a symbol is told only now that it is watched; of use as long as no trade of it came."""
        if before.symbol in self.detector.watched:
            self.detector.start(before.symbol, before)
            self._tell("started", before.symbol, before, reason=ASKED)

    def interrupt(self, symbol: str, reason: GapReason) -> None:
        """A symbol lost its connection and will be back: its next hole carries this reason."""
        if symbol in self.detector.watched:
            self.detector.interrupted(symbol, reason)
            self._tell("interrupted", symbol, reason=reason)

    def _stop(self, symbol: str) -> None:
        if symbol in self.detector.watched:
            self.detector.stop(symbol)
            self._tell("stopped", symbol)

    def _settled(self, symbol: str, volume: float, now_ns: int) -> GapDetected | None:
        gap = self.detector.settle(symbol, volume, now_ns, PROVIDER)
        self._tell("settled", symbol, Mark(symbol, self._session_date, volume, None, now_ns))
        return gap

    def _tell(self, step: WatchStep, symbol: str, mark: Mark | None = None, reason: str = "") -> None:
        self.tell_rows(symbol)
        known = (mark.cumulative_volume, mark.cumulative_trades, mark.exchange_time_ns) if mark else (None, None, None)
        now_ns = self._clock.now_ns()
        self._producer.publish(WatchChanged(PROVIDER, symbol, self._session_date, now_ns, step, reason, *known))

    def leave(self, symbol: str, start: Callable[[Collection[str]], object]) -> None:
        """Watch a symbol no longer. If it did not trade since an interruption, what is missing must be asked for:
        `start` is called with whom to `settle`.
        """
        self.tell_rows(symbol)
        self._producer.flush()  # what the disk refuses of it is unsettled
        if symbol not in self.detector.unsettled():
            self._stop(symbol)
        elif symbol not in self._leaving:
            self._leaving[symbol] = object()
            start({symbol})

    async def leave_all(self) -> None:
        """The same for all that are watched; returns when all are settled."""
        self.tell_rows()
        self._producer.flush()  # what the disk refuses of it is unsettled
        unsettled = self.detector.unsettled()
        self._leaving |= {symbol: object() for symbol in unsettled}
        await self.settle(unsettled)
        for symbol in self.detector.watched:
            self._stop(symbol)

    async def settle(self, symbols: Collection[str]) -> None:
        """Ask for the day's volume of symbols that are being left, publish what is missing, watch them no longer."""
        asked = {symbol: self._leaving.get(symbol) for symbol in symbols}
        for chunk in chunks(sorted(symbols), self._quotes.quotes_per_call):
            try:
                quotes = await self._quotes.quotes(chunk, lane="urgent")
            except ProviderError as error:
                text = f"whether trades of {', '.join(chunk)} are missing is not known: {error}"
                self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", SOURCE, text))
                quotes = []
            now_ns = self._clock.now_ns()
            left = {symbol for symbol in chunk if asked[symbol] and self._leaving.get(symbol) is asked[symbol]}
            gaps: list[GapDetected] = []
            for quote in quotes:
                if quote.symbol in left & self.detector.unsettled():
                    gap = self._settled(quote.symbol, quote.cumulative_volume, now_ns)
                    gaps += [gap] if gap is not None else []
            for symbol in left:
                self._stop(symbol)
                del self._leaving[symbol]
            for gap in gaps:
                await self._producer.publish_when_taken(gap)  # nothing else would show this hole later
