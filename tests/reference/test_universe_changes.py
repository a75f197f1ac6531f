"""Additions to the universe, removals with their reasons, and moves."""

from hypothesis import given
from hypothesis import strategies as st

from observer.reference.universe.changes import Came, Left, Moved, changes_between
from observer.selection.settings import UniverseSettings
from tests.reference.test_universe_eligibility import share
from tests.selection.builders import member

SETTINGS = UniverseSettings()
CLOSES = {"E": 4_000.0, "G": 3_995.0}


def universe(symbols):
    return [member(symbol, rank=rank) for rank, symbol in enumerate(symbols, start=1)]


def changes(before, after, **listed):
    return changes_between(universe(before), universe(after), listed, CLOSES, SETTINGS)


def test_a_symbol_that_left_has_the_reason_given_by_listings_and_closes():
    listed = {
        "B": share("B", suspended=True),
        "C": share("C", base_price=3_990.0),
        "D": share("D", group="EF"),
        "E": share("E", base_price=3_990.0),
        "G": share("G", base_price=4_500.0),
    }
    reasons = {left.symbol: left.reason for left in changes("ABCDEG", "F", **listed).left}
    assert reasons == {
        "A": "delisted",
        "B": "suspended",
        "C": "low_close",
        "D": "etf",
        "E": "unknown",
        "G": "low_close",
    }


def test_a_symbol_that_came_has_its_rank():
    assert list(changes("AC", "ABC").came) == [Came("B", "Samsung", 2)]


def test_symbols_that_left_or_moved_have_their_names_and_ranks():
    found = changes("ABC", "CB")
    assert list(found.left) == [Left("A", "Samsung", 1, "delisted")]
    assert list(found.moved) == [Moved("C", "Samsung", 3, 1)]


def test_the_symbol_that_moved_furthest_is_first():
    moved = changes("ABCD", "DABC").moved
    assert [(each.symbol, each.ranks) for each in moved] == [("D", 3), ("A", -1), ("B", -1), ("C", -1)]


symbols = st.lists(st.sampled_from("ABCDEFGH"), unique=True).map("".join)


@given(symbols, symbols)
def test_every_symbol_of_both_days_is_counted_once(before, after):
    found = changes(before, after)
    assert found.stayed + len(found.came) == len(after)
    assert found.stayed + len(found.left) == len(before)
    assert {each.symbol for each in found.came} == set(after) - set(before)
    assert {each.symbol for each in found.left} == set(before) - set(after)
    assert all(each.ranks for each in found.moved)
