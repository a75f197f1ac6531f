"""Made-up trades and sweeps of a market day as columns: as many as a large day has, in some seconds.

A symbol's price is a random walk of its ticks, its volume grows with each trade, and exchange times are whole seconds,
as the broker states them. The symbols' shares of the trades fall as those of a market do. The same seed gives the same
day.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa

from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.brokers.broker import DEFAULT_BROKER
from observer.store.arrow import schema_of

_OPEN: Final = 9
_DAY_S: Final = 6 * 3600 + 20 * 60
_TICK: Final = 100.0
_LATENCY_NS: Final = 35_000_000
_SWEEP_S: Final = 600
_VENUE: Final = "KRX"
_Numbers = np.ndarray[Any, Any]


def symbols_of_market(count: int) -> Sequence[str]:
    """So many symbols, the same ones for the same number."""
    return [f"{5930 + 10 * number:06d}" for number in range(count)]


def trades_of_day(symbols: Sequence[str], trades: int, day: date, seed: int, stream: int) -> pa.Table:
    """The day's trades with the columns as stored, in the order of the lake: by symbol and time. Their numbers in the
    stream are those of their arrival.
    """
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.sqrt(np.arange(1, len(symbols) + 1))
    which = np.sort(rng.choice(len(symbols), trades, p=weights / weights.sum()))
    counts = np.bincount(which, minlength=len(symbols))
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    begin_ns = local_ns(day, _OPEN)
    received_ns = begin_ns + _LATENCY_NS + rng.integers(0, _DAY_S * NS_PER_S, trades)
    received_ns = received_ns[np.lexsort((received_ns, which))]
    exchange_ns = (received_ns - _LATENCY_NS) // NS_PER_S * NS_PER_S
    sequence = np.empty(trades, np.int64)
    sequence[np.argsort(received_ns, kind="stable")] = np.arange(1, trades + 1)
    steps = rng.choice([-_TICK, 0.0, _TICK], trades, p=[0.15, 0.7, 0.15])
    prices = 50_000.0 + 1_000.0 * (which % 40) + _each_cumulative(steps, starts, which)
    volumes = np.ceil(rng.exponential(20.0, trades))
    is_buy = rng.random(trades) < 0.5
    columns: dict[str, _Numbers | pa.Array] = {
        "stream": np.full(trades, stream, np.int64),
        "sequence": sequence,
        "provider": _text([DEFAULT_BROKER], np.zeros(trades, np.int32)),
        "symbol": _text(symbols, which),
        "session_date": _text([day.isoformat()], np.zeros(trades, np.int32)),
        "exchange_time_ns": exchange_ns,
        "receive_time_ns": received_ns,
        "price": prices,
        "volume": volumes,
        "cumulative_volume": _each_cumulative(volumes, starts, which),
        "cumulative_trades": np.arange(trades, dtype=np.int64) - starts[which] + 1,
        "side": _text(["sell", "buy"], is_buy),
        "bid": np.where(is_buy, prices - _TICK, prices),
        "ask": np.where(is_buy, prices, prices + _TICK),
        "gap_id": pa.nulls(trades, pa.string()),
        "side_inferred": np.zeros(trades, bool),
        "session": _text(["regular"], np.zeros(trades, np.int32)),
        "venue": _text([_VENUE], np.zeros(trades, np.int32)),
    }
    return _table("trades", columns)


def sweeps_of_day(trades: pa.Table, symbols: Sequence[str], day: date, stream: int) -> pa.Table:
    """Snapshots of each symbol at each sweep with the columns as stored, in the order of the lake; their prices are
    those of some trade of the symbol.
    """
    schema, sweeps = schema_of("snapshots"), _DAY_S // _SWEEP_S
    rows = sweeps * len(symbols)
    sweep = np.tile(np.arange(1, sweeps + 1), len(symbols))
    which = np.repeat(np.arange(len(symbols)), sweeps)
    received_ns = local_ns(day, _OPEN) + sweep * _SWEEP_S * NS_PER_S + which * 1_000_000
    known: dict[str, _Numbers | pa.Array] = {
        "stream": np.full(rows, stream, np.int64),
        "sequence": (sweep - 1) * len(symbols) + which + 1,
        "provider": _text([DEFAULT_BROKER], np.zeros(rows, np.int32)),
        "symbol": _text(symbols, which),
        "session_date": _text([day.isoformat()], np.zeros(rows, np.int32)),
        "receive_time_ns": received_ns,
        "sweep": sweep,
        "session": _text(["regular"], np.zeros(rows, np.int32)),
        "venue": _text([_VENUE], np.zeros(rows, np.int32)),
    }
    price = trades["price"].to_numpy()[np.linspace(0, trades.num_rows - 1, rows).astype(np.int64)]
    for field in schema:
        if field.name not in known:
            of_type = _text([""], np.zeros(rows, np.int32)) if field.type == pa.string() else price.astype(np.float64)
            known[field.name] = of_type if not field.nullable else pa.nulls(rows, field.type)
    return _table("snapshots", known)


def _table(kind: str, columns: dict[str, "_Numbers | pa.Array"]) -> pa.Table:
    schema = schema_of(kind)
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _text(values: Sequence[str], which: _Numbers) -> pa.Array:
    indices = pa.array(which.astype(np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(values))).dictionary_decode()


def _each_cumulative(values: _Numbers, starts: _Numbers, which: _Numbers) -> _Numbers:
    """The sums so far within each symbol."""
    sums = np.cumsum(values)
    before = np.concatenate(([0.0], sums))[starts]
    found: _Numbers = sums - before[which]
    return found
