"""The four phases, against the simulated broker and a real database: stored rows, and resuming after a stop."""

import asyncio
import itertools
import threading
from contextlib import asynccontextmanager, contextmanager
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from bus.delivery import Delivered
from bus.events import DailyBar
from observer.base.clock import ManualClock
from observer.base.errors import DataFileError, NotYetError, TransportError
from observer.base.local_time import local_ns
from observer.brokers.broker import Credentials
from observer.brokers.http import open_client
from observer.brokers.kis.client import KisClient
from observer.brokers.kis.issuing import KisIssuing
from observer.brokers.settings import RestSettings
from observer.monitoring.alerts.process import Alerts
from observer.reference.etf.collector import EtfCollector
from observer.reference.etf.schedule import etf_jobs_of, last_due_ns, last_session
from observer.reference.etf.settings import EtfSettings, KrxSettings
from observer.reference.etf.sources import EtfSources
from observer.simulator.kis.simulator import Simulator
from observer.simulator.settings import SimulatorSettings
from observer.store.etf import EtfReader
from observer.store.writer import StoreWriter
from observer.system.config import Settings
from tests.brokers.krx_stand_in import AUTH_KEY, krx_serving
from tests.brokers.stand_ins import pipeline_at
from tests.day_plans import day_plan
from tests.store.listings import listing_changed
from tests.store.migrated import make_database
from tests.store.raw import query
from tests.waiting import DEADLINE_S, until_async

DAY = date(2026, 11, 18)  # a Wednesday
SUNDAY = date(2026, 11, 22)
TRADING_DAYS = [day for back in range(100) if (day := SUNDAY - timedelta(days=back)).weekday() < 5]
PLAN = day_plan(DAY)
ANEW = 2**62  # nothing was done since then


class Issued:
    def __init__(self, credentials):
        self._credentials = credentials

    async def current(self):
        return self._credentials

    async def reject(self, used):
        raise AssertionError("the simulator refused its own token")


class DirectPublisher:
    """Commits at once what a producer would deliver."""

    def __init__(self, writer):
        self._writer = writer
        self._numbers = itertools.count(1)

    def publish(self, *events):
        self.publish_together(events)

    def publish_together(self, events):
        self._writer.commit([Delivered("etf", f"{next(self._numbers):032x}", 1, list(events))])


class Silent:
    """A broker that has no day of any ETF."""

    async def nav_days(self, symbol, first, last):
        return []


class Calls:
    """One account's calls, counted; after `fails_after` of them the broker is gone, and while it `is_silent` it answers
    with no days.
    """

    accounts = 1

    def __init__(self, etfs):
        self._etfs = etfs
        self.taken = 0
        self.fails_after = 10**9
        self.is_silent = False

    def next(self):
        self.taken += 1
        if self.taken > self.fails_after:
            raise TransportError("gone")
        return Silent() if self.is_silent else self._etfs


class Scene:
    """A collector with everything around it."""

    def __init__(self, folder, market, calls, publisher, reader, clock):
        self.folder, self.market, self.calls = folder, market, calls
        self.publisher, self.reader, self.clock = publisher, reader, clock
        self.etfs = [each.symbol for each in market.instruments if each.group == "EF"]
        assert self.etfs, "what is said of each would be said of none"

    def collector(self, **etfs):
        run = msgspec.structs.replace(Settings().run, runtime=str(self.folder))
        settings = msgspec.structs.replace(Settings(), run=run, etf=EtfSettings(**etfs))

        async def settled():
            return None

        return EtfCollector(
            provider="kis",
            sources=EtfSources(
                settings=settings.etf,
                rest=settings.broker.rest,
                runtime=Path(settings.run.runtime),
                reader=self.reader,
            ),
            clock=self.clock,
            publisher=self.publisher,
            open_calls=self._open_calls,
            trading_days=lambda: TRADING_DAYS,
            settled=settled,
            alerts=Alerts(self.clock, "etf", self.publisher.publish),
        )

    @asynccontextmanager
    async def _open_calls(self):
        yield self.calls

    def alert(self):
        """The first alert's text."""
        [(text,), *_] = query(f"sqlite:///{self.folder}/observer.db", "SELECT text FROM alerts ORDER BY raised_ns")
        return text


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def simulated(runner):
    """The simulated broker after the close, its clock, and a token."""
    clock = ManualClock(local_ns(DAY, 16))
    settings = SimulatorSettings(
        seed=7, session_date=DAY.isoformat(), symbols=120, app_keys={"key": "secret"}, rest_limit_per_s=100_000
    )
    simulator = Simulator(settings, clock)

    async def token():
        await simulator.start()
        async with open_client(simulator.rest_url, RestSettings()) as client:
            return (await KisIssuing(client, clock).issue_token("key", "secret")).access_token

    yield simulator, clock, runner.run(token())
    runner.run(simulator.stop())


