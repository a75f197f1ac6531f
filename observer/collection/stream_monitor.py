"""Compares the streamed volume with volume observations: Track A's sweeps and the broker's quotes.

After a reconnection the broker is queried once for all symbols that are back: equal volume closes the gap of the cut as
empty, more volume proves it. A sweep with more volume than the stream brought proves a gap, too.

A subscription can be stale: acknowledged, alive, and silent. Sweeps of Track A reveal it. At the end of the day, when
no further sweep comes, the broker is queried while all symbols are still subscribed.

A frame that cannot be read may hold trades. Where trades follow in the slot, the first of them shows what is missing.
Before the first trade of a subscription, the gap begins at the last volume known before its request; behind the last
trade of a slot the broker is queried, and also when one of two accounts with the same symbol loses its connection.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from bus.events import Snapshot
from observer.base.errors import ProviderError
from observer.brokers.broker import chunks
from observer.collection.parts import StreamParts
from observer.collection.recorder import TradeRecorder
from observer.gaps.detector import Mark, StaleDetector
from observer.gaps.intervals import VOLUME_NOISE

logger = logging.getLogger(__name__)

STREAM: Final = "stream:"
"""How the identity of an alert begins that an account's stream is down."""

ARRIVES_WITHIN_S: Final = 1.0  # machine seconds: trades before the broker's answer have arrived by then
RETURNS_WITHIN_S: Final = 0.2  # machine seconds without a further subscription: all that were cut are back
ARRIVES_AT_LAST_S: Final = 10.0  # machine seconds that a stream which goes on bringing trades may be behind
_RETRY_S: Final = (1.0, 2.0, 5.0, 10.0)  # machine seconds before the volume of a returned symbol is requested again
_POLL_S: Final = 0.02


