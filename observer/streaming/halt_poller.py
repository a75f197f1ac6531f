"""Queries the halt state of symbols with a slot and no trades: trade records do not show the start of
a halt reliably.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TypeGuard

from bus.events import MarketStateChanged, Snapshot
from observer.clock import Clock
from observer.errors import ProviderError
from observer.providers.broker import HaltSource

logger = logging.getLogger(__name__)


class HaltPoller:
    """Queries the halt state of symbols whose day's volume did not grow between two sweeps, one by one and in the
    background; reports the halted ones.

    Where no symbol of a venue traded, the venue itself stands still: an auction, a break, or a stop of the whole
    market. None of its symbols is queried then. A quote that calls each of them stopped would take all slots away,
    which no other symbol can use, and which are needed when trading resumes. A stop may also begin between two sweeps:
    a symbol is reported as halted only if the one of its venue that traded most between them is not.

    Args:
        provider: the broker to query.
        halts: the broker's halt queries.
        clock: market time.
        report: takes the events of halted symbols.
    """

    def __init__(
        self, provider: str, halts: HaltSource, clock: Clock, report: Callable[[Sequence[MarketStateChanged]], None]
    ) -> None:
        self._provider = provider
        self._halts = halts
        self._clock = clock
        self._report = report
        self._swept: dict[str, Snapshot] = {}
        self._still: Sequence[str] = ()
        self._busiest: dict[str, str] = {}  # by venue
        self._stirred = asyncio.Event()

    def after_sweep(self, swept: Iterable[Snapshot], held: Iterable[str]) -> None:
        """Queue symbols with a slot whose volume did not grow, in place of the earlier sweep's queue."""
        seen = {snapshot.symbol: snapshot for snapshot in swept}
        growth = {symbol: self._growth(snapshot) for symbol, snapshot in seen.items()}
        by_growth = sorted((symbol for symbol in seen if growth[symbol] > 0), key=lambda symbol: growth[symbol])
        self._busiest = {seen[symbol].venue: symbol for symbol in by_growth}
        self._still = [
            symbol for symbol in held if self._stands_still(found := seen.get(symbol)) and found.venue in self._busiest
        ]
        self._swept |= seen
        self._stirred.set()

    def _growth(self, seen: Snapshot) -> float:
        before = self._swept.get(seen.symbol)
        return 0.0 if before is None else seen.cumulative_volume - before.cumulative_volume

    def _stands_still(self, seen: Snapshot | None) -> TypeGuard[Snapshot]:
        before = self._swept.get(seen.symbol) if seen is not None else None
        if seen is None or before is None:
            return False
        return seen.receive_time_ns > before.receive_time_ns and seen.cumulative_volume == before.cumulative_volume

    async def run(self) -> NoReturn:
        """Query until cancelled. A symbol without an answer is queried again after the next sweep."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            asked = self._still
            for symbol in asked:
                if asked is self._still:
                    await self._ask(symbol)

    async def _ask(self, symbol: str) -> None:
        try:
            is_halted = await self._halts.is_halted(symbol) and not await self._is_stopped(self._swept[symbol].venue)
        except ProviderError as error:
            logger.warning("whether %s is halted is not known: %s", symbol, error)
            return
        if is_halted:
            venue = self._swept[symbol].venue
            codes = ("",) * 8  # a quote has none of them
            self._report([MarketStateChanged(self._provider, symbol, self._clock.now_ns(), True, *codes, venue)])

    async def _is_stopped(self, venue: str) -> bool:
        busiest = self._busiest.get(venue)
        return busiest is None or await self._halts.is_halted(busiest)
