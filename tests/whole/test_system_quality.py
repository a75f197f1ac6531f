"""The quality reports on a whole simulated day, as stored and as `observer quality` reports them."""

import pytest

from observer.base.local_time import local_ns
from observer.cli.lines import AskedLines
from observer.cli.quality import quality_of
from observer.demo.configuration import DAY
from observer.gaps.intervals import Interval
from observer.store.reader import StoreReader

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_every_symbol_that_had_a_slot_has_one_quality_report(day):
    had_a_slot = day.rows("SELECT DISTINCT symbol FROM slot_assignments ORDER BY symbol")
    assert had_a_slot
    assert day.rows("SELECT symbol FROM quality ORDER BY symbol") == had_a_slot


def test_every_reconciliation_balances(day):
    reconciliations = day.rows(
        "SELECT before_volume - after_volume - streamed_volume - recovered_volume - difference FROM reconciliations"
    )
    assert reconciliations
    assert {rest for (rest,) in reconciliations} == {0.0}


def test_no_report_with_volume_missing_outside_of_gaps_says_complete(day):
    """Each second of a busy machine is minutes of this day: what is traded between a subscription and the first quote
    is not known then.
    """
    outside = "detail LIKE '%outside of every recorded gap%'"
    assert day.rows(f"SELECT symbol FROM quality WHERE {outside} AND slots_quality IN ('complete', 'recovered')") == []


def test_the_quality_command_returns_the_stored_reports(day):
    [(session_date, judged_ns)] = day.rows("SELECT DISTINCT session_date, judged_ns FROM quality")
    with StoreReader(f"sqlite:///{day.database}") as reader:
        session = Interval(local_ns(DAY, 9), local_ns(DAY, 15, 30))
        reported = quality_of(reader, session_date, AskedLines(), judged_ns, 41, session)
    assert reported.stored
    assert sum(reported.slots_quality.values()) == sum(reported.day_quality.values())
    assert sum(reported.slots_quality.values()) == len(reported.symbols) == day.value("SELECT count(*) FROM quality")
    assert reported.missing_volume == day.value("SELECT sum(difference) FROM reconciliations")
