"""Who has a place and is not traded: asked about, since no record of trades tells for certain that a halt begins."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from bus.events import MarketStateChanged, Snapshot
from observer.brokers import PROVIDER
from observer.clock import Clock
from observer.errors import ProviderError
from observer.providers.interfaces import HaltSource

logger = logging.getLogger(__name__)


class Standstill:
    """Asks, one after the other and beside all else, about symbols whose day's volume did not grow from one sweep to
    the next; of the halted it tells.

    Args:
        halts: who is halted.
        clock: market time.
        tell: takes the fact that a symbol is halted.
    """

    def __init__(self, halts: HaltSource, clock: Clock, tell: Callable[[Sequence[MarketStateChanged]], None]) -> None:
        self._halts = halts
        self._clock = clock
        self._tell = tell
        self._swept: dict[str, Snapshot] = {}
        self._still: Sequence[str] = ()
        self._stirred = asyncio.Event()

    def after_sweep(self, swept: Iterable[Snapshot], held: Iterable[str]) -> None:
        """Track A saw these, and those have places. Whoever an earlier sweep asks about still is left to this one."""
        seen = {snapshot.symbol: snapshot for snapshot in swept}
        self._still = [symbol for symbol in held if self._stands_still(seen.get(symbol))]
        self._swept |= seen
        self._stirred.set()

    def _stands_still(self, seen: Snapshot | None) -> bool:
        before = self._swept.get(seen.symbol) if seen is not None else None
        if seen is None or before is None:
            return False
        return seen.receive_time_ns > before.receive_time_ns and seen.cumulative_volume == before.cumulative_volume

    async def run(self) -> NoReturn:
        """Until cancelled. What the broker does not answer is asked again after the next sweep."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            asked = self._still
            for symbol in asked:
                if asked is self._still:
                    await self._ask(symbol)

    async def _ask(self, symbol: str) -> None:
        try:
            is_halted = await self._halts.is_halted(symbol)
        except ProviderError as error:
            logger.warning("whether %s is halted is not known: %s", symbol, error)
            return
        if is_halted:
            now_ns = self._clock.now_ns()
            self._tell([MarketStateChanged(PROVIDER, symbol, now_ns, True, "", "", "", "", "", "", "", "", "")])
