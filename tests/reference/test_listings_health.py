"""Listings that are not checked, that vanish, or that lack fields: an alert while it is so."""

import asyncio
from datetime import date, timedelta

import pytest

from observer.base.errors import StoreError
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts
from observer.reference.listings.health import DAYS_COMPARED, ListingHealth
from observer.store.listings import Counts
from tests.waiting import until_async
from tests.watched import WatchedClock

DAY = date(2026, 11, 18)
HOUR_NS = 3600 * NS_PER_S


class Watched:
    """Listings of two exchanges of one region and one of another, and the alerts about them."""

    def __init__(self, folder):
        self.clock = WatchedClock(local_ns(DAY, 6))
        self.alerts = Alerts(self.clock, "master-file", lambda *_: None)
        self.checked = {"NASD": self.clock.now_ns(), "NYSE": self.clock.now_ns(), "SEHK": self.clock.now_ns()}
        self.active = {"NASD": 300, "NYSE": 200, "SEHK": 100}
        self.complete = dict(self.active)
        self.is_database_there = True
        self.folder = folder
        self.health = self.started()

    def started(self):
        return ListingHealth(self.folder, lambda: self.checked, self.counts, self.clock, self.alerts)

    def counts(self):
        if not self.is_database_there:
            raise StoreError("database unavailable")
        return [Counts(name, self.active[name], 0, 0, self.complete[name]) for name in self.active]

    def put(self, **active):
        self.active |= active
        self.complete |= active

    def look(self, *, hours=0.0):
        async def run():
            await self.clock.advance(hours * 3600)
            await self.health.look()

        asyncio.run(run())
        return list(self.alerts.identities)


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


def test_a_file_that_was_not_checked_for_48_hours_is_an_alert_until_it_is(watched):
    assert watched.look(hours=47.9) == []
    watched.checked |= {"NYSE": watched.clock.now_ns(), "SEHK": watched.clock.now_ns()}
    assert watched.look(hours=0.2) == ["master_file_age:NASD"]
    [alert] = watched.alerts.open
    assert alert.text == "NASD: no check of the master file for 48 hours, the last was at 11-18 06:00"
    watched.checked["NASD"] = watched.clock.now_ns()
    assert watched.look() == []


def test_a_file_that_was_never_checked_counts_from_the_start_of_the_process(watched):
    watched.checked = {"SEHK": 0}
    assert watched.look(hours=47) == []
    assert watched.look(hours=2) == ["master_file_age:SEHK"]
    assert "there was none" in watched.alerts.open[0].text


def test_a_region_that_loses_more_than_a_tenth_of_its_listings_is_an_alert_until_they_are_back(
    watched,
):
    assert watched.look() == []
    watched.put(NASD=250)
    assert watched.look(hours=24) == [], "exactly a tenth of the region's 500"
    watched.put(NASD=249)
    assert watched.look() == ["listing_count:US"]
    assert watched.alerts.open[0].text == "US has 449 listings, after 500 within 7 days"
    watched.put(NASD=260)
    assert watched.look() == []


def test_a_lower_count_that_lasts_is_the_usual_one(watched):
    watched.look()
    watched.put(SEHK=50)
    for _ in range(DAYS_COMPARED - 1):
        assert watched.look(hours=24) == ["listing_count:HK"]
        watched.checked = dict.fromkeys(watched.checked, watched.clock.now_ns())
    assert watched.look(hours=24) == []


def test_the_counts_of_the_last_days_outlive_the_process_and_a_damaged_file_begins_anew(watched):
    watched.look()
    watched.put(SEHK=50)
    watched.health = watched.started()
    assert watched.look(hours=24) == ["listing_count:HK"]
    (watched.folder / "counts.json").write_text("{")
    assert watched.look() == []


def test_less_than_95_percent_of_complete_listings_is_an_alert_until_they_are_complete(watched):
    watched.complete["SEHK"] = 95
    assert watched.look() == []
    watched.complete["SEHK"] = 94
    assert watched.look() == ["listing_completeness:HK"]
    assert watched.alerts.open[0].text == "94 of 100 listings of HK have a name and a currency"
    watched.complete["SEHK"] = 100
    assert watched.look() == []


def test_without_the_database_the_age_is_judged_and_no_alert_about_listings_ends(watched):
    watched.complete["SEHK"] = 0
    watched.look()
    watched.is_database_there = False
    assert watched.look(hours=49) == [
        "listing_completeness:HK",
        *(f"master_file_age:{name}" for name in ("NASD", "NYSE", "SEHK")),
    ]


async def test_the_look_is_repeated_while_the_process_runs(watched):
    async with watched.health.watching():
        await until_async(lambda: watched.clock.waits, "it has looked")
        assert list(watched.alerts.identities) == []
        await watched.clock.advance(49 * 3600)
        await until_async(lambda: watched.alerts.identities, "it has looked again")


def test_days_compared_are_days_with_a_count(watched):
    watched.look()
    watched.put(SEHK=50)
    assert "listing_count:HK" in watched.look(hours=24 * timedelta(days=30).days)
