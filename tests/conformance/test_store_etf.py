"""Stored ETFs, on both databases: each kind of event updates only its own columns, in any order."""

import itertools

import msgspec
import pytest

from bus.events import AlertRaised, DailyBar
from observer.store.digest import digest
from observer.store.etf import EtfReader
from tests.store.etf import (
    etf,
    etf_job_ended,
    etf_listed,
    etf_measured,
    etf_nav_day,
    etf_range_found,
    etf_valued,
)
from tests.store.migrated import make_database
from tests.store.stored import stored

EVERYTHING = [etf_listed(), etf_valued(), etf_measured(), etf_range_found()]


READER = EtfReader


def test_the_etf_row_equals_the_listed_etf(store, reader):
    store(etf_listed())
    assert reader.etfs() == {"069500": etf()}
    assert reader.etf("069500") == etf()
    assert reader.etf("999999") is None


def test_a_later_list_keeps_the_values_measures_and_ranges(store, reader):
    store(*EVERYTHING)
    before = reader.etf("069500")
    store(etf_listed(listed_ns=50, change="changed", name="KODEX 200 TR"))
    after = reader.etf("069500")
    assert after == msgspec.structs.replace(before, name="KODEX 200 TR", listed_ns=50)
    assert (after.aum, after.premium_60d_percent, after.highest_close_52w) == (9.43e12, 0.2, 60_000.0)
    assert after.first_seen_ns == 10


@pytest.mark.parametrize("order", list(itertools.permutations(EVERYTHING)), ids=lambda order: order[0].symbol)
def test_the_order_within_a_commit_does_not_matter(order, tmp_path):
    url = f"sqlite:///{tmp_path}/one.db"
    make_database(url)
    stored(url, *order)
    with EtfReader(url) as reader:
        found = reader.etf("069500")
    assert (found.price, found.nav_days, found.lowest_close_52w) == (50_000.0, 60, 40_000.0)


def test_an_older_fact_changes_nothing(store, reader):
    store(*EVERYTHING)
    before = reader.etf("069500")
    store(
        etf_listed(listed_ns=9, name="old"),
        etf_valued(valued_ns=19, price=1.0),
        etf_measured(measured_ns=29, nav_days=1),
        etf_range_found(found_ns=39, closes=1, lowest_close_52w=1.0),
    )
    assert reader.etf("069500") == before


def test_a_value_of_an_unlisted_etf_creates_no_etf(store, reader):
    store(etf_valued(symbol="999999"))
    assert reader.etfs() == {}


def test_an_etf_that_left_the_list_keeps_its_data_and_becomes_inactive(store, reader):
    store(*EVERYTHING)
    store(etf_listed(listed_ns=60, change="removed"))
    left = reader.etf("069500")
    assert not left.active
    assert left.aum == 9.43e12
    store(etf_listed(listed_ns=70, change="relisted"))
    assert reader.etf("069500").active


def test_a_nav_day_that_came_twice_takes_the_last_nav_and_keeps_the_index_close(store, reader):
    store(etf_nav_day("2026-11-17", received_ns=1, nav=1.0, index_close=370.5), etf_nav_day(received_ns=2))
    store(etf_nav_day("2026-11-17", received_ns=3, nav=2.0))
    days = reader.nav_days("069500", "2026-11-17")
    assert [(day.session_date, day.nav, day.index_close) for day in days] == [
        ("2026-11-17", 2.0, 370.5),
        ("2026-11-18", 50_050.0, None),
    ]
    assert [day.session_date for day in reader.nav_days("069500", "2026-11-18")] == ["2026-11-18"]
    assert reader.indexed_sessions("2026-11-01") == {"2026-11-17"}


def bar(session_date, close, symbol="069500"):
    return DailyBar("kis", symbol, session_date, close, close + 9, close - 9, close, 1.0, 1.0)


def test_the_range_is_of_the_closes_of_52_weeks_from_bars_and_nav_days(store, reader):
    store(etf_listed(), etf_listed(symbol="114800"), etf_listed(symbol="005930", change="removed"))
    store(etf_listed(symbol="530031", group="EN"), bar("2026-11-18", 7.0, "530031"))
    store(
        bar("2025-11-19", 10.0),  # 52 weeks before the 18th are since the 19th: this day is out
        bar("2025-11-20", 20.0),
        bar("2026-11-17", 50.0),
        etf_nav_day("2026-11-17", close=50.0),
        etf_nav_day("2026-11-18", close=30.0),
        etf_nav_day("2026-11-19", close=99.0),
        bar("2026-11-18", 0.0),
        bar("2026-11-18", 5.0, "005930"),
    )
    assert [each.symbol for each in reader.etf_ranges("2026-11-18", "EN")] == ["530031"]
    [found] = reader.etf_ranges("2026-11-18", "EF")
    assert (found.symbol, found.closes, found.highest, found.lowest) == ("069500", 3, 50.0, 20.0)


def test_the_last_end_of_each_job_is_returned(store, reader):
    store(etf_job_ended(), etf_job_ended(ended_ns=99, detail="later"), etf_job_ended(job="etf_values", ended_ns=7))
    assert {job: ended.ended_ns for job, ended in reader.last_etf_jobs().items()} == {
        "etf_list": 99,
        "etf_values": 7,
    }


def test_the_first_failure_of_a_job_since_a_moment_is_found_by_the_job_and_not_by_its_text(store, reader):
    store(
        AlertRaised(10, "critical", "etf", "before", "etf_list"),
        AlertRaised(20, "critical", "etf", "etf_list failed, as a text says"),
        AlertRaised(30, "info", "etf", "recovered", "etf_list"),
        AlertRaised(40, "critical", "etf", "another", "etf_values"),
        AlertRaised(50, "critical", "etf", "first", "etf_list"),
        AlertRaised(60, "critical", "etf", "second", "etf_list"),
    )
    assert reader.failure_since("etf_list", 20) == "first"
    assert reader.failure_since("etf_list", 61) is None


def test_valued_since_returns_the_etfs_valued_since_a_moment(store, reader):
    store(etf_valued(), etf_valued(symbol="114800", valued_ns=19))
    assert reader.valued_since(20) == {"069500"}


def test_a_replay_in_one_commit_gives_the_same_etfs(tmp_path):
    history = [*EVERYTHING, etf_listed(symbol="114800", listed_ns=50), etf_valued(symbol="114800", valued_ns=60)]
    digests = []
    for name, batches in (("each", [[event] for event in history]), ("once", [history])):
        url = f"sqlite:///{tmp_path}/{name}.db"
        make_database(url)
        for events in batches:
            stored(url, *events)
        digests.append(digest(url).digest)
    assert digests[0] == digests[1]
