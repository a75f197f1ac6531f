"""A system's data on the disk: a database with trades, and the folders and the configuration that are packed."""

import threading
from pathlib import Path

from bus.delivery import Delivered
from observer.archive.backup import Plan, plan_of
from observer.archive.making import make
from observer.archive.package import Package
from observer.archive.settings import BackupSettings
from observer.base.instance import Instance
from observer.base.local_time import local_ns
from observer.base.settings import RunSettings
from observer.demo.configuration import DAY
from observer.store.writer import StoreWriter
from tests.builders import trades

GO_ON = threading.Event()
STREAM = "4" * 32
NOW_NS = local_ns(DAY, 21)
USUAL = BackupSettings()
CONFIGURATION = """[run]
data = "{folder}/data"
provider_pool = "{folder}/pool.json"
symbol_selection = "{folder}/absent.json"
trading_days = "{folder}/trading_days.toml"
sessions = "{folder}/sessions.toml"

[store]
url = "postgresql+psycopg://observer:p4ssw0rd@db/market"

[etf]
manual_file = "{folder}/manual.csv"

[simulator.app_keys]
PS0123456789 = "a secret of the simulated broker"
"""


def plan_in(folder: Path, url: str, settings: BackupSettings = USUAL) -> Plan:
    """The plan of a system in the folder, whose folders have a file each."""
    run = RunSettings(data=str(folder / "data"), universe=str(folder / "universe"))
    for path in ("universe/universe_kr_stocks_20261118.json", "data/observer/kis/ledger.csv", "data/master/nasd.mst"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"the content of {path}")
    (folder / "data/master/.nasd.1.incoming").write_text("half a download")
    (folder / "pool.json").write_text('{"provider_pool": {"accounts": [{"account_id": "a", "app_secret": "s3cret"}]}}')
    (folder / "manual.csv").write_text("symbol,fee\n069500,0.15\n")
    (folder / "sessions.toml").write_text('[[special_day]]\nshift = "exam_day"\n')
    (folder / "trading_days.toml").write_text("[[day]]\ndate = 2026-11-18\n")
    configuration = folder / "observer.toml"
    configuration.write_text(CONFIGURATION.format(folder=folder))
    return plan_of(settings, run, Instance(), url, configuration)


def commit(url: str, count: int, stream: str = STREAM, after: int = 0) -> None:
    """Store trades as the numbers behind `after` of the stream."""
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("track-b", stream, after + 1, trades(count, after + 1))])
    writer.close()


def package_of(plan: Plan, now_ns: int = NOW_NS) -> Package:
    return make(plan.folder, plan.contents, "manual", now_ns, GO_ON)
