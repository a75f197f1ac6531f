"""Volume profiles of earlier days, from Track A's stored snapshots at its sweep interval."""

import asyncio
import hashlib
from datetime import date
from random import Random

import msgspec
import pytest

from bus.delivery import Delivered
from bus.events import AccountSlots, DayBegan, SharesAdjusted, SweepCompleted, UniverseBuilt
from observer.base.errors import NotReplayableError, StoreError
from observer.base.local_time import local_ns
from observer.calendar.sessions import windows_of
from observer.collection.earlier import began, earlier_days, earlier_in_time
from observer.collection.settings import TrackASettings
from observer.collection.sweep_times import sweeps_of
from observer.selection.profile import EarlierDays, volume_by
from observer.selection.settings import RULES as SELECTION_RULES
from observer.selection.settings import DaySettings, SelectionSettings, stored_settings
from observer.store.reader import StoreReader
from observer.store.universes import StoredUniverse
from observer.store.writer import StoreWriter
from tests.day_plans import RULES, day_plan
from tests.selection.builders import seen
from tests.store.migrated import make_database

SECOND_NS = 1_000_000_000
SETTINGS = SelectionSettings()
DAY_SETTINGS = DaySettings(
    selection=SETTINGS,
    accounts=(AccountSlots("main", 41),),
    allocation_strategy="round_robin",
    sweep_interval_s=600.0,
)
DAYS = [date(2026, 11, day) for day in (9, 10, 11, 12, 13, 16)]
TODAY = date(2026, 11, 17)
INTERVAL_NS = round(TrackASettings().interval_s * SECOND_NS)
UNIVERSE = StoredUniverse(UniverseBuilt("kis", "kr_stocks", TODAY.isoformat(), DAYS[-1].isoformat(), 7, 1, 1, 0.0), [])
CHECKS = ((9, 30), (9, 40), (10, 0), (12, 5), (14, 50))


def plan_of(day):
    return day_plan(day)


def evenly(second):
    """100 shares a second."""
    return 100.0 * second


def front_loaded(second):
    """Half of the day's volume in the first tenth of it, as real days begin."""
    return 1e6 * (second / 23_400.0) ** 0.3


def swept_day(day, rng, volume, shares=1.0):
    """A day's sweeps as Track A makes them: a snapshot comes within seconds of the sweep's beginning."""
    plan = plan_of(day)
    windows = windows_of(RULES.sessions, plan.sessions, "track_a", RULES.track_a)
    for sweep in sweeps_of(plan, windows, INTERVAL_NS, plan.venue):
        at_ns = sweep.begins_ns + round(rng.uniform(0.5, 6.0) * SECOND_NS)
        traded = volume((at_ns - local_ns(day, 9)) / SECOND_NS) * shares
        yield seen("A", traded, session_date=day.isoformat(), sweep=sweep.number, receive_time_ns=at_ns)
    yield SweepCompleted("kis", day.isoformat(), 1, 0, 1, 1, 1, 1)


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/observer.db"
    make_database(url)
    return url


def store(url, *events):
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("test", "7" * 32, 1, events)])
    writer.close()


def first_step(*, has_usual_hours=True):
    return began(DAY_SETTINGS, UNIVERSE, has_usual_hours=has_usual_hours)


def stored_by_a_version_without(key):
    """The first step of a version that did not have this key of the slots yet."""
    step = msgspec.json.decode(msgspec.json.encode(first_step()), type=DayBegan)
    del step.settings["slots"][key]
    settings = {
        "selection": step.settings,
        "accounts": step.accounts,
        "allocation_strategy": step.allocation_strategy,
        "sweep_interval_s": step.sweep_interval_s,
    }
    digest = hashlib.sha256(msgspec.json.encode(settings)).hexdigest()
    return msgspec.structs.replace(step, settings_digest=digest)


def test_a_setting_that_was_added_later_has_its_default_on_earlier_days():
    assert stored_settings(stored_by_a_version_without("churn_ttl_factor")) == DAY_SETTINGS


def test_the_first_step_carries_the_size_of_a_page_of_past_trades():
    settings = msgspec.structs.replace(DAY_SETTINGS, page_trades=30)
    step = began(settings, UNIVERSE, has_usual_hours=True)
    assert stored_settings(msgspec.json.decode(msgspec.json.encode(step), type=DayBegan)) == settings
    assert step.settings_digest != first_step().settings_digest


