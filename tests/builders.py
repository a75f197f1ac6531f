"""Small builders of facts for tests: sensible everywhere, and what a test is about is given by name."""

import msgspec

from bus.events import DayBegan, Trade
from observer.gaps.plausibility import TradeScreen, TradingHours


def trade(sequence: int = 1, **changes: object) -> Trade:
    """The `sequence`-th trade of a quiet symbol: one share each, so cumulative volume and count are the sequence."""
    base = Trade(
        provider="kis",
        symbol="005930",
        session_date="2026-11-18",
        exchange_time_ns=1_795_000_000_000_000_000 + sequence * 1_000_000_000,
        receive_time_ns=1_795_000_000_000_000_000 + sequence * 1_000_000_000 + 5_000_000,
        price=70_000.0,
        volume=1.0,
        cumulative_volume=float(sequence),
        cumulative_trades=sequence,
        side="buy",
        bid=69_900.0,
        ask=70_000.0,
    )
    return msgspec.structs.replace(base, **changes)


def trades(count: int, first: int = 1, **changes: object) -> list[Trade]:
    """`count` consecutive trades."""
    return [trade(sequence, **changes) for sequence in range(first, first + count)]


def day_began(universe: str, *, snapshots: int = 0, history_ns: int | None = None) -> DayBegan:
    """A day's first step, with the settings of a test that does not read them."""
    return DayBegan(
        universe=universe,
        built_ns=None,
        has_usual_hours=True,
        knows_earlier_days=True,
        snapshots=snapshots,
        settings_digest="",
        settings={},
        accounts=(),
        allocation_strategy="round_robin",
        sweep_interval_s=600.0,
        history_ns=history_ns,
    )


def screen(session_date: str = "2026-11-18") -> TradeScreen:
    """A screen of trades whose market is open at any hour since 1970."""
    return TradeScreen(TradingHours(session_date, 0, 2**62, 0))
