"""The bench of the tape counts what a page has, and a share of the limit that is enough holds all of it."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from observer.bench.tape import PAGE_TRADES, MadeUpLine, measure_tape
from observer.providers.settings import RateLimitSettings


def measured(folder: Path, *shares: float, calls: float) -> tuple:
    limit = RateLimitSettings(calls_per_second=calls)
    found = asyncio.run(measure_tape(folder, 20_000, 100, shares, limit, 1, 0, lambda _text: None))
    return found.shares


def test_enough_calls_hold_every_reachable_trade_and_half_as_many_hold_less(tmp_path: Path) -> None:
    whole, part = measured(tmp_path, 1.0, 0.01, calls=1.0)
    assert whole.reachable_percent == pytest.approx(100)
    assert whole.done_at
    assert 1.0 <= whole.calls_of_floor < 1.6
    assert part.reachable_percent < 60
    assert not part.done_at


def test_trades_of_a_second_beyond_a_page_are_unreachable() -> None:
    line = MadeUpLine(np.random.default_rng(1), 500, burst=100)
    had = {number for second in set(line.seconds.tolist()) for number in page_of(line, second)}
    assert line.unreachable == len(line.seconds) - len(had) > 0


def page_of(line: MadeUpLine, second: int) -> range:
    end = int(np.searchsorted(line.seconds, second, "right"))
    return range(max(0, end - PAGE_TRADES), end)
