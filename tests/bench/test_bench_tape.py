"""The bench of the tape counts what a page has, and a share of the limit that is enough holds all of it."""

import asyncio

import numpy as np
import pytest

from observer.brokers.settings import RateLimitSettings
from observer.collection.tape.planner import TapePlanner
from tests.bench.tape import PAGE_TRADES, MadeUpLine, measure_tape, polled_lines


def result(folder, *shares, calls, slots=0):
    limit = RateLimitSettings(calls_per_second=calls)
    return asyncio.run(measure_tape(folder, 20_000, 100, shares, limit, 1, slots, lambda _text: None))


def measured(folder, *shares, calls):
    return result(folder, *shares, calls=calls).shares


def test_enough_calls_hold_every_reachable_trade_and_half_as_many_hold_less(tmp_path):
    whole, part = measured(tmp_path, 1.0, 0.01, calls=1.0)
    assert whole.reachable_percent == pytest.approx(100)
    assert whole.done_at
    assert 1.0 <= whole.calls_of_floor < 1.6
    assert part.reachable_percent < 60
    assert not part.done_at


def test_trades_of_a_second_beyond_a_page_are_unreachable():
    line = MadeUpLine(np.random.default_rng(1), 500, burst=100)
    had = {number for second in set(line.seconds.tolist()) for number in page_of(line, second)}
    assert line.unreachable == len(line.seconds) - len(had) > 0


def test_lines_with_slots_are_complete_and_the_others_crowded_seconds_bound_the_rest(tmp_path):
    without, slotted = result(tmp_path, 1.0, calls=1.0), result(tmp_path, 1.0, calls=1.0, slots=5)
    assert slotted.crowded_lines == without.crowded_lines - 5
    assert slotted.unreachable < without.unreachable
    for each in (without, slotted):
        assert each.shares[0].complete_percent == pytest.approx(100 - each.crowded_lines)


def test_a_day_that_is_fetched_after_the_close_costs_the_pages_of_one_visit(tmp_path):
    late = MadeUpLine(np.random.default_rng(3), 5_000, burst=70)
    planner, calls = TapePlanner(PAGE_TRADES), 0
    planner.close({"000000": late.volume_at(60_000)}, 60_000)
    visit = planner.take()
    assert visit is not None
    while (second := planner.ask(visit)) is not None:
        planner.page(visit, second, late.page(second))
        calls += 1
    assert calls == pytest.approx(late.pages, abs=2)


def test_calls_within_crowded_seconds_complete_as_many_lines_as_the_limit_has_calls():
    opening = [{9: 31}] * 10
    assert polled_lines(opening, 4.0) == 4
    assert polled_lines([*opening, {9: 31, 10: 31}, {11: 91}], 3.0) == 4
    assert polled_lines([{11: 92 + PAGE_TRADES}], 3.0) == 0


def test_each_place_of_a_page_has_one_cause(tmp_path):
    whole = result(tmp_path, 1.0, calls=1.0)
    (share,) = whole.shares
    assert sum(share.places.values()) == share.calls * PAGE_TRADES
    assert share.places["new"] == whole.trades - whole.unreachable
    assert min(share.places.values()) >= 0
    assert share.places["same_second"] > share.places["held"] > 0


def page_of(line, second):
    end = int(np.searchsorted(line.seconds, second, "right"))
    return range(max(0, end - PAGE_TRADES), end)