@pytest.fixture
def reported(tmp_path, runner, simulated):
    """Runs a scenario with a scene whose listings are those of the simulator."""
    simulator, clock, token = simulated
    url = f"sqlite:///{tmp_path}/observer.db"
    make_database(url)

    async def run(scenario):
        writer = StoreWriter(url)
        publisher = DirectPublisher(writer)
        publisher.publish_together([_listing(each) for each in simulator.market.instruments])
        parts = {"credentials": Issued(Credentials("key", "secret", token, "")), "clock": clock}
        settings = RestSettings(attempts_max=1)
        async with pipeline_at(simulator.rest_url, settings, **parts) as (pipeline, rate_limiter):
            with EtfReader(url) as reader:
                calls = Calls(KisClient(pipeline))
                calls.priorities = rate_limiter.priorities
                await scenario(Scene(tmp_path, simulator.market, calls, publisher, reader, clock))
        writer.close()

    return lambda scenario: runner.run(run(scenario))


def _listing(each):
    return listing_changed(
        exchange=each.exchange,
        symbol=each.symbol,
        name=each.name,
        isin=each.isin,
        group=each.group,
        listed_shares=each.listed_shares_thousands * 1000.0,
        listed_on=f"{each.listed_on[:4]}-{each.listed_on[4:6]}-{each.listed_on[6:]}",
    )


def test_all_four_phases_run_from_an_empty_database(reported):
    async def scenario(scene):
        collector = scene.collector()
        for job in ("etf_list", "etf_values", "etf_measures", "etf_ranges"):
            await collector.run(job, PLAN, ANEW)
        etfs = scene.reader.etfs()
        assert {symbol for symbol, etf in etfs.items() if etf.group == "EF"} == set(scene.etfs)
        for symbol in scene.etfs:
            etf = etfs[symbol]
            assert etf.aum == etf.price * etf.listed_shares
            assert etf.net_assets == pytest.approx(etf.nav * etf.listed_shares, abs=1e8)
            assert etf.premium_percent == pytest.approx(100 * (etf.price - etf.nav) / etf.nav, abs=0.006)
            assert etf.component_count >= 1
            days = scene.reader.nav_days(symbol, "2000-01-01")
            assert days[-1].session_date == DAY.isoformat()
            mean = sum(100 * (day.close - day.nav) / day.nav for day in days[-20:]) / 20
            assert etf.premium_20d_percent == pytest.approx(mean)
            assert (etf.premium_250d_percent, etf.tracking_error_20d_percent) == (None, None)
            closes = [day.close for day in days]
            assert (etf.lowest_close_52w, etf.highest_close_52w) == (min(closes), max(closes))
        ended = scene.reader.last_etf_jobs()
        assert {job: (each.asked, each.answered, each.failed) for job, each in ended.items()} == {
            "etf_list": (len(etfs), len(etfs), 0),
            **dict.fromkeys(("etf_values", "etf_measures", "etf_ranges"), (len(scene.etfs),) * 2 + (0,)),
        }

    reported(scenario)


class SlowReader(EtfReader):
    """A reader whose database answers once `answers` is set."""

    def __init__(self, url):
        super().__init__(url)
        self.answers, self.asked = threading.Event(), threading.Event()

    @contextmanager
    def _asking(self):
        self.asked.set()
        assert self.answers.wait(DEADLINE_S), "the loop stood still"
        with super()._asking() as connection:
            yield connection


