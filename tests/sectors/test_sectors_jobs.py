"""The jobs about sectors: none unless wanted, when they are due, and what comes of one that runs."""

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from bus.delivery import Delivered
from bus.events import AlertRaised
from observer.cli.sector_files import write_table
from observer.clock import ManualClock, kst_ns
from observer.config import load_settings
from observer.reference.sectors_codes import CodeMeaning, CodeTable
from observer.reference.sectors_settings import SectorSettings
from observer.schedule.jobs import Job
from observer.schedule.phases import DayPlan, ScheduleSettings, plan
from observer.schedule.trading_day import TradingDay
from observer.store.sectors import SectorReader
from observer.store.writer import StoreWriter
from tests.store.listings import listing_changed
from tests.store.migrated import make_database
from workers import sectors
from workers.runtime import Worker

SUNDAY = date(2026, 11, 22)
MONDAY = date(2026, 11, 23)
SCHEDULED = SectorSettings(scheduled=True)
CONFIGURATION = """
[run]
data = "data"
runtime = "run"
[store]
url = "sqlite:///data/observer.db"
[sectors]
scheduled = true
regions = ["HK"]
sources = ["kis_code"]
"""


def plan_of(day: date) -> DayPlan:
    return plan(TradingDay(day, None, None, "test"), ScheduleSettings())


def test_sectors_are_looked_up_by_nobody_unless_that_is_wanted() -> None:
    assert sectors.sector_jobs(plan_of(SUNDAY), SectorSettings()) == []


def test_stale_ones_are_due_at_one_every_day_and_all_on_sundays_at_two() -> None:
    assert sectors.sector_jobs(plan_of(MONDAY), SCHEDULED) == [Job("sectors_daily", kst_ns(MONDAY, 1))]
    assert sectors.sector_jobs(plan_of(SUNDAY), SCHEDULED) == [
        Job("sectors_daily", kst_ns(SUNDAY, 1)),
        Job("sectors_weekly", kst_ns(SUNDAY, 2)),
    ]


class Told:
    """Takes what a producer would publish."""

    def __init__(self) -> None:
        self.alerts: list[AlertRaised] = []

    def publish(self, *events: AlertRaised) -> None:
        self.alerts += events


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker of a system with one stock of Hong Kong, whose code is believed, in the current folder."""
    with tempfile.TemporaryDirectory(prefix="obs") as folder:  # short enough for sockets
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        Path("data").mkdir()
        Path("observer.toml").write_text(CONFIGURATION)
        write_table(Path("config/sectors"), CodeTable("HK", (CodeMeaning("610", "Financials", 60, 1.0, 0.98, True),)))
        settings = load_settings(Path("observer.toml"))
        make_database("sqlite:///data/observer.db")
        stock = listing_changed(exchange="SEHK", symbol="00005", security_type="stock", sector_code="610")
        writer = StoreWriter(settings.store.url)
        writer.open()
        writer.commit([Delivered("master-file", "5" * 32, 1, [stock])])
        writer.close()
        yield Worker("funds", settings, ManualClock(kst_ns(SUNDAY, 1)), Path("observer.toml"))


def test_a_job_stores_sectors_by_a_process_of_its_own_and_is_done_then(worker: Worker) -> None:
    async def scenario() -> None:
        told, job = Told(), Job(sectors.DAILY, kst_ns(SUNDAY, 1))
        try:
            assert not sectors._is_done(worker, job)
            await sectors._run(worker, told, job)
            with SectorReader(worker.settings.store.url) as reader:
                assert [each.sector for each in reader.assignments("HK")] == ["Financials"]
                [done] = reader.last_rounds()
            assert sectors._is_done(worker, Job(sectors.DAILY, done.started_ns))
            assert not sectors._is_done(worker, Job(sectors.WEEKLY, done.started_ns + 1)), "the next one is not"
            assert told.alerts == []
        finally:
            worker.control.close()

    asyncio.run(scenario())


def test_somebody_hears_of_a_job_that_fails_and_why(worker: Worker) -> None:
    async def scenario() -> None:
        told = Told()
        Path("observer.toml").write_text("[nonsense]\n")
        try:
            await sectors._run(worker, told, Job(sectors.WEEKLY, 0))
        finally:
            worker.control.close()
        [alert] = told.alerts
        assert alert.severity == "critical"
        assert "nonsense" in alert.text

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sources", "heard"), [(["kis_code", "yahoo_profile"], "some stocks got no answer"), (["kis_code"], None)]
)
def test_stocks_without_an_answer_are_told_of_where_somebody_was_asked_who_knows_all(
    sources: list[str], heard: str | None
) -> None:
    told = sectors.told_of(sectors.DAILY, 1, sources, Path("enrich.log"))
    assert (told is not None) == (heard is not None)
    assert told is None or (told[0] == "warning" and str(heard) in told[1])
