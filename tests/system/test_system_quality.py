"""The verdicts on a whole simulated day, as the system stored them and as they are told."""

import pytest

from observer.cli.quality import quality_of
from observer.store.reader import StoreReader
from tests.system.conftest import Day

pytestmark = pytest.mark.system


def test_every_symbol_that_had_a_place_is_judged_once(day: Day) -> None:
    had_a_place = day.rows("SELECT DISTINCT symbol FROM slot_assignments ORDER BY symbol")
    assert had_a_place
    assert day.rows("SELECT symbol FROM quality ORDER BY symbol") == had_a_place


def test_the_books_balance_but_for_what_no_source_had(day: Day) -> None:
    books = day.rows(
        "SELECT before_volume - after_volume - streamed_volume - recovered_volume - difference FROM books_checks"
    )
    assert books
    assert {rest for (rest,) in books} == {0.0}
    outside = day.rows("SELECT symbol, detail FROM quality WHERE detail LIKE '%outside of every recorded gap%'")
    assert outside == []


def test_what_is_told_of_the_day_is_what_is_stored(day: Day) -> None:
    [(session_date, judged_ns)] = day.rows("SELECT DISTINCT session_date, judged_ns FROM quality")
    with StoreReader(f"sqlite:///{day.database}") as reader:
        told = quality_of(reader, session_date, None, judged_ns, 41)
    assert told.stored
    assert sum(told.verdicts.values()) == len(told.symbols) == day.value("SELECT count(*) FROM quality")
    assert told.missing_volume == day.value("SELECT sum(difference) FROM books_checks")
