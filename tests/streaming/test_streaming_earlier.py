"""What earlier days tell, from what Track A stored of them in its own rhythm."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest

from bus.delivery import Delivered
from bus.events import Event, SharesAdjusted, SweepCompleted, UniverseBuilt
from observer.clock import kst_ns
from observer.config import TrackASettings
from observer.errors import StoreError
from observer.schedule.phases import DayPlan, ScheduleSettings, plan
from observer.schedule.trading_day import TradingDay
from observer.selection.profile import EarlierDays, volume_by
from observer.selection.settings import SelectionSettings
from observer.store.engine import migrate
from observer.store.reader import StoreReader
from observer.store.universes import Universe
from observer.store.writer import StoreWriter
from observer.streaming.earlier import earlier_days, earlier_in_time
from observer.streaming.steps import Beginning
from tests.selection.builders import seen
from workers.track_a import _sweep_moments

SECOND_NS = 1_000_000_000
SETTINGS = SelectionSettings()
DAYS = [date(2026, 11, day) for day in (9, 10, 11, 12, 13, 16)]
TODAY = date(2026, 11, 17)
INTERVAL_NS = round(TrackASettings().interval_s * SECOND_NS)
UNIVERSE = Universe(UniverseBuilt("kis", "kr_stocks", TODAY.isoformat(), DAYS[-1].isoformat(), 7, 1, 1, 0.0), [])
LOOKS = ((9, 30), (9, 40), (10, 0), (12, 5), (14, 50))


def plan_of(day: date) -> DayPlan:
    return plan(TradingDay(day, kst_ns(day, 9), kst_ns(day, 15, 30), "test"), ScheduleSettings())


def evenly(second: float) -> float:
    """100 shares a second."""
    return 100.0 * second


def front_loaded(second: float) -> float:
    """Half of the day's volume in the first tenth of it, as real days begin."""
    return 1e6 * (second / 23_400.0) ** 0.3


def swept_day(day: date, chance: Random, volume: Callable[[float], float], shares: float = 1.0) -> Iterator[Event]:
    """A day's sweeps as Track A makes them: a snapshot comes within seconds of the sweep's beginning."""
    for number, moment_ns in _sweep_moments(plan_of(day), INTERVAL_NS):
        at_ns = moment_ns + round(chance.uniform(0.5, 6.0) * SECOND_NS)
        traded = volume((at_ns - kst_ns(day, 9)) / SECOND_NS) * shares
        yield seen("A", traded, session_date=day.isoformat(), sweep=number, receive_time_ns=at_ns)
    yield SweepCompleted("kis", day.isoformat(), 1, 0, 1, 1, 1, 1)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/observer.db"
    migrate(url)
    return url


def store(url: str, *events: Event) -> None:
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("test", "7" * 32, 1, events)])
    writer.close()


def known(url: str) -> EarlierDays:
    beginning = Beginning(TODAY.isoformat(), None, has_usual_hours=True, knows_earlier_days=True)
    with StoreReader(url) as reader:
        return earlier_days(reader, TODAY.isoformat(), kst_ns(TODAY), SETTINGS, beginning)


def ratio(earlier: EarlierDays, volume: Callable[[float], float], hour: int, minute: int) -> float:
    """Today's volume against what is usual, seen as a sweep sees it: three seconds after it began."""
    at_ns = kst_ns(TODAY, hour, minute) + 3 * SECOND_NS
    usual = volume_by(earlier.profiles["A"], earlier.time_of_day_s(at_ns))
    assert usual is not None
    return volume((at_ns - kst_ns(TODAY, 9)) / SECOND_NS) / usual


@pytest.mark.parametrize("volume", [evenly, front_loaded])
def test_an_ordinary_day_has_the_usual_volume_at_every_sweep(url: str, volume: Callable[[float], float]) -> None:
    chance = Random(7)
    store(url, *(event for day in DAYS for event in swept_day(day, chance, volume)))
    earlier = known(url)
    assert [ratio(earlier, volume, *look) for look in LOOKS] == pytest.approx([1.0] * len(LOOKS), rel=0.005)


def test_an_ordinary_day_after_a_split_has_the_usual_volume_of_the_new_shares(url: str) -> None:
    """One share into five on the last of the days before."""
    chance, split_on = Random(7), DAYS[-1]
    split = SharesAdjusted("kis", "A", split_on.isoformat(), TODAY.isoformat(), 2_000.0, 10_000.0)
    shares = {day: 1.0 if day < split_on else 5.0 for day in DAYS}
    store(url, split, *(event for day in DAYS for event in swept_day(day, chance, evenly, shares[day])))
    earlier = known(url)
    ratios = [5 * ratio(earlier, evenly, *look) for look in LOOKS]
    assert ratios == pytest.approx([1.0] * len(LOOKS), rel=0.005)


def test_a_day_of_unusual_hours_is_compared_with_no_time_of_day(url: str) -> None:
    store(url, *(event for day in DAYS for event in swept_day(day, Random(7), evenly)))
    beginning = Beginning(TODAY.isoformat(), None, has_usual_hours=False, knows_earlier_days=True)
    with StoreReader(url) as reader:
        assert earlier_days(reader, TODAY.isoformat(), 5, SETTINGS, beginning) == EarlierDays(midnight_ns=5)


def test_a_database_that_does_not_answer_costs_the_comparison_not_the_start(url: str) -> None:
    class Failing(StoreReader):
        def earlier_days(self, session_date: str, days: int, universe: str) -> object:  # type: ignore[override]
            raise StoreError("the disk is away")

    with Failing(url) as reader:
        begun = asyncio.run(earlier_in_time(reader, plan_of(TODAY), SETTINGS, UNIVERSE, 5.0))
    assert begun.failure == "Track B compares with no earlier days: the disk is away"
    assert begun.beginning == Beginning("2026-11-17", 7, has_usual_hours=True, knows_earlier_days=False)
    assert begun.earlier == EarlierDays(midnight_ns=plan_of(TODAY).starts_ns)


def test_what_is_there_in_time_is_known(url: str) -> None:
    store(url, *(event for day in DAYS for event in swept_day(day, Random(7), evenly)))
    with StoreReader(url) as reader:
        begun = asyncio.run(earlier_in_time(reader, plan_of(TODAY), SETTINGS, UNIVERSE, 5.0))
    assert begun.failure == ""
    assert begun.earlier == known(url)
    assert begun.beginning.knows_earlier_days
