"""The made-up days of `python -m tests.bench slots`, and what both rules do with them."""

import asyncio
from xml.etree import ElementTree as ET

import msgspec
import pytest

from observer.selection.settings import SelectionSettings
from tests.bench.crowded_seconds import held_of, overflowing_of
from tests.bench.slots import SlotUse, measure_slots
from tests.bench.surges import STEPS, TRADE_VOLUME, market_days, usual_shares


def measured(folder, symbols, picture):
    settings = SelectionSettings()
    return asyncio.run(
        measure_slots(folder, 1, symbols, 7, 600, [1], settings, 4.5, 4, 40_000, picture, lambda _: None)
    )


@pytest.fixture(scope="module")
def uses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slots")
    result = measured(folder, 250, folder / "slots.svg")
    ET.fromstring((folder / "slots.svg").read_text())
    return tuple(result.uses)


def test_the_same_seed_gives_the_same_days_and_another_one_others():
    days = [[each.volumes.tolist() for each in next(market_days(5, 1, seed))] for seed in (7, 7, 8)]
    assert days[0] == days[1] != days[2]


def test_the_volume_of_a_day_never_falls_and_surges_lie_within_it():
    for each in next(market_days(60, 1, 7)):
        assert all(before <= after for before, after in zip(each.volumes, each.volumes[1:], strict=False))
        assert all(0 <= surge.first < surge.end <= STEPS for surge in each.surges)
        assert all(low <= price <= high for low, price, high in zip(each.lows, each.prices, each.highs, strict=True))


def test_the_shares_of_an_ordinary_day_are_one_together_and_fewest_at_noon():
    shares = usual_shares()
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) < shares[0]
    assert min(shares) < shares[-1]


@pytest.mark.slow
def test_the_rule_of_the_settings_streams_more_of_the_surges_than_the_written_one(uses):
    written, _, ours = uses
    assert (written.rule, ours.rule) == ("written", "settings")
    assert ours.of_oracle > 1.3 * written.of_oracle
    assert ours.streamed_within[-1] > written.streamed_within[-1]
    assert sum(ours.changes_by_hour[2:]) > sum(written.changes_by_hour[2:])


@pytest.mark.slow
def test_no_rule_streams_more_than_the_oracle(uses):
    for use in uses:
        assert 0 < use.of_oracle <= 1
        assert list(use.streamed_within) == sorted(use.streamed_within)
        assert msgspec.json.decode(msgspec.json.encode(use), type=SlotUse) == use


@pytest.mark.slow
def test_requests_between_sweeps_detect_a_surge_sooner_and_at_a_small_share_of_the_limit(
    uses,
):
    _, sweeps, ours = uses
    assert (sweeps.rule, sweeps.requests_a_second, sweeps.rises_a_day) == ("sweeps", 0.0, 0.0)
    before, after = (each.detection.after_crossing_s["p50"] for each in (sweeps, ours))
    assert after is not None
    assert after <= 45
    assert before is None or before > 5 * after
    assert ours.detection.detected >= sweeps.detection.detected
    assert ours.of_oracle > sweeps.of_oracle
    assert 0 < ours.requests_a_second < 1
    assert ours.rises_a_day > 0


def test_trades_beyond_a_page_are_counted_by_second():
    market = next(market_days(20, 1, 7, 300_000))
    found = overflowing_of(market, 30, range(STEPS))
    for each in market:
        for step, lost in found.get(each.member.symbol, {}).items():
            assert 0 < lost <= each.volume(step) / TRADE_VOLUME - 30
    assert overflowing_of(market, 1_000_000, range(STEPS)) == {}
    symbol, steps = next(iter(found.items()))
    everything = sum(sum(each.values()) for each in found.values())
    assert held_of(found, [frozenset()] * STEPS, 0) == (0, everything)
    assert held_of(found, [frozenset({symbol})] * STEPS, 0) == (sum(steps.values()), everything)
