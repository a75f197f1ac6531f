"""Queries the halt state of symbols with a slot and no trades: trade records do not show the start of
a halt reliably.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn

from bus.events import MarketStateChanged, Snapshot
from observer.base.clock import Clock
from observer.base.errors import ProviderError
from observer.brokers.broker import HaltSource
from observer.monitoring.alerts.process import Alerts
from observer.selection.market_stops import Market, MarketStops

logger = logging.getLogger(__name__)

HALTS_UNKNOWN: Final = "halts_unknown"
REFERENCES: Final = 3  # one of them may be halted itself


class HaltPoller:
    """Queries the halt state of symbols whose day's volume did not grow between two sweeps, one by one and in the
    background. Reports the halted symbols.

    Where no symbol of a market (an exchange at a venue) traded, the market itself stands still: an auction, a break, or
    a stop of the whole market. Then the poller queries none of its symbols: quotes that call every symbol stopped would
    take away all slots, which no other symbol can use and which are needed when trading resumes. A stop may also begin
    after the sweep, so a symbol counts as halted only where a reference symbol trades. The reference symbols are those
    with the largest growth in the sweep. Without a trading reference symbol the query is repeated after the next sweep.

    Args:
        provider: the broker to query.
        halts: the broker's halt queries.
        clock: market time.
        report: takes the events of halted symbols.
        alerts: of the process.
    """

    def __init__(
        self,
        provider: str,
        halts: HaltSource,
        clock: Clock,
        report: Callable[[Sequence[MarketStateChanged]], None],
        alerts: Alerts,
    ) -> None:
        self._provider = provider
        self._halts = halts
        self._clock = clock
        self._report = report
        self._alerts = alerts
        self._references: Mapping[Market, Sequence[str]] = {}
        self._market_of: Callable[[str], Market]
        self._swept: dict[str, Snapshot] = {}
        self._still: Sequence[str] = ()
        self._stirred = asyncio.Event()

    def after_sweep(self, swept: Iterable[Snapshot], held: Iterable[str], stops: MarketStops) -> None:
        """Queue symbols with a slot whose volume did not grow, in place of the earlier sweep's queue."""
        self._market_of = stops.market_of
        seen = {snapshot.symbol: snapshot for snapshot in swept}
        self._references = self._grown(seen.values())
        self._still = [
            symbol
            for symbol in held
            if self._stands_still(seen.get(symbol))
            and stops.market_of(symbol) in self._references
            and not stops.is_stopped(symbol)
        ]
        self._swept |= seen
        self._stirred.set()

    def _grown(self, seen: Iterable[Snapshot]) -> Mapping[Market, Sequence[str]]:
        """By market, the symbols whose volume grew most since the sweep before."""
        grown: dict[Market, list[tuple[float, str]]] = {}
        for each in seen:
            before = self._swept.get(each.symbol)
            if before is not None and (growth := each.cumulative_volume - before.cumulative_volume) > 0:
                grown.setdefault(self._market_of(each.symbol), []).append((-growth, each.symbol))
        return {market: [symbol for _, symbol in sorted(found)[:REFERENCES]] for market, found in grown.items()}

    def _stands_still(self, seen: Snapshot | None) -> bool:
        before = self._swept.get(seen.symbol) if seen is not None else None
        if seen is None or before is None:
            return False
        return seen.receive_time_ns > before.receive_time_ns and seen.cumulative_volume == before.cumulative_volume

    async def run(self) -> NoReturn:
        """Query until cancelled. A symbol without an answer is queried again after the next sweep: an alert until the
        broker answers for every symbol.
        """
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            asked = self._still
            answered = [await self._ask(symbol) for symbol in asked if asked is self._still]
            if answered and all(answered):
                self._alerts.resolve(HALTS_UNKNOWN, "the broker answers which symbols are halted")

    async def _ask(self, symbol: str) -> bool:
        """Report the symbol if it is halted; returns whether the broker answered."""
        try:
            is_halted = await self._halts.is_halted(symbol) and await self._trades(self._market_of(symbol))
        except ProviderError as error:
            self._alerts.report(HALTS_UNKNOWN, "warning", f"whether {symbol} is halted is not known: {error}")
            return False
        if is_halted:
            codes, venue = ("",) * 8, self._swept[symbol].venue  # a quote has no codes
            self._report([MarketStateChanged(self._provider, symbol, self._clock.now_ns(), True, *codes, venue)])
        return True

    async def _trades(self, market: Market) -> bool:
        """Whether a reference symbol shows that the market trades now."""
        for reference in self._references.get(market, ()):
            if not await self._halts.is_halted(reference):
                return True
        logger.info("%s is stopped, or all its reference symbols are: no symbol of it loses its slot", " ".join(market))
        return False
