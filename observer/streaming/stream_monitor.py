"""Whether the stream brings what others see traded: Track A, and the broker when it is asked.

A registration can be deaf: acknowledged, alive, and silent. What Track A sees of its symbol tells, and at the end of
the day, when no sweep comes any more that could, the broker is asked while everything is still registered.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from bus.events import AlertRaised
from bus.producer import Producer
from observer.clock import Clock
from observer.errors import ProviderError
from observer.gaps.deafness import Deafness
from observer.gaps.detector import Mark
from observer.providers.interfaces import QuoteSource, chunks
from observer.streaming.keeping import SOURCE, TradeKeeping

ARRIVES_WITHIN_S: Final = 1.0  # machine seconds: what was traded before the broker answered has come by then
_LOOK_S: Final = 0.02


class Hearing:
    """What others saw of the registered symbols of one day, held against what came of them.

    Args:
        trades: what came.
        quotes: who is asked.
        producer: takes what people are to be told.
        clock: market time.
        session_date: the day.
    """

    def __init__(
        self, trades: TradeKeeping, quotes: QuoteSource, producer: Producer, clock: Clock, session_date: str
    ) -> None:
        self._trades = trades
        self._quotes = quotes
        self._producer = producer
        self._clock = clock
        self._session_date = session_date
        self._deafness = Deafness()
        self._swept: dict[str, float] = {}  # the day's volume of each symbol, as Track A saw it last
        self._unknown: set[str] = set()  # registered, and nobody has seen anything of them

    def registered(self, symbol: str, *, is_known: bool) -> bool:
        """A registration begins, of a symbol whose volume of the day somebody has seen, or nobody; whether to `learn`
        it now.
        """
        self._deafness.registered_anew(symbol)
        if is_known:
            return False
        self._unknown.add(symbol)
        return len(self._unknown) == 1

    async def learn(self) -> None:
        """Ask how far those were that nobody had seen when they were registered: if their line breaks before their
        first trade, what is missing counts from there.
        """
        while symbols := frozenset(self._unknown):
            told = await self._asked(symbols)
            now_ns = self._clock.now_ns()
            for symbol, volume in told.items():
                self._deafness.registered_anew(symbol, volume)
                self._trades.learn(Mark(symbol, self._session_date, volume, None, now_ns))
            self._unknown -= symbols

    def sweep(self, volumes: Mapping[str, float]) -> None:
        """Track A saw these."""
        self._swept.update(volumes)

    def deaf(self, registered: Iterable[str]) -> Mapping[str, float]:
        """After a sweep: who is registered and not heard, and how many shares are missing at least; people are told."""
        volumes = {symbol: self._swept[symbol] for symbol in registered if symbol in self._swept}
        deaf = self._deafness.after_sweep(volumes, self._trades.detector.reached)
        if deaf:
            missing = ", ".join(f"{symbol} ({shares:,.0f} shares behind)" for symbol, shares in sorted(deaf.items()))
            self._warn(f"registered and not heard, registered again: {missing}")
        return deaf

    def leaving(self, symbol: str) -> None:
        """It is to be watched no longer: if the last sweep saw more of it than came, what is missing is asked for."""
        if symbol in self._swept:
            self._doubt(self._behind({symbol: self._swept[symbol]}))

    async def hear_out(self) -> None:
        """The day's stream is about to end: whoever is behind what the broker says of it now, and stays so, lacks
        something. Where it does not answer, the last sweep has to do.
        """
        watched = self._trades.detector.watched
        swept = {symbol: self._swept[symbol] for symbol in watched if symbol in self._swept}
        told = swept | await self._asked(watched)
        for _ in range(round(ARRIVES_WITHIN_S / _LOOK_S)):
            if not self._behind(told):
                break
            await asyncio.sleep(_LOOK_S)
        self._doubt(self._behind(told))

    def _behind(self, volumes: Mapping[str, float]) -> Collection[str]:
        """Those of whom more was traded than came, and of whom that is news."""
        detector = self._trades.detector
        unsettled = detector.unsettled()
        return [
            symbol
            for symbol, volume in sorted(volumes.items())
            if symbol not in unsettled and self._deafness.is_behind(symbol, volume, detector.reached(symbol))
        ]

    def _doubt(self, symbols: Collection[str]) -> None:
        for symbol in symbols:
            self._trades.interrupt(symbol, "volume_mismatch")

    async def _asked(self, symbols: Collection[str]) -> dict[str, float]:
        """The day's volume of these now; of those that the broker did not tell nothing, and people hear of it."""
        told: dict[str, float] = {}
        for chunk in chunks(sorted(symbols), self._quotes.quotes_per_call):
            try:
                quotes = await self._quotes.quotes(chunk, lane="urgent")
            except ProviderError as error:
                self._warn(f"how much was traded of {', '.join(chunk)} is not known: {error}")
            else:
                told |= {quote.symbol: quote.cumulative_volume for quote in quotes}
        return told

    def _warn(self, text: str) -> None:
        self._producer.publish(AlertRaised(self._clock.now_ns(), "warning", SOURCE, text))
