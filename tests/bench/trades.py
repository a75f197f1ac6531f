"""The trades of the measurements: as many symbols as one account streams, all fields filled, each trade different."""

from collections.abc import Iterator, Sequence
from typing import Final

from bus.events import Trade
from observer.brokers.broker import DEFAULT_BROKER, broker_named

SYMBOLS: Final = tuple(
    f"{5930 + 10 * number:06d}" for number in range(broker_named(DEFAULT_BROKER).slots)
)  # of one account
_FIRST_NS: Final = 1_795_046_400_000_000_000
_STEP_NS: Final = 1_000_000
_LATENCY_NS: Final = 5_000_000
_PRICES: Final = tuple(70_000.0 + 100.0 * step for step in range(300))
_VOLUMES: Final = tuple(float(1 + step) for step in range(90))


def trade(number: int) -> Trade:
    """The `number`-th trade, from 1; the symbols take turns, and each has its own growing volume."""
    turn, index = divmod(number, len(SYMBOLS))
    price = _PRICES[number % len(_PRICES)]
    moment_ns = _FIRST_NS + number * _STEP_NS
    return Trade(
        DEFAULT_BROKER,
        SYMBOLS[index],
        "2026-11-18",
        moment_ns,
        moment_ns + _LATENCY_NS,
        price,
        _VOLUMES[number % len(_VOLUMES)],
        10.0 * (turn + 1),
        turn + 1,
        "buy" if number % 2 else "sell",
        price - 100.0,
        price,
    )


def lots(count: int, size: int) -> Iterator[Sequence[Trade]]:
    """The first `count` trades in order, in lots of `size`; the last one is what remains."""
    for first in range(1, count + 1, size):
        yield [trade(number) for number in range(first, min(first + size, count + 1))]
