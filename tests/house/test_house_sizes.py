"""The house gets smaller: no room has more tokens than its budget in rooms.toml, and no budget rises."""

import pytest

from tests.house.sizes import ROOT, budgets, sizes, splats, tokens

SIZES = sizes()
SLACK = 1.01  # a move between two rooms need not wait for the next lowering


def test_every_room_has_a_budget_and_every_budget_a_room():
    assert SIZES.keys() == budgets().keys()


@pytest.mark.parametrize("room", SIZES)
def test_a_room_is_within_its_budget(room):
    assert SIZES[room] <= SLACK * budgets()[room]["tokens"]


def test_no_call_spreads_a_tuple_of_its_own():
    sources = [path for folder in ("bus", "observer", "workers") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in sources if splats(path.read_text())] == []


def test_formatting_docstrings_comments_and_imports_are_no_tokens():
    assert tokens("x = f(1)") == tokens('"""A module."""\nimport os\nx = f(\n    1\n)  # said\n') == 6


def test_a_spread_tuple_is_seen():
    assert splats("f(*(a, b))") == 1
    assert splats("f(*pair)") == 0
