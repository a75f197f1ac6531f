"""Holds implausible trades until the broker's quote or later trades decide about them.

A held trade is not published. It is released into the recorder, in the order of the day's volume, or goes to quarantine
with its reason. So the day's events alone state the decision, and a replay needs neither quotes nor time. Meanwhile the
symbol's other trades are judged against the last accepted trade, and trades that continue it are stored. A plausible
trade behind a held trade waits: if it were stored first, the held trade would be a duplicate. A held trade that is lost
with its process shows as a gap before the next trade.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from math import inf
from operator import attrgetter
from typing import Final, NoReturn

import msgspec

from bus.events import InputQuarantined, Trade
from observer.base.errors import ProviderError
from observer.brokers.broker import Quote, chunks
from observer.collection.parts import StreamParts
from observer.gaps.detector import GapDetector
from observer.gaps.plausibility import TradeScreen, continues, observed_state, run_length, vote

logger = logging.getLogger(__name__)

HELD_MAX: Final = 2_000  # trades of one symbol: some seconds of a surge, until the broker's quote confirms them
HELD_S_MAX: Final = 30.0  # machine seconds without an answer of the broker; the lost trade is a gap then
ANSWER_S: Final = 5.0  # machine seconds for one query
ASK_AGAIN_S: Final = 1.0  # machine seconds: a quote may lag behind the stream
QUOTES_TO_REFUTE: Final = 2
_WAITS: Final = "a trade before it is held"
_volume_of: Final = attrgetter("trade.cumulative_volume")


class _Held(msgspec.Struct):
    """A held trade. `since_s` is on the clock of the event loop. `quotes` counts the quotes that did not make the trade
    plausible. `reason` says why the trade is implausible; `_WAITS` marks a plausible trade that waits.
    """

    trade: Trade
    reason: str
    since_s: float
    quotes: int = 0


class _HeldSymbol:
    """The held trades of a symbol.

    `continuing` counts the trades that continued the chain without them. `has_lost`: more trades came than can be held,
    so some may be missing after the held ones.
    """

    def __init__(self, trades: Sequence[_Held] = (), *, has_lost: bool = False) -> None:
        self.trades: list[_Held] = list(trades)
        self.continuing = 0
        self.has_lost = has_lost
        self.lowest = min((each.trade.cumulative_volume for each in trades), default=inf)  # a held trade's volume

    def hold(self, each: _Held) -> None:
        self.trades.append(each)
        self.lowest = min(self.lowest, each.trade.cumulative_volume)


class HeldTrades:
    """The held trades of one day's stream.

    Args:
        parts: `quotes` return the state of the symbols whose trades are held.
        screen: judges the trades.
        detector: knows the last accepted trade of each symbol.
        quarantine: takes each trade that is refuted.
        release: takes each trade that is confirmed.
        interrupt: takes a symbol with trades that could not be held: the exchange's volume says whether they were real.
        account_of: returns the account that streams a symbol.
    """

    def __init__(
        self,
        parts: StreamParts,
        screen: TradeScreen,
        detector: GapDetector,
        *,
        quarantine: Callable[[InputQuarantined], None],
        release: Callable[[Trade], None],
        interrupt: Callable[[str], None],
        account_of: Callable[[str], str],
    ) -> None:
        self._parts = parts
        self._quotes = parts.quotes
        self._screen = screen
        self._detector = detector
        self._take_refuted = quarantine
        self._release = release
        self._interrupt = interrupt
        self._account_of = account_of
        self._held: dict[str, _HeldSymbol] = {}
        self._stirred = asyncio.Event()

    @property
    def symbols(self) -> Collection[str]:
        return self._held.keys()

    def passes(self, trade: Trade) -> bool:
        """Whether the trade is plausible and no held trade precedes it. Any other trade is held, or goes to quarantine
        if no quote can confirm it.
        """
        symbol = trade.symbol
        if reason := self._screen.misdated(trade):
            self._quarantine(trade, reason)
            return False
        known = self._detector.position(symbol)
        held = self._held.get(symbol)
        if not (reason := self._screen.doubt(trade, known)):
            if held is None:
                self._screen.passed(trade)
                return True
            if known is not None and trade.cumulative_volume <= known[0]:
                return True
            if trade.cumulative_volume < held.lowest or (known is not None and continues(trade, known[0])):
                held.continuing += 1
                return True
            reason = _WAITS
        if known is not None and trade.cumulative_volume <= known[0]:
            self._quarantine(trade, f"{reason}, and its volume is not new")
        elif not self._detector.is_watched(symbol):
            self._quarantine(trade, f"{reason}, and {symbol} is not subscribed")
        elif held is not None and len(held.trades) >= HELD_MAX:
            held.has_lost = True
            self._quarantine(trade, f"{reason}, and {HELD_MAX} trades of {symbol} are held already")
        else:
            self._hold(trade, reason)
        return False

    def _hold(self, trade: Trade, reason: str) -> None:
        if reason != _WAITS:
            logger.info("a trade of %s is held: %s", trade.symbol, reason)
        held = self._held.setdefault(trade.symbol, _HeldSymbol())
        held.hold(_Held(trade, reason, asyncio.get_running_loop().time()))
        self._screen.look_closely(trade.symbol)
        self._stirred.set()

    async def run(self) -> NoReturn:
        """Decide about held trades until cancelled."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._held:
                await self.decide()
                await asyncio.sleep(ASK_AGAIN_S)

    async def decide(self) -> None:
        """Ask for the quotes of all symbols with held trades, and decide as far as they allow."""
        for chunk in chunks(sorted(self._held), self._quotes.quotes_per_call):
            answered = {quote.symbol: quote for quote in await self._answers(chunk)}
            for symbol in chunk:
                if symbol not in self._held:
                    continue
                if (quote := answered.get(symbol)) is not None:
                    self._decide_by_quote(symbol, quote)
                else:
                    self._decide_without_quote(symbol)

    async def finish(self, symbols: Collection[str]) -> None:
        """Decide about these symbols' held trades now, with as many queries as a decision takes."""
        for number in range(QUOTES_TO_REFUTE):
            if self._held.keys().isdisjoint(symbols):
                return
            if number:
                await asyncio.sleep(ASK_AGAIN_S)
            await self.decide()

    async def _answers(self, symbols: Collection[str]) -> Collection[Quote]:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._quotes.quotes(list(symbols), priority="urgent")
        except (ProviderError, TimeoutError) as error:
            logger.warning("held trades of %s are not confirmed yet: %s", ", ".join(symbols), error or "no answer")
            return []

    def give_up(self, symbol: str) -> bool:
        """Put the symbol's held trades in quarantine: it is left. Returns whether there were any: then its volume is
        open.
        """
        if symbol not in self._held:
            return False
        self._refute(symbol, "not decided before the symbol was left")
        return True

    def _decide_by_quote(self, symbol: str, quote: Quote) -> None:
        """Judge the held trades once more, now that the broker's quote is known."""
        limits, prices = (quote.lower_limit, quote.upper_limit), (quote.price, quote.high, quote.low)
        self._screen.observe(
            symbol, observed_state(quote.cumulative_volume, self._parts.clock.now_ns(), limits, prices)
        )
        self._judge_again(symbol, f"the quote says {quote.cumulative_volume:,.10g}")

    def _judge_again(self, symbol: str, quoted: str = "") -> None:
        """Release trades that are plausible now, and refute trades that several quotes do not confirm. `quoted` is the
        state of a new quote; empty without a new quote.
        """
        held = self._held.pop(symbol)
        remaining: list[_Held] = []
        for each in sorted(held.trades, key=_volume_of):
            known = self._detector.position(symbol)
            if reason := self._screen.doubt(each.trade, known):
                each.reason = reason
                each.quotes += bool(quoted)
                if each.quotes >= QUOTES_TO_REFUTE:
                    self._quarantine(each.trade, f"{reason}; {quoted}")
                    continue
            elif not remaining or (known is not None and continues(each.trade, known[0])):
                self._release(each.trade)
                continue
            else:
                each.reason = _WAITS
            remaining.append(each)
        if remaining:
            self._held[symbol] = _HeldSymbol(remaining, has_lost=held.has_lost)
            self._screen.look_closely(symbol)
        elif held.has_lost:
            self._interrupt(symbol)

    def _decide_without_quote(self, symbol: str) -> None:
        """Decide by the other trades. After a while, decide for the side on which the chain shows what is missing."""
        held = self._held[symbol]
        in_order = sorted(held.trades, key=_volume_of)
        trades = [each.trade for each in in_order]
        waiting = [each.trade for each in in_order if each.reason == _WAITS]
        match vote(trades, held.continuing, waiting):
            case "confirmed":
                count = run_length(trades)
                self._held[symbol] = _HeldSymbol(in_order[count:], has_lost=held.has_lost)
                for trade in trades[:count]:
                    self._release(trade)
                self._judge_again(symbol)
            case "refuted":
                self._refute(symbol, "later trades continued without it")
                if held.has_lost:
                    self._interrupt(symbol)
            case None if asyncio.get_running_loop().time() - min(each.since_s for each in in_order) > HELD_S_MAX:
                self._refute(symbol, f"not confirmed within {HELD_S_MAX:g} s")
                self._interrupt(symbol)

    def _refute(self, symbol: str, why: str) -> None:
        """Move the symbol's implausible held trades to quarantine, and release the trades that wait for them. If no
        trade of the symbol is stored, no later trade could show that the refuted trades were real; the known volume
        before them shows it.
        """
        held = self._held.pop(symbol).trades
        for each in held:
            if each.reason != _WAITS:
                self._quarantine(each.trade, f"{each.reason}; {why}")
        if self._detector.reached(symbol) is None:
            self._interrupt(symbol)
        for each in sorted(held, key=_volume_of):
            if each.reason == _WAITS:
                self._release(each.trade)

    def _quarantine(self, trade: Trade, reason: str) -> None:
        source = f"{trade.provider}.trade"
        self._take_refuted(InputQuarantined(source, trade.receive_time_ns, reason, msgspec.json.encode(trade)))
        account = self._account_of(trade.symbol)
        text = f"a trade of {trade.symbol} (account {account}) is in quarantine: {reason}"
        self._parts.alerts.happened("implausible_trades", "warning", text)
