"""Loads a catalogue with Nautilus Trader and prints what it found as one line of JSON; runs in its environment.

    python nautilus_child.py FOLDER

For each instrument: its trades and bars, as Nautilus gives them, and how many of the trades a backtest passed on.
"""

import json
import sys
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.catalog import ParquetDataCatalog


class Counter(Actor):
    """Counts the trades that a backtest passes on."""

    def __init__(self, instrument_ids: list[InstrumentId]) -> None:
        super().__init__()
        self.instrument_ids = instrument_ids
        self.trades = 0
        self.volume = 0.0

    def on_start(self) -> None:
        for each in self.instrument_ids:
            self.subscribe_trade_ticks(each)

    def on_trade_tick(self, tick: TradeTick) -> None:
        self.trades += 1
        self.volume += tick.size.as_double()


def replayed(instruments: list[Any], trades: list[TradeTick]) -> Counter:
    """A backtest of the trades."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    for venue in sorted({each.id.venue.value for each in instruments}):
        engine.add_venue(
            Venue(venue), OmsType.NETTING, AccountType.CASH, [Money(1_000_000, instruments[0].quote_currency)]
        )
    for each in instruments:
        engine.add_instrument(each)
    engine.add_data(trades)
    counter = Counter([each.id for each in instruments])
    engine.add_actor(counter)
    engine.run()
    engine.dispose()
    return counter


def number(exact: Any) -> float:
    """A price or volume by its text: their own conversion to a float loses the last digit of some."""
    return float(str(exact))


def main() -> None:
    catalogue = ParquetDataCatalog(sys.argv[1])
    instruments, trades, bars = catalogue.instruments(), catalogue.trade_ticks(), catalogue.bars()
    found: dict[str, Any] = {
        str(each.id): {"currency": str(each.quote_currency), "isin": each.isin, "trades": [], "bars": []}
        for each in instruments
    }
    for trade in trades:
        found[str(trade.instrument_id)]["trades"].append(
            [trade.ts_event, number(trade.price), number(trade.size), trade.aggressor_side.name, trade.trade_id.value]
        )
    for bar in bars:
        prices = map(number, (bar.open, bar.high, bar.low, bar.close, bar.volume))
        found[str(bar.bar_type.instrument_id)]["bars"].append([bar.ts_event, *prices])
    counter = replayed(instruments, trades)
    json.dump({"instruments": found, "passed_on": counter.trades, "volume_passed_on": counter.volume}, sys.stdout)


if __name__ == "__main__":
    main()