class StreamMonitor:
    """Volume observations of one day's subscribed symbols, compared with the streamed volume.

    Args:
        parts: `quotes` return the day's volumes.
        trades: the streamed trades.
        session_date: the day.
        beside: returns the symbols that are streamed over the same connection as a symbol, with it.
    """

    def __init__(
        self,
        parts: StreamParts,
        trades: TradeRecorder,
        session_date: str,
        *,
        beside: Callable[[str], Collection[str]],
    ) -> None:
        self._beside = beside
        self._trades = trades
        self._quotes = parts.quotes
        self._alerts = parts.alerts
        self._clock = parts.clock
        self._session_date = session_date
        self._stale_detector = StaleDetector()
        self._swept: dict[str, float] = {}  # the day's volume of each symbol in Track A's last sweep
        self._unknown: set[str] = set()  # subscribed symbols without a volume observation
        self._returned: set[str] = set()  # symbols subscribed again whose gap is open and not checked
        self._resolving: set[str] = set()  # of them, those that the broker is being asked for
        self._is_gathering = False  # whether a task waits for more of them
        self._unread: dict[str, float] = {}  # by symbol: the volume reached when a frame could not be read
        self._accounted: dict[str, tuple[float, float]] = {}  # the streamed volume, and that of the sweep beyond it

    def subscribed(self, symbol: str, *, is_known: bool) -> bool:
        """Record a new subscription; `is_known`: the symbol's volume of the day was observed. Returns whether to call
        `learn` now.
        """
        self._stale_detector.subscribed_anew(symbol)
        if is_known:
            return False
        self._unknown.add(symbol)
        return len(self._unknown) == 1

    async def learn(self) -> None:
        """Query the volume of newly subscribed symbols without an observation: what the stream lacks since then without
        a cut is a gap from there.
        """
        while symbols := frozenset(self._unknown):
            reported = await self._asked(symbols)
            now_ns = self._clock.now_ns()
            for symbol, volume in reported.items():
                self._stale_detector.subscribed_anew(symbol, volume)
                self._trades.learn(Mark(symbol, self._session_date, volume, None, now_ns))
            self._unknown -= symbols

    def returned(self, symbol: str) -> bool:
        """Record that a symbol is subscribed again; returns whether to call `check_returned` now."""
        if not self._trades.gaps.is_open(symbol):
            return False
        self._returned.add(symbol)
        is_first, self._is_gathering = not self._is_gathering, True
        return is_first

    async def check_returned(self) -> None:
        """Query once the volume of the symbols that a reconnection brought back, and resolve their gaps: in one call
        for as many as it takes, when no further symbol comes.
        """
        async with asyncio.TaskGroup() as tasks:
            try:
                while self._returned:
                    before = 0
                    while before < len(self._returned) < self._quotes.quotes_per_call:
                        before = len(self._returned)
                        await asyncio.sleep(RETURNS_WITHIN_S)
                    symbols = sorted(self._returned)[: self._quotes.quotes_per_call]
                    self._returned.difference_update(symbols)
                    self._resolving.update(symbols)
                    tasks.create_task(self._resolve(symbols))
            finally:
                self._is_gathering = False

    async def _resolve(self, symbols: Collection[str]) -> None:
        """Compare returned symbols with the broker's volumes; without an answer, again after a while. The next trade of
        a symbol also resolves its gap, and so does a sweep if the broker never answered.
        """
        gaps = self._trades.gaps
        try:
            for pause_s in (*_RETRY_S, 0.0):
                asked_ns = self._clock.now_ns()
                volumes = await self._asked([symbol for symbol in symbols if gaps.is_open(symbol)])
                level = [symbol for symbol, volume in volumes.items() if not self._is_behind(symbol, volume)]
                for symbol in (*level, *await self._arrived(volumes)):
                    self._account(symbol, volumes[symbol], asked_ns)
                if not any(map(gaps.is_open, symbols)):
                    return
                await asyncio.sleep(pause_s)
        finally:
            self._resolving.difference_update(symbols)

    async def check_sweep(self, swept: Iterable[Snapshot], subscribed: Collection[str], started_ns: int) -> None:
        """Publish a gap of each subscribed symbol whose volume in a sweep, which began at `started_ns`, exceeds what
        the stream brought, and resolve each cut that the broker's quotes did not.

        A stream that stalls is no gap: it counts only when it has brought a trade from after the snapshot, as a
        connection delivers in order. Else the next sweep checks again.
        """
        gaps, detector = self._trades.gaps, self._trades.detector
        checked: dict[str, Snapshot] = {}
        for each in swept:
            reached = detector.reached(each.symbol) if each.symbol in subscribed else None
            is_behind = reached is not None and each.cumulative_volume - reached > VOLUME_NOISE
            if is_behind or gaps.is_open(each.symbol):
                checked[each.symbol] = each
        seen_ns = {symbol: each.receive_time_ns for symbol, each in checked.items()}
        for symbol in await self._arrived({name: each.cumulative_volume for name, each in checked.items()}, seen_ns):
            reached, volume, at_ns = detector.reached(symbol), checked[symbol].cumulative_volume, seen_ns[symbol]
            if reached is None or gaps.is_down(symbol) or symbol in self._resolving | self._returned:
                continue  # not watched any more; or its own query is under way, which began after the cut
            streamed = self._streamed(symbol) or reached
            self._account(symbol, volume, started_ns if gaps.is_open(symbol) else at_ns)
            if detector.reached(symbol) != reached:
                self._accounted[symbol] = (streamed, volume)

    async def _arrived(self, volumes: Mapping[str, float], seen_ns: Mapping[str, int] | None = None) -> Sequence[str]:
        """The symbols for which the stream has delivered these volumes, or delivers no more of them. With the times of
        the volumes, a symbol that is behind counts only after a later trade came over its connection.
        """
        reached = self._trades.detector.reached
        loop = asyncio.get_running_loop()
        last_s, found = loop.time() + ARRIVES_AT_LAST_S, list[str]()
        waits_since_s, before = dict.fromkeys(volumes, loop.time()), {symbol: reached(symbol) for symbol in volumes}
        while waits_since_s and loop.time() < last_s:
            for symbol in [symbol for symbol in waits_since_s if not self._is_behind(symbol, volumes[symbol])]:
                del waits_since_s[symbol]
                found.append(symbol)
            brings_more = any(reached(symbol) != before[symbol] for symbol in waits_since_s)
            for symbol, since_s in list(waits_since_s.items()):
                before[symbol] = reached(symbol)
                is_early = seen_ns is not None and not self._has_passed(symbol, seen_ns[symbol])
                if brings_more or is_early:
                    waits_since_s[symbol] = loop.time()
                elif loop.time() - since_s >= ARRIVES_WITHIN_S:
                    del waits_since_s[symbol]
                    found.append(symbol)
            if waits_since_s:
                await asyncio.sleep(_POLL_S)
        late = [symbol for symbol in waits_since_s if seen_ns is None or self._has_passed(symbol, seen_ns[symbol])]
        return sorted({*found, *late}.difference(self._trades.held.symbols))

    def _is_behind(self, symbol: str, volume: float) -> bool:
        """Whether the stream has not delivered this volume yet."""
        return volume > (self._trades.detector.reached(symbol) or 0.0)

    def _has_passed(self, symbol: str, moment_ns: int) -> bool:
        """Whether the symbol's connection, which delivers in order, has brought a trade from after this moment."""
        last_ns = self._trades.detector.last_trade_ns
        return any(last_ns(each) > moment_ns for each in self._beside(symbol))

    def _streamed(self, symbol: str) -> float | None:
        """The day's volume after the last streamed trade. The accounted volume can be higher, by a sweep."""
        reached, accounted = self._trades.detector.reached(symbol), self._accounted.get(symbol)
        return accounted[0] if accounted is not None and accounted[1] == reached else reached

    def _account(self, symbol: str, volume: float, asked_ns: int) -> None:
        """Compare a symbol with the exchange's volume. A frame that could not be read may hold later trades."""
        reached = self._trades.detector.reached
        is_unread = symbol in self._unread and self._unread[symbol] == reached(symbol)
        self._trades.account(symbol, volume, asked_ns)
        if is_unread and (after := reached(symbol)) is not None:
            self._unread[symbol] = after

    def unread(self, symbols: Collection[str]) -> None:
        """Record that a frame that cannot be read may hold trades of these symbols. A symbol without a trade since its
        subscription loses continuity at its last known volume, or at none of this day; its streaming goes on.
        """
        detector = self._trades.detector
        for symbol in symbols:
            if (reached := detector.reached(symbol)) is not None:
                self._unread[symbol] = reached
            elif detector.is_watched(symbol):
                if detector.position(symbol) is None:
                    begins_ns = self._trades.screen.hours.of(symbol).from_ns
                    self._trades.learn(Mark(symbol, self._session_date, 0.0, None, begins_ns))
                self._doubt([symbol])
                self._trades.watch(symbol)

    def sweep(self, volumes: Mapping[str, float]) -> None:
        self._swept.update(volumes)

    def stale(self, subscribed: Iterable[str]) -> Mapping[str, float]:
        """After a sweep, the stale subscriptions with their minimum missing volume (shares); publishes an alert."""
        volumes = {symbol: self._swept[symbol] for symbol in subscribed if symbol in self._swept}
        stale = self._stale_detector.after_sweep(volumes, self._streamed)
        if stale:
            missing = ", ".join(f"{symbol} ({shares:,.0f} shares behind)" for symbol, shares in sorted(stale.items()))
            self._alerts.report(
                "stale_subscriptions", "warning", f"subscribed and not heard, subscribed again: {missing}"
            )
        else:
            self._alerts.resolve("stale_subscriptions", "the stream brings the trades of every subscribed symbol")
        return stale

    def leaving(self, symbol: str) -> None:
        """Prepare to leave a symbol: if the last sweep exceeds its streamed volume, or its last trades may be in a
        frame that could not be read, mark it unsettled.
        """
        self._doubt(self._unread_at_last([symbol]))
        if symbol in self._swept:
            self._doubt(self._doubtful({symbol: self._swept[symbol]}))

    async def drain(self, ended_ns: int) -> None:
        """Read the stream out up to the end of streaming (UTC ns), which is over: mark symbols whose streamed volume
        stays behind the broker's, asked for now. Without an answer of the broker, the last sweep counts, and the
        symbol's connection must bring a trade from after the end.
        """
        watched = self._trades.detector.watched
        answered = await self._asked(watched)
        reported = {symbol: self._swept[symbol] for symbol in watched if symbol in self._swept} | answered

        def behind() -> Collection[str]:
            unanswered = watched - answered.keys() - self._trades.detector.unsettled()
            late = {symbol for symbol in unanswered if not self._has_passed(symbol, ended_ns)}
            return late.union(self._doubtful(reported))

        for _ in range(round(ARRIVES_WITHIN_S / _POLL_S)):
            if not behind():
                break
            await asyncio.sleep(_POLL_S)
        self._doubt(sorted(behind()))
        self._doubt(self._unread_at_last(watched))

    def _unread_at_last(self, symbols: Collection[str]) -> Collection[str]:
        """Return and forget the unflagged symbols without a trade since a frame that could not be read."""
        detector = self._trades.detector
        unsettled, unread = detector.unsettled(), {each: self._unread.pop(each, None) for each in symbols}
        return [
            symbol
            for symbol, volume in sorted(unread.items())
            if volume is not None and symbol not in unsettled and volume == detector.reached(symbol)
        ]

    def _doubtful(self, volumes: Mapping[str, float]) -> Collection[str]:
        """Symbols whose exchange volume exceeds the streamed volume and that are not flagged yet."""
        detector = self._trades.detector
        unsettled = detector.unsettled()
        return [
            symbol
            for symbol, volume in sorted(volumes.items())
            if symbol not in unsettled and self._stale_detector.is_behind(symbol, volume, detector.reached(symbol))
        ]

    def _doubt(self, symbols: Collection[str]) -> None:
        for symbol in symbols:
            self._trades.interrupt(symbol, "volume_mismatch")

    async def _asked(self, symbols: Collection[str]) -> dict[str, float]:
        """The day's volume of these symbols now. Omits symbols without an answer, and publishes an alert for them."""
        reported: dict[str, float] = {}
        failed: list[str] = []
        failure: ProviderError | None = None
        for chunk in chunks(sorted(symbols), self._quotes.quotes_per_call):
            try:
                quotes = await self._quotes.quotes(chunk, priority="urgent")
            except ProviderError as error:
                failed += chunk
                failure = error
            else:
                reported |= {quote.symbol: quote.cumulative_volume for quote in quotes}
        if failure is not None and self._alerts.are_open(STREAM):  # the alert of the outage is enough
            logger.warning("volumes are not known in the outage of a stream: %s", failure)
        elif failure is not None:
            text = f"how much was traded of {', '.join(failed)} is not known: {failure}"
            self._alerts.report("volumes_unknown", "warning", text)
        elif symbols:
            self._alerts.resolve("volumes_unknown", "the broker gives the day's volumes")
        return reported