@pytest.mark.parametrize("job", ["etf_list", "etf_values", "etf_measures", "etf_ranges"])
def test_the_loop_goes_on_while_the_database_does_not_answer(reported, job):
    async def scenario(scene):
        await scene.collector().run("etf_list", PLAN, ANEW)
        with SlowReader(f"sqlite:///{scene.folder}/observer.db") as scene.reader:
            running = asyncio.create_task(scene.collector().run(job, PLAN, ANEW))
            await until_async(scene.reader.asked.is_set, "the database is asked")
            scene.reader.answers.set()
            await running

    reported(scenario)


@pytest.mark.parametrize("job", ["etf_values", "etf_measures", "etf_ranges"])
def test_before_there_was_a_list_no_other_phase_counts_as_done(reported, job):
    async def scenario(scene):
        with pytest.raises(NotYetError, match="their list comes first"):
            await scene.collector().run(job, PLAN, ANEW)
        assert scene.reader.last_etf_jobs() == {}

    reported(scenario)


def test_values_that_were_cut_off_go_on_where_they_stopped(reported):
    async def scenario(scene):
        collector = scene.collector()
        await collector.run("etf_list", PLAN, ANEW)
        scene.calls.fails_after = 2
        since_ns = scene.clock.now_ns()
        with pytest.raises(TransportError):
            await collector.run("etf_values", PLAN, since_ns)
        assert len(scene.reader.valued_since(since_ns)) == 2
        assert "etf_values" not in scene.reader.last_etf_jobs()
        scene.calls.fails_after, scene.calls.taken = 10**9, 0
        await collector.run("etf_values", PLAN, since_ns)
        assert scene.calls.taken == len(scene.etfs) - 2
        assert scene.reader.valued_since(since_ns) == set(scene.etfs)
        assert scene.reader.last_etf_jobs()["etf_values"].detail == "2 before"

    reported(scenario)


def test_the_calls_for_every_etf_have_bulk_priority(reported):
    async def scenario(scene):
        collector = scene.collector()
        for job in ("etf_list", "etf_values", "etf_measures"):
            await collector.run(job, PLAN, ANEW)
        assert len(scene.calls.priorities) >= 2 * len(scene.etfs)
        assert set(scene.calls.priorities) == {"bulk"}

    reported(scenario)


def test_a_second_measure_asks_each_etf_once_and_stores_no_day_again(reported):
    async def scenario(scene):
        collector = scene.collector()
        await collector.run("etf_list", PLAN, ANEW)
        await collector.run("etf_measures", PLAN, ANEW)
        rows = scene.reader.row_counts()["etf_nav_days"]
        scene.calls.taken = 0
        await collector.run("etf_measures", PLAN, ANEW)
        assert scene.calls.taken == len(scene.etfs)
        assert scene.reader.row_counts()["etf_nav_days"] == rows

    reported(scenario)


def test_days_that_did_not_come_once_come_with_the_next_measure(reported):
    async def scenario(scene):
        collector = scene.collector()
        await collector.run("etf_list", PLAN, ANEW)
        scene.calls.is_silent = True
        await collector.run("etf_measures", PLAN, ANEW)
        assert scene.reader.last_etf_jobs()["etf_measures"].answered == 0
        scene.calls.is_silent = False
        await collector.run("etf_measures", PLAN, ANEW)
        for symbol in scene.etfs:
            assert len(scene.reader.nav_days(symbol, "2000-01-01")) > 20
            assert scene.reader.etf(symbol).premium_20d_percent is not None

    reported(scenario)


def test_a_range_is_asked_and_answered_of_etfs_only(reported):
    async def scenario(scene):
        collector = scene.collector()
        await collector.run("etf_list", PLAN, ANEW)
        [etn, *_] = [symbol for symbol, etf in scene.reader.etfs().items() if etf.group == "EN"]
        bars = [DailyBar("kis", symbol, "2026-11-17", 9.0, 9.0, 9.0, 9.0, 1.0, 1.0) for symbol in (etn, scene.etfs[0])]
        scene.publisher.publish_together(bars)
        await collector.run("etf_ranges", PLAN, ANEW)
        ended = scene.reader.last_etf_jobs()["etf_ranges"]
        assert (ended.asked, ended.answered) == (len(scene.etfs), 1)

    reported(scenario)


