"""Each trigger kind is defined once, and every list of kinds contains it."""

import json
from pathlib import Path

import msgspec
import pytest

from bus.events import SlotOverflowed
from observer.selection.triggers import TRIGGERS, PinSettings, TriggersSettings
from observer.store.ledgers import overflow_line

ROOT = Path(__file__).parents[2]
SHIPPED = json.loads((ROOT / "config/observer/symbol_selection.json").read_text())
DATA_PAGE = (ROOT / "docs" / "data.md").read_text()

each_trigger = pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.kind)


@each_trigger
def test_the_shipped_settings_contain_the_defaults_of_each_trigger(trigger):
    assert SHIPPED["triggers"].get(trigger.kind) == msgspec.to_builtins(TriggersSettings().of(trigger.kind))


@each_trigger
def test_the_page_of_the_data_states_when_each_trigger_fires(trigger):
    assert f"| `{trigger.kind}` | {trigger.documentation} |" in DATA_PAGE


@each_trigger
def test_the_overflow_ledger_names_the_measure_of_each_trigger(trigger):
    refused = SlotOverflowed("035720", 0, trigger.kind, 0.85, 9.2, 9.5, "not_above_threshold", 3.2, 5e11, 41)
    metadata = json.loads(overflow_line(refused))["metadata"]
    assert metadata == {trigger.overflow_measure: 3.2, "market_cap": 500_000_000_000}


def test_the_shipped_settings_contain_the_defaults_of_pins_and_the_page_of_the_data_names_their_kind():
    assert SHIPPED["triggers"]["manual"] == msgspec.to_builtins(PinSettings())
    assert "| `manual` | the symbol is pinned (`observer slots pin`) |" in DATA_PAGE


def test_each_trigger_has_its_own_overflow_measure():
    measures = [trigger.overflow_measure for trigger in TRIGGERS]
    assert len(set(measures)) == len(measures)
