"""docs/requirement.md: its settings and constants are those of the shipped files and of the code."""

import json
import re
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/requirement.md").read_text()
STATED: Final = dict(re.findall(r"`([\w.:]+) = ([^`]+)`", PAGE))
SHIPPED: Final[tuple[Mapping[str, Any], ...]] = (
    tomllib.loads((ROOT / "config/observer.toml").read_text()),
    json.loads((ROOT / "config/observer/symbol_selection.json").read_text()),
    json.loads((ROOT / "config/provider_pool.json").read_text()),
)
GROUPS: Final = ("triggers.", "slots.", "recovery.", "reference.", "track_b.sampling.", "supervision.host.")
NO_THRESHOLDS: Final = {"reference.exchanges"}


def leaves(document, before=""):
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


SETTINGS: Final = {name: value for document in SHIPPED for name, value in leaves(document)}


@pytest.mark.parametrize("name", STATED)
def test_a_stated_value_is_that_of_the_shipped_files_or_of_the_code(name):
    module, _, constant = name.partition(":")
    found = getattr(import_module(module), constant) if constant else SETTINGS[name]
    assert found == json.loads(STATED[name])


def test_each_threshold_that_can_be_set_has_a_row():
    thresholds = {name for name in SETTINGS if name.startswith(GROUPS)}
    assert thresholds - NO_THRESHOLDS <= STATED.keys()


def test_each_row_has_what_the_requirement_says_what_happens_and_where():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert rows
    assert [row for row in rows if len([cell for cell in row.strip("|").split("|") if cell.strip()]) != 3] == []
