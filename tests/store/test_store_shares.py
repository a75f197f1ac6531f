"""Conflated rows and stored trades together have each share once."""

from hypothesis import example, given

from observer.store.shares import unheld
from tests.conflated import ConflatedDay, conflated_days
from tests.reach import reaches


@reaches(held_inside_a_row=20)
@given(day=conflated_days())
@example(day=ConflatedDay.of([(21, 1, 1), (60, 1, 1), (60, 2, 1)], rows=[(0, 3)], held=[1]))
def test_a_row_has_what_none_of_the_stored_trades_has(day, reach):
    rows = [(row[-1].upto, sum(each.volume for each in row), len(row)) for row in day.rows]
    found = unheld(rows, [(each.upto, each.volume) for each in day.held])
    left = [[each for each in row if each not in day.held] for row in day.rows]
    assert found == [(sum(each.volume for each in own), len(own)) if own else None for own in left]
    reach.count("held_inside_a_row", sum(len(own) < len(row) for own, row in zip(left, day.rows, strict=True)))


def test_a_trade_that_is_stored_twice_counts_once():
    assert unheld([(30.0, 20.0, 2)], [(20.0, 10.0), (20.0, 10.0)]) == [(10.0, 1)]
