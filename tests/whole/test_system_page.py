"""The page's state of the demo's day, from its database alone."""

import msgspec
import pytest

from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.system.config import load_settings
from observer.web.past import past_state
from observer.web.stored import PageReader
from tests.folders import short_folder
from tests.store.plans import recorded

pytestmark = pytest.mark.system

QUERIES_MAX = 110  # 85 and some alerts; one for each of the 46 lines would be more


@pytest.fixture(scope="module")
def shown(day):
    with short_folder() as folder:
        settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)))
        store = msgspec.structs.replace(settings.store, url=f"sqlite:///{day.database}")
        with PageReader(store.url) as reader:
            yield past_state(reader, msgspec.structs.replace(settings, store=store), DAY.isoformat(), 1)


def test_the_day_s_rows_gaps_and_sweeps_are_those_of_the_summary(day, shown):
    summary = day.summary
    rows = shown.storage.rows
    assert rows["recovered trades"] == summary["trades_recovered"]
    assert rows["trades"] + rows["recovered trades"] == summary["trades"]
    assert len(shown.sweeps.sweeps) == summary["sweeps"]
    assert (shown.gaps.recovered, shown.gaps.lost) == (summary["gaps"]["recovered"], summary["gaps"]["unrecoverable"])
    assert sum(len(strip.spans) for strip in shown.gaps.strips) >= summary["gaps"]["found"]
    assert len(shown.listings.listings) == summary["listings"]["new"]


def test_the_board_has_the_slots_of_the_close_with_their_prices_of_the_day(day, shown):
    [account] = shown.board.accounts
    lines = {row[0] for row in day.rows("SELECT symbol FROM slot_releases WHERE reason = 'closed'")}
    assert {slot.line for slot in account.slots} == lines
    assert all(slot.price and slot.prices and slot.name != slot.line for slot in account.slots)
    assert all(540 <= minute <= 1_200 for slot in account.slots for minute, _ in slot.prices)


def test_the_universe_is_shown_by_traded_value_and_etfs_by_premium(day, shown):
    values = [tile.value for tile in shown.universe.tiles]
    assert shown.universe.lines == day.summary["universe"]
    assert values == sorted(values, reverse=True)
    assert shown.premiums.day == DAY.isoformat()
    assert all(each.name != each.symbol for each in shown.premiums.premiums)


def test_the_state_of_a_day_takes_a_few_queries_and_none_for_each_line(day, shown):
    with short_folder() as folder:
        settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)))
        with PageReader(f"sqlite:///{day.database}") as reader, recorded() as statements:
            past_state(reader, settings, DAY.isoformat(), 1)
        assert 0 < len(statements) < QUERIES_MAX
