"""A stored day whose rows were removed says where they are, instead of zeros."""

from msgspec.structs import replace

from observer.store.alerts import StoredAlert
from observer.web.past import IN_THE_LAKE, _alerts, without_removed
from tests.web.page_states import past_day


def test_a_day_whose_snapshots_were_removed_names_the_lake_and_shows_no_zero():
    day = past_day()
    rows = {"trades": 0, "recovered trades": 0, "snapshots": 0, "gaps": 14}
    found = without_removed(replace(day, storage=replace(day.storage, rows=rows)))
    assert (found.storage.rows, found.storage.missing) == ({"gaps": 14}, IN_THE_LAKE)
    assert (list(found.universe.tiles), found.universe.missing) == ([], IN_THE_LAKE)
    assert found.gaps == day.gaps


def test_a_day_with_its_rows_and_one_without_an_answer_of_a_sweep_stay_as_they_are():
    day = past_day()
    stored = replace(day, storage=replace(day.storage, rows={"snapshots": 1}))
    unswept = replace(day, sweeps=replace(day.sweeps, sweeps=()), storage=replace(day.storage, rows={"snapshots": 0}))
    assert [without_removed(each) for each in (stored, unswept)] == [stored, unswept]


def test_an_alert_of_today_that_is_open_until_midnight_has_no_end_before():
    raised = StoredAlert(
        source="etf",
        identity="etf:removed",
        severity="warning",
        since_ns=0,
        last_ns=0,
        count=1,
        text="5",
        until_ns=5_000_000,
    )
    resolved = replace(raised, resolved_ns=2_000_000, until_ns=None)
    assert [each.ended is None for each in _alerts([raised, resolved], 4).alerts] == [True, False]
    assert [each.ended is None for each in _alerts([raised], 5).alerts] == [False]