def test_krx_indices_make_a_tracking_error_of_every_window_that_they_fill(reported):
    async def scenario(scene):
        async with krx_serving() as (krx, address):
            keys = scene.folder / "krx.toml"
            keys.touch(mode=0o600)
            keys.write_text(f'[open_api]\nauth_key = "{AUTH_KEY}"\n')
            krx.open_days = {day.strftime("%Y%m%d"): (380.0 + day.day, 100, 100) for day in TRADING_DAYS}
            krx_settings = KrxSettings(open_api_url=address, keys_file=str(keys))
            collector = scene.collector(sources=("master_files", "krx_open_api"), krx=krx_settings)
            scene.publisher.publish_together([_listing(i) for i in scene.market.instruments])
            await collector.run("etf_list", PLAN, ANEW)
            await collector.run("etf_measures", PLAN, ANEW)
            assert scene.reader.last_etf_jobs()["etf_measures"].detail.endswith("days from KRX")
            stored = scene.reader.nav_days("069500", "2026-01-01")
            assert stored[-1].index_close == 398.0

    reported(scenario)


def test_a_failing_source_raises_an_alert_and_the_next_source_gives_the_list(reported):
    async def scenario(scene):
        async with krx_serving() as (_krx, address):
            missing = KrxSettings(open_api_url=address, keys_file=str(scene.folder / "absent.toml"))
            collector = scene.collector(sources=("krx_open_api", "master_files"), krx=missing)
            await collector.run("etf_list", PLAN, ANEW)
        assert "KRX: create" in scene.alert()
        assert "mode 600" in scene.alert()
        assert scene.reader.last_etf_jobs()["etf_list"].source == "master_files"

    reported(scenario)


def test_the_manual_table_fills_fields_that_no_source_provides(reported):
    async def scenario(scene):
        table = scene.folder / "manual.csv"
        table.write_text(f"symbol,expense_ratio_percent\n{scene.etfs[0]},0.07\nbad,1\n")
        await scene.collector(manual_file=str(table)).run("etf_list", PLAN, ANEW)
        assert scene.reader.etf(scene.etfs[0]).expense_ratio_percent == 0.07
        assert scene.reader.etf(scene.etfs[1]).expense_ratio_percent is None
        assert "'bad' is no code of an ETF" in scene.alert()

    reported(scenario)


def test_a_job_without_any_list_fails_with_the_reason_of_each_source(reported):
    async def scenario(scene):
        collector = scene.collector(sources=("csv",), manual_file=str(scene.folder / "absent.csv"))
        with pytest.raises(DataFileError, match=r"no source gave a list of ETFs: csv: there is no file .*absent\.csv"):
            await collector.run("etf_list", PLAN, ANEW)

    reported(scenario)


# --- times ---------------------------------------------------------------------------------------------------


def test_three_jobs_are_of_trading_days_and_the_measures_of_sundays():
    settings = EtfSettings()
    assert etf_jobs_of(DAY, settings, trades=True) == {
        "etf_list": local_ns(DAY, 9),
        "etf_values": local_ns(DAY, 16),
        "etf_ranges": local_ns(DAY, 17),
    }
    assert etf_jobs_of(DAY, settings, trades=False) == {}
    assert etf_jobs_of(SUNDAY, settings, trades=False) == {"etf_measures": local_ns(SUNDAY, 21)}


def test_on_a_weekend_fridays_jobs_were_due_last():
    friday = date(2026, 11, 20)
    due = last_due_ns(EtfSettings(), set(TRADING_DAYS), local_ns(SUNDAY, 20))
    assert due["etf_list"] == local_ns(friday, 9)
    assert due["etf_measures"] == local_ns(date(2026, 11, 15), 21)
    assert last_due_ns(EtfSettings(), set(), local_ns(SUNDAY, 22))["etf_measures"] == local_ns(SUNDAY, 21)
    assert last_session(TRADING_DAYS, SUNDAY) == last_session([], SUNDAY) == friday


def test_the_example_of_the_manual_table_is_valid():
    from observer.reference.etf.manual import parse_manual

    text = (Path(__file__).parents[2] / "config" / "etf_manual_data.csv").read_text(encoding="utf-8")
    assert parse_manual(text, "shipped").problems == []
    assert parse_manual(text, "shipped").entries == {}