def test_a_day_that_was_decided_by_other_rules_is_refused_with_the_remedy():
    """An older version stored no number of its rules, which were the first."""
    step = msgspec.json.encode(first_step())
    older = msgspec.json.decode(step.replace(b',"rules":%d' % SELECTION_RULES, b""), type=DayBegan)
    assert older.rules == 1
    with pytest.raises(
        NotReplayableError,
        match=f"decided by rules 1, and this version has rules {SELECTION_RULES}: verify the day with",
    ):
        stored_settings(older)


def test_stored_settings_that_were_changed_are_refused_whatever_version_wrote_them():
    step = stored_by_a_version_without("churn_ttl_factor")
    step.settings["slots"]["max_slots"] -= 1
    with pytest.raises(NotReplayableError, match="do not have their digest"):
        stored_settings(step)


def known(url):
    with StoreReader(url) as reader:
        return earlier_days(reader, TODAY.isoformat(), local_ns(TODAY), SETTINGS, first_step())


def ratio(earlier, volume, hour, minute):
    """Today's volume relative to the usual one, in a snapshot three seconds after the sweep's begin."""
    at_ns = local_ns(TODAY, hour, minute) + 3 * SECOND_NS
    usual = volume_by(earlier.profiles["A"], earlier.time_of_day_s(at_ns))
    assert usual is not None
    return volume((at_ns - local_ns(TODAY, 9)) / SECOND_NS) / usual


@pytest.mark.parametrize("volume", [evenly, front_loaded])
def test_an_ordinary_day_has_the_usual_volume_at_every_sweep(url, volume):
    rng = Random(7)
    store(url, *(event for day in DAYS for event in swept_day(day, rng, volume)))
    earlier = known(url)
    assert [ratio(earlier, volume, *check) for check in CHECKS] == pytest.approx([1.0] * len(CHECKS), rel=0.005)


def test_an_ordinary_day_after_a_split_has_the_usual_volume_of_the_new_shares(url):
    """One share into five on the last of the days before."""
    rng, split_on = Random(7), DAYS[-1]
    split = SharesAdjusted("kis", "A", split_on.isoformat(), TODAY.isoformat(), 2_000.0, 10_000.0)
    shares = {day: 1.0 if day < split_on else 5.0 for day in DAYS}
    store(url, split, *(event for day in DAYS for event in swept_day(day, rng, evenly, shares[day])))
    earlier = known(url)
    ratios = [5 * ratio(earlier, evenly, *check) for check in CHECKS]
    assert ratios == pytest.approx([1.0] * len(CHECKS), rel=0.005)


def test_a_day_of_unusual_hours_is_compared_with_no_time_of_day(url):
    store(url, *(event for day in DAYS for event in swept_day(day, Random(7), evenly)))
    with StoreReader(url) as reader:
        found = earlier_days(reader, TODAY.isoformat(), 5, SETTINGS, first_step(has_usual_hours=False))
    assert found == EarlierDays(midnight_ns=5)


def test_a_database_that_does_not_answer_costs_the_comparison_not_the_start(url):
    class Failing(StoreReader):
        def earlier_days(self, session_date, days, universe):
            raise StoreError("the disk is away")

    with Failing(url) as reader:
        begun = asyncio.run(earlier_in_time(reader, plan_of(TODAY), DAY_SETTINGS, UNIVERSE, 5.0))
    assert begun.failure == "triggers compare with no earlier days: the disk is away"
    assert begun.step == msgspec.structs.replace(first_step(), knows_earlier_days=False)
    assert (begun.step.universe, begun.step.built_ns) == ("2026-11-17", 7)
    assert begun.earlier == EarlierDays(midnight_ns=plan_of(TODAY).starts_ns)


def test_earlier_days_read_in_time_are_used(url):
    store(url, *(event for day in DAYS for event in swept_day(day, Random(7), evenly)))
    with StoreReader(url) as reader:
        begun = asyncio.run(earlier_in_time(reader, plan_of(TODAY), DAY_SETTINGS, UNIVERSE, 5.0))
    assert begun.failure == ""
    assert begun.earlier == known(url)
    assert begun.step.knows_earlier_days
