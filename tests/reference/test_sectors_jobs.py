"""The jobs about sectors: none unless configured, when they are due, and the result of a run."""

from datetime import date
from pathlib import Path

import pytest

from bus.delivery import Delivered
from observer.archive.settings import load_backup_settings
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.reference.sectors import jobs as sectors
from observer.reference.sectors.codes import CodeMeaning, CodeTable
from observer.reference.sectors.options import EnrichmentProcess
from observer.reference.sectors.settings import SectorSettings
from observer.store.sectors import SectorReader
from observer.store.writer import StoreWriter
from observer.system.config import load_settings
from observer.system.worker import Worker
from tests.cli.test_cli_capture import core_writer
from tests.day_plans import day_plan
from tests.folders import short_folder
from tests.reference.sector_codes import write_table
from tests.store.listings import listing_changed
from tests.store.migrated import make_database
from workers import etf

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
sources = ["sector_code"]
"""


def plan_of(day):
    return day_plan(day, trades=False)


def test_no_sector_job_runs_unless_configured():
    assert sectors.sector_jobs(plan_of(SUNDAY), SectorSettings()) == {}


def test_stale_sectors_are_due_daily_at_one_and_all_sectors_on_sundays_at_two():
    assert sectors.sector_jobs(plan_of(MONDAY), SCHEDULED) == {"sectors_daily": local_ns(MONDAY, 1)}
    assert sectors.sector_jobs(plan_of(SUNDAY), SCHEDULED) == {
        "sectors_daily": local_ns(SUNDAY, 1),
        "sectors_weekly": local_ns(SUNDAY, 2),
    }


@pytest.fixture
def worker(monkeypatch):
    """A worker of a system with one stock of Hong Kong, whose code is believed, in the current folder."""
    with short_folder() as folder:  # short enough for sockets
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        Path("data").mkdir()
        for name in ("observer.toml", "c.toml"):
            Path(name).write_text(CONFIGURATION)
        write_table(Path("config/sectors"), CodeTable("HK", (CodeMeaning("610", "Financials", 60, 1.0, 0.98, True),)))
        settings = load_settings(Path("observer.toml"))
        make_database("sqlite:///data/observer.db")
        stock = listing_changed(exchange="SEHK", symbol="00005", security_type="stock", sector_code="610")
        writer = StoreWriter(settings.store.url)
        writer.open()
        writer.commit([Delivered("master-file", "5" * 32, 1, [stock])])
        writer.close()
        yield Worker("etf", settings, ManualClock(local_ns(SUNDAY, 1)))


def test_the_outbox_of_a_job_has_the_archive_limits_of_the_configuration(worker):
    jobs = etf.sector_jobs(worker)
    options = EnrichmentProcess.from_json(jobs._process(sectors.WEEKLY).to_json()).options
    assert options.archive_limits == worker.settings.backup.archive_limits
    Path("observer.toml").write_text("[backup]\narchive_bytes_max = 7\n[unknown]\n")
    assert load_backup_settings(Path("observer.toml")).archive_limits.bytes_max == 7
    worker.control.close()


@pytest.mark.slow
async def test_a_job_stores_sectors_by_a_process_of_its_own_and_is_done_then(worker):
    jobs = etf.sector_jobs(worker)
    try:
        assert not jobs.is_done(local_ns(SUNDAY, 1))
        with core_writer(Path.cwd()):
            await jobs.run(sectors.DAILY)
        with SectorReader(worker.settings.store.url) as reader:
            assert [each.sector for each in reader.assignments("HK")] == ["Financials"]
            [done] = reader.last_rounds()
        assert jobs.is_done(done.started_ns)
        assert not jobs.is_done(done.started_ns + 1), "the next one is not"
        assert worker.alerts.open == []
    finally:
        worker.control.close()


async def test_a_failed_sector_job_raises_an_alert_with_the_reason(worker):
    Path("config/sectors/HK.json").write_text("nonsense")
    try:
        await etf.sector_jobs(worker).run(sectors.WEEKLY)
    finally:
        worker.control.close()
    [alert] = worker.alerts.open
    assert (alert.identity, alert.severity) == ("sectors:sectors_weekly", "critical")
    assert "HK.json" in alert.text


@pytest.mark.parametrize(
    ("sources", "received"), [(["sector_code", "yahoo_profile"], "some stocks got no answer"), (["sector_code"], None)]
)
def test_unanswered_stocks_raise_an_alert_only_if_the_last_source_was_asked(sources, received):
    reported = sectors.reported_of(sectors.DAILY, 1, sources, Path("enrich.log"))
    assert (reported is not None) == (received is not None)
    assert reported is None or (reported[0] == "warning" and str(received) in reported[1])
