"""What the process of the funds finds to be done when it starts."""

import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from bus.delivery import Delivered
from bus.events import FundJob
from observer.clock import ManualClock, kst_ns
from observer.config import load_settings
from observer.providers.day_file import write_trading_days
from observer.schedule.jobs import Job
from observer.schedule.phases import plan
from observer.schedule.trading_day import TradingDay
from observer.store.funds import FundReader
from observer.store.writer import StoreWriter
from tests.store.funds import fund_job_ended
from tests.store.migrated import make_database
from workers.funds import _jobs_to_do
from workers.runtime import Worker

SUNDAY, MONDAY = date(2026, 11, 22), date(2026, 11, 23)


def day_of(day: date) -> TradingDay:
    trades = day.weekday() < 5
    return TradingDay(day, kst_ns(day, 9) if trades else None, kst_ns(day, 15, 30) if trades else None, "test")


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """On a Monday at 08:00, on whose Sunday nobody was there to measure."""
    with tempfile.TemporaryDirectory(prefix="obs") as folder:  # short enough for sockets
        monkeypatch.chdir(folder)
        Path("observer.toml").write_text('[run]\nruntime = "run"\n[store]\nurl = "sqlite:///observer.db"\n')
        settings = load_settings(Path("observer.toml"))
        make_database(settings.store.url)
        friday_ns = kst_ns(SUNDAY - timedelta(days=2), 18)
        ended_ns: dict[FundJob, int] = dict.fromkeys(("fund_list", "fund_values", "fund_ranges"), friday_ns)
        ended_ns["fund_measures"] = kst_ns(SUNDAY - timedelta(days=7), 22)
        writer = StoreWriter(settings.store.url)
        writer.open()
        events = [fund_job_ended(job=job, ended_ns=at_ns) for job, at_ns in ended_ns.items()]
        writer.commit([Delivered("funds", "5" * 32, 1, events)])
        writer.close()
        worker = Worker("funds", settings, ManualClock(kst_ns(MONDAY, 8)))
        worker.runtime.mkdir(exist_ok=True)
        write_trading_days(worker.runtime, [day_of(MONDAY - timedelta(days=back)) for back in range(30)])
        try:
            yield worker
        finally:
            worker.control.close()


def test_what_was_missed_on_sunday_is_due_at_once_on_monday_and_the_rest_at_its_time(worker: Worker) -> None:
    with FundReader(worker.settings.store.url) as reader:
        found = _jobs_to_do(worker, plan(day_of(MONDAY), worker.settings.schedule), reader)
    assert list(found) == [
        Job("fund_measures", kst_ns(SUNDAY, 21)),
        Job("fund_list", kst_ns(MONDAY, 9)),
        Job("fund_values", kst_ns(MONDAY, 16)),
        Job("fund_ranges", kst_ns(MONDAY, 17)),
    ]
