"""Due jobs of the ETF worker at its start."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from bus.delivery import Delivered
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.calendar.day_file import write_trading_days
from observer.calendar.phases import plan
from observer.calendar.trading_day import TradingDay
from observer.store.etf import EtfReader
from observer.store.writer import StoreWriter
from observer.system.config import load_settings
from observer.system.worker import Worker
from tests.folders import short_folder
from tests.store.etf import etf_job_ended
from tests.store.migrated import make_database
from workers.etf import _jobs_to_do

SUNDAY, MONDAY = date(2026, 11, 22), date(2026, 11, 23)


def day_of(day):
    trades = day.weekday() < 5
    return TradingDay(day, trades, "test")


@pytest.fixture
def worker(monkeypatch):
    """A worker on a Monday at 08:00; no worker ran on Sunday."""
    with short_folder() as folder:  # short enough for sockets
        monkeypatch.chdir(folder)
        Path("observer.toml").write_text('[run]\nruntime = "run"\n[store]\nurl = "sqlite:///observer.db"\n')
        settings = load_settings(Path("observer.toml"))
        make_database(settings.store.url)
        friday_ns = local_ns(SUNDAY - timedelta(days=2), 18)
        ended_ns = dict.fromkeys(("etf_list", "etf_values", "etf_ranges"), friday_ns)
        ended_ns["etf_measures"] = local_ns(SUNDAY - timedelta(days=7), 22)
        writer = StoreWriter(settings.store.url)
        writer.open()
        events = [etf_job_ended(job=job, ended_ns=at_ns) for job, at_ns in ended_ns.items()]
        writer.commit([Delivered("etf", "5" * 32, 1, events)])
        writer.close()
        worker = Worker("etf", settings, ManualClock(local_ns(MONDAY, 8)))
        worker.runtime.mkdir(exist_ok=True)
        write_trading_days(worker.runtime, [day_of(MONDAY - timedelta(days=back)) for back in range(30)])
        try:
            yield worker
        finally:
            worker.control.close()


def test_a_job_missed_on_sunday_is_due_at_once_on_monday_and_the_others_at_their_times(worker):
    with EtfReader(worker.settings.store.url) as reader:
        found = _jobs_to_do(worker, plan(day_of(MONDAY), worker.settings.day_rules), reader)
    assert list(found) == [
        ("etf_measures", local_ns(SUNDAY, 21)),
        ("etf_list", local_ns(MONDAY, 9)),
        ("etf_values", local_ns(MONDAY, 16)),
        ("etf_ranges", local_ns(MONDAY, 17)),
    ]
