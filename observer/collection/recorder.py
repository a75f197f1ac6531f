"""Records streamed trades: detects gaps, stores trades one by one or conflated, and settles symbols that lose their
slot.

A plausible trade never waits: the task that reads the socket checks it and appends it to the publish queue.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from bus.events import (
    Event,
    GapOpened,
    GapReason,
    GapUnrecoverable,
    InputQuarantined,
    Reached,
    SamplingChanged,
    Trade,
    TradesConflated,
    WatchChange,
    WatchChanged,
    WatchInterrupted,
    WatchLearned,
    WatchObserved,
    WatchResumed,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.base.errors import ProviderError
from observer.base.units import NS_PER_MINUTE
from observer.brokers.broker import chunks
from observer.collection.held_trades import HeldTrades
from observer.collection.late_end import Counted, LateEnd
from observer.collection.parts import StreamParts
from observer.gaps.detector import Mark
from observer.gaps.outages import GapTracker, Resolution
from observer.gaps.plausibility import AHEAD_MAX_NS, TradeScreen
from observer.monitoring.alerts.process import identity_of
from observer.monitoring.metrics.counters import COUNTERS
from observer.selection.sampling import Conflation, Kept, Sampling, SamplingSettings

logger = logging.getLogger(__name__)

NO_ACCOUNT: Final = "none"  # of a symbol without a slot
SOURCE: Final = "track-b"  # in alerts: the process that runs this
CONTRADICTIONS_MAX: Final = 5
"""Contradictions in a row: then the last trade of the chain was wrong, and the chain begins again with the last one."""
REPEATED_SHARE_MAX: Final = 0.01  # of a minute's trades
REPEATED_MIN: Final = 5  # trades; below it the share means nothing
_USUAL_SAMPLING: Final = SamplingSettings()
_LEFT: Final = "the symbol was left before the exchange's volume was known"


class TradeRecorder:
    """One day's streamed trades. All inputs of the gap detector are published, so a replay finds the same gaps.

    Conflated trades reach the selection only when their row is published: before any other event of their symbol, and
    before any decision (`report_rows`). So a replay, which has only the rows, reproduces the decisions.

    Args:
        parts: `quotes` return the day's volume of a symbol that is left unsettled.
        screen: judges the day's trades.
        apply: takes each stored trade or row when it is published.
        quarantine: takes each trade that is not believed.
        account_of: returns the account with the symbol's slot; NO_ACCOUNT without one.
        sampling: the conflation settings under load.
        late_end: bounds the volumes of symbols that are left after the day's stop; None: they are taken as they are.
    """

    def __init__(
        self,
        parts: StreamParts,
        screen: TradeScreen,
        *,
        apply: Callable[[Kept], None],
        quarantine: Callable[[InputQuarantined], None],
        account_of: Callable[[str], str],
        sampling: SamplingSettings = _USUAL_SAMPLING,
        late_end: LateEnd | None = None,
    ) -> None:
        self.gaps = GapTracker()
        self.detector = self.gaps.detector
        self.screen = screen
        self.held = HeldTrades(
            parts,
            screen,
            self.detector,
            quarantine=quarantine,
            release=partial(self.take, is_confirmed=True),
            interrupt=partial(self.interrupt, reason="volume_mismatch"),
            account_of=account_of,
        )
        self._provider = parts.provider
        self._alerts = parts.alerts
        self._producer = parts.producer
        self._quotes = parts.quotes
        self._clock = parts.clock
        self._sampling = Sampling(sampling)
        self._unbounded = screen.unbounded
        self._bounds = screen.bounds
        self._session_date = screen.hours.session_date
        self._account_of = account_of
        self._late_end = late_end
        self._see = apply
        self._conflation = Conflation()
        self._held_until_ns: dict[str, int] = {}  # symbols whose slots only an earlier process held
        self._unmarked: set[str] = set()  # watched symbols without a known volume from before their watch
        self._leaving: dict[str, object] = {}  # symbols being settled, with a new object each time
        self._contradictions: dict[str, list[Trade]] = {}  # by symbol, since the symbol's last new trade
        self._taken = 0  # trades since `_counted_ns`
        self._repeated: Counter[str] = Counter()  # by symbol: the dropped trades among these
        self._counted_ns = parts.clock.now_ns()

    # --- trades ---

    def take(self, trade: Trade, *, is_confirmed: bool = False) -> None:
        """Check a trade and store it. An implausible trade is held unless `is_confirmed`; a duplicate is dropped and
        counted.
        """
        bounds, moment_ns = self._bounds.get(trade.symbol, self._unbounded), trade.exchange_time_ns
        hours = bounds.hours
        if not (
            trade.cumulative_volume <= bounds.ceiling
            and bounds.lower <= trade.price <= bounds.upper
            and hours.from_ns <= moment_ns <= hours.to_ns
            and moment_ns - trade.receive_time_ns <= AHEAD_MAX_NS
            and trade.session_date == hours.session_date
        ) and not (is_confirmed or self.held.passes(trade)):
            return
        self._taken += 1
        outcome = self.gaps.observe(trade)
        if outcome == "new":
            if self._contradictions:
                self._contradictions.pop(trade.symbol, None)
            if (rate_hz := self._sampling.rate_hz) is None:
                self._keep(trade)
            elif row := self._conflation.add(trade, rate_hz):
                self._keep(row)
        elif isinstance(outcome, Resolution):
            self._contradictions.pop(trade.symbol, None)
            self.report_rows(trade.symbol)
            self._producer.publish(outcome, trade)  # one batch: one event without the other would report a wrong gap
            self._see(trade)
        elif outcome == "unwatched":
            if self._account_of(trade.symbol) != NO_ACCOUNT:  # its subscription is not acknowledged yet
                self.detector.note(trade)
                self._keep(trade)
            else:  # after the end of its watch the tape may fetch it
                COUNTERS.add("observer_unwatched_trades_dropped_total")
        else:
            self._repeat(trade, is_contradiction=outcome == "contradiction")

    def _repeat(self, trade: Trade, *, is_contradiction: bool) -> None:
        """Drop a duplicate. Store a contradiction, as nothing proves it wrong; after several in a row the chain begins
        again with the last of them.
        """
        symbol = trade.symbol
        row = self._contradictions.setdefault(symbol, []) if is_contradiction else []
        if not is_contradiction or (row and trade.cumulative_volume <= row[-1].cumulative_volume):
            self._repeated[symbol] += 1
            return
        row.append(trade)
        if len(row) < CONTRADICTIONS_MAX:
            self.report_rows(symbol)  # as the chain stands in the events now, this trade is no new one
            self._producer.publish(trade)
            return
        text = (
            f"{len(row)} trades in a row of {symbol} (account {self._account_of(symbol)}) have less volume of the day "
            f"than the trade before them, {self.detector.reached(symbol) or 0:,.10g}: that one was wrong, and is stored"
        )
        self._alerts.happened(f"volume_contradicted:{symbol}", "warning", text)
        self._stop(symbol, "the volume before the gap was wrong")
        self._change(symbol, WatchStarted())
        self.take(trade, is_confirmed=True)

    def report_rows(self, symbol: str | None = None) -> None:
        """Publish the open row of a symbol, or of all."""
        for row in self._conflation.flush(symbol):
            self._keep(row)

    def _keep(self, kept: Kept) -> None:
        self._producer.publish(kept)
        self._see(kept)

    def count_repeated(self) -> None:
        """Report a minute in which many trades came again, and its end."""
        now_ns = self._clock.now_ns()
        if now_ns - self._counted_ns < NS_PER_MINUTE:
            return
        count = self._repeated.total()
        text = f"{count:,} of {self._taken:,} trades had come before"
        if count >= REPEATED_MIN and count >= REPEATED_SHARE_MAX * self._taken:
            often = [f"{name} (account {self._account_of(name)})" for name, _ in self._repeated.most_common(3)]
            self._alerts.report("repeated_trades", "warning", f"{text} within a minute, most of {', '.join(often)}")
        else:
            self._alerts.resolve("repeated_trades", f"{text} within a minute")
        self._taken, self._counted_ns = 0, now_ns
        self._repeated.clear()

    def begin_sampling(self) -> None:
        """Publish that this process stores every trade, whatever an earlier process of the day did at its end."""
        reason = "the process begins"
        self._producer.publish(SamplingChanged(self._provider, self._clock.now_ns(), self._sampling.rate_hz, reason))

    def sample(self) -> None:
        """Conflate more while the disk falls behind, and less when it has caught up."""
        self.report_rows()
        waiting = self._producer.unacknowledged
        if not self._sampling.check(waiting, asyncio.get_running_loop().time()):
            return
        rate_hz, now_ns = self._sampling.rate_hz, self._clock.now_ns()
        reason = f"{waiting:,} events wait to be stored"
        self._producer.publish(SamplingChanged(self._provider, now_ns, rate_hz, reason))
        if rate_hz is None:
            self._alerts.resolve("load_relief", f"every trade is kept again: {reason}")
        else:
            text = f"trades are conflated to {rate_hz:g} rows a second: {reason}"
            logger.warning("%s", text)  # each step; the alert is one for all of them
            self._alerts.report("load_relief", "warning", text)

    def on_refused(self, events: Sequence[Event], _error: OSError) -> None:
        """Set the chain back for refused events, so that they show as a gap before the next stored trade."""
        for event in events:
            if isinstance(event, Trade | TradesConflated | Resolution):
                self.gaps.refused(event)

    # --- watching and leaving symbols ---

    def resume(self, marks: Iterable[Mark], until_ns: int, opened: Mapping[str, GapOpened]) -> None:
        """Resume from the marks of an earlier process of this day, before any symbol is watched. That process streamed
        until `until_ns`, and had opened these gaps, by symbol; those of symbols without a mark are given up.
        """
        streamed_ns, left = min(until_ns, self._clock.now_ns()), dict(opened)
        for mark in marks:
            self._held_until_ns[mark.symbol] = streamed_ns
            before = left.pop(mark.symbol, None)
            gap_id, since_ns = (None, streamed_ns) if before is None else (before.gap_id, before.from_ns)
            self._change(mark.symbol, WatchResumed(_reached(mark), since_ns, gap_id))
        for each in left.values():
            self._give_up(each.gap_id, each.symbol, _LEFT)

    def hold(self, symbols: Iterable[str]) -> None:
        """Record that this process holds the slots of these symbols, whatever an earlier process did."""
        for symbol in symbols:
            self._held_until_ns.pop(symbol, None)

    def watch(self, symbol: str, before: Mark | None = None) -> None:
        """Start watching a symbol; `before` is the symbol's mark from earlier on this day. Also called when a watched
        symbol is subscribed again: its streaming continues from here.

        A symbol that returns before it is settled stays watched: its next trade also shows the gap of the time between.
        """
        self._leaving.pop(symbol, None)
        is_new = not self.detector.is_watched(symbol)
        self._change(symbol, WatchStarted(None if before is None else _reached(before)))
        if is_new:
            (self._unmarked.add if self.detector.position(symbol) is None else self._unmarked.discard)(symbol)

    def learn(self, before: Mark) -> None:
        """Set the mark of a symbol that is watched already; it counts only before the symbol's first trade."""
        if before.symbol in self.detector.watched:
            self._change(before.symbol, WatchLearned(_reached(before)))

    def interrupt(self, symbol: str, reason: GapReason, since_ns: int | None = None) -> None:
        """Record that a symbol lost its connection, at `since_ns` (None: now), and will be back: this opens a gap, or
        the symbol's next gap carries this reason. Without a trade, and a volume from before its watch, anything of the
        day may be missing: a volume that was asked for in the watch is later than trades that were not read.
        """
        if symbol not in self.detector.watched:
            return
        if reason != "volume_mismatch" and symbol in self._unmarked and self.detector.reached(symbol) is None:
            self.learn(Mark(symbol, self._session_date, 0.0, None, self.screen.hours.of(symbol).from_ns))
        self._change(symbol, WatchInterrupted(reason, self._clock.now_ns() if since_ns is None else since_ns))

    def account(self, symbol: str, volume: float, asked_ns: int) -> None:
        """Compare a symbol with the exchange's volume, requested at `asked_ns`; its trades have arrived:
        publish the gap or its end that this shows.
        """
        changed = self._changed(symbol, WatchObserved(Reached(volume, None, asked_ns)))
        if found := self.gaps.apply(changed):
            self._report(changed, found)

    def _change(self, symbol: str, change: WatchChange) -> None:
        """Apply a change of the symbol's watch, and publish it with what it shows of the symbol's gap."""
        changed = self._changed(symbol, change)
        self._report(changed, self.gaps.apply(changed))

    def _changed(self, symbol: str, change: WatchChange) -> WatchChanged:
        return WatchChanged(self._provider, symbol, self._session_date, self._clock.now_ns(), change)

    def _report(self, changed: WatchChanged, found: Event | None = None) -> None:
        self.report_rows(changed.symbol)
        self._producer.publish(changed)
        if found is not None:
            self._producer.publish(found)

    def _stop(self, symbol: str, why: str = _LEFT) -> None:
        if symbol in self.detector.watched:
            changed, gap_id = self._changed(symbol, WatchStopped()), self.gaps.unresolved(symbol)
            opened = self.gaps.apply(changed)
            self._report(changed, opened)
            if gap_id := opened.gap_id if opened is not None else gap_id:
                self._give_up(gap_id, symbol, why)

    def _give_up(self, gap_id: str, symbol: str, why: str) -> None:
        lost = GapUnrecoverable(gap_id, symbol, self._clock.now_ns(), why, self.gaps.venue(symbol))
        self._producer.publish(lost)

    def _settled(self, symbol: str, seen: Counted) -> Event | None:
        changed = self._changed(symbol, WatchSettled(Reached(seen.volume, None, seen.at_ns)))
        found = self.gaps.apply(changed)
        self._report(changed)
        return found

    def leave(self, symbol: str, start: Callable[[Collection[str]], object]) -> None:
        """Stop watching a symbol. If the symbol did not trade since an interruption, or a trade of it is held, calls
        `start` with the symbols to `settle`.
        """
        self._watch_resumed({symbol})
        self.report_rows(symbol)
        self._producer.flush()  # events that the disk refuses leave the symbol unsettled
        if symbol not in self.detector.unsettled() and symbol not in self.held.symbols:
            self._stop(symbol)
        elif symbol not in self._leaving:
            self._leaving[symbol] = object()
            start({symbol})

    async def leave_all(self) -> None:
        """Stop watching all symbols; returns when all are settled."""
        self._watch_resumed(self.gaps.unwatched)
        self.report_rows()
        self._producer.flush()  # events that the disk refuses leave the symbol unsettled
        while unsettled := self.detector.unsettled().union(self.held.symbols):  # a trade may be held meanwhile
            self._leaving |= {symbol: object() for symbol in unsettled}
            await self.settle(unsettled)
        for symbol in self.detector.watched:
            self._stop(symbol)

    def _watch_resumed(self, symbols: Iterable[str]) -> None:
        """Watch the symbols of an earlier process that lose their slot before they were subscribed again, so that they
        are settled.
        """
        for symbol in self.gaps.unwatched.intersection(symbols):
            self.watch(symbol)

    async def settle(self, symbols: Collection[str]) -> None:
        """Decide about held trades of symbols being left, query their volume of the day, publish their gaps, and stop
        watching them.
        """
        asked = {symbol: self._leaving.get(symbol) for symbol in symbols}
        await self.held.finish(symbols)
        for symbol, asking in asked.items():
            if asking and self._leaving.get(symbol) is asking and self.held.give_up(symbol):
                self.interrupt(symbol, "volume_mismatch")  # the exchange's volume says whether it was real
        for chunk in chunks(sorted(symbols), self._quotes.quotes_per_call):
            try:
                quotes = await self._quotes.quotes(chunk, priority="urgent")
            except ProviderError as error:
                text = f"whether trades of {', '.join(chunk)} are missing is not known: {error}"
                self._alerts.happened(identity_of("unsettled_symbols", chunk), "warning", text)
                quotes = []
            volumes = await self._bounded({quote.symbol: quote.cumulative_volume for quote in quotes})
            left = {symbol for symbol in chunk if asked[symbol] and self._leaving.get(symbol) is asked[symbol]}
            settled = left & self.detector.unsettled() & volumes.keys()
            for symbol in left:
                del self._leaving[symbol]
            for symbol in left - settled:  # before the gaps of the others, which wait for the disk
                self._stop(symbol)
            for gap in [self._settled(each, seen) for each, seen in volumes.items() if each in settled]:
                if gap is not None:
                    await self._producer.publish_when_taken(gap)  # no later trade would show this gap

    async def _bounded(self, volumes: Mapping[str, float]) -> Mapping[str, Counted]:
        """The volumes now, without what was traded after the day's stop."""
        if self._late_end is not None:
            known = {each: self.detector.reached(each) or 0.0 for each in volumes}
            return await self._late_end.bounded(volumes, known, self._held_until_ns)
        now_ns = self._clock.now_ns()
        return {symbol: Counted(volume, now_ns) for symbol, volume in volumes.items()}


def _reached(mark: Mark) -> Reached:
    return Reached(mark.cumulative_volume, mark.cumulative_trades, mark.exchange_time_ns)
