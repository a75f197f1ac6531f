"""Three accounts at the simulated broker, and the process that keeps their tokens and looks after their health.

The day is compressed: a market minute is a quarter of a second. Tests read the events from the outbox.
"""

import asyncio
import contextlib
import tomllib
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
import pytest
import tomli_w

from bus.codec import decode_events, unpack
from bus.delivery import Delivered
from bus.endpoints import Endpoints
from bus.events import ConnectionChanged, Event, TokenRenewed
from bus.journal import JournalReader
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.clock import CLOCK_VARIABLE, HeldClock
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.brokers.accounts import health_checks, token_issuer
from observer.brokers.accounts.clients import Brokers
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.monitoring.alerts.process import Alerts
from observer.simulator.kis.authentication import Refusal
from observer.simulator.kis.simulator import Simulator, made_up
from observer.simulator.settings import SimulatorSettings
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from observer.system import worker as runtime
from observer.system.config import Settings, load_settings
from observer.system.worker import Worker
from tests import waiting
from tests.bench.child import running_child
from tests.folders import short_folder
from tests.store.migrated import make_database
from tests.waiting import until_async
from workers import accounts as accounts_module

NAMES = ("account_001", "account_002", "account_003")
ILL = NAMES[1]
SPEED = 240.0
Fact = TypeVar("Fact", bound=Event)


class MovedClock(HeldClock):
    """A held clock that a test can move forward after its start."""

    def __init__(self, market_ns, start, speed):
        super().__init__(market_ns, start, speed)
        self._moved = asyncio.Event()

    def move_to(self, market_ns):
        self._market_ns += max(0, market_ns - self.now_ns())
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep_until(self, moment_ns):
        """As the held clock, but look again when the time is moved."""
        while (remaining_ns := moment_ns - self.now_ns()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining_ns / NS_PER_S / self.speed):
                    await self._moved.wait()


@dataclass
class Scene:
    """A broker and the process that keeps the accounts."""

    settings: Settings
    clock: MovedClock
    simulator: Simulator
    brokers: Brokers
    folder: Path
    alerts: Alerts

    def open_alerts(self):
        """The process's open alerts, after what is due each second."""
        self.alerts.tick()
        return [alert.identity for alert in self.alerts.open]

    def reported(self, kind, process="accounts"):
        """The process's published events of that kind."""
        found = []
        for path in (self.folder / "run" / "outbox" / process).glob("*.journal"):
            with contextlib.closing(JournalReader(path)) as journal:
                for record in journal:
                    found += [event for event in decode_events(unpack(record.payload)) if isinstance(event, kind)]
        return found

    def renewals(self, account):
        return [event.cause for event in self.reported(TokenRenewed) if event.account == account and event.succeeded]

    def refuse(self, account):
        """The broker does not know the account's app key any more."""
        self.simulator._authentication._app_keys.pop(self.account(account).keys.app_key)

    def admit(self, account):
        keys = self.account(account).keys
        self.simulator._authentication._app_keys[keys.app_key] = keys.app_secret

    def refuse_stream_keys(self):
        """The broker issues tokens and no approval keys; returns what ends that."""
        authentication = self.simulator._authentication
        patches = pytest.MonkeyPatch()

        def refused(*_):
            raise Refusal("EGW00300", "no approval keys now", 500)

        patches.setattr(authentication, "issue_approval", refused)
        return patches.undo

    def revoke_token(self, account):
        keys, record = self.account(account).keys, self.token(account)
        self.simulator._authentication.revoke_token(keys.app_key, keys.app_secret, record.access_token)

    def token(self, account):
        record = self.account(account).tokens.read()
        assert record is not None
        return record

    def account(self, name):
        return next(account for account in self.brokers.accounts if account.name == name)

    def usable(self):
        return [account.name for account in self.brokers.usable()]

    async def until(self, condition, what):
        await until_async(condition, what)


@contextlib.asynccontextmanager
async def scene(
    hour,
    minute=0,
    *,
    symbols=10,
    speed=SPEED,
    streams=NAMES,
    held=False,
    change_market=None,
    configured={},
):
    """Time stands until every account has a token, and if `held` until the test starts it. The accounts in `streams`
    report a connected stream. `change_market` changes the market's plans before the simulator makes its trades;
    `configured` are keys of the configuration by section.
    """
    with short_folder() as name, pytest.MonkeyPatch.context() as patches:
        patches.setattr(runtime, "DRAIN_S", 0.0)  # no ingest takes the events
        patches.setattr(health_checks, "CHECK_S", 0.1)
        patches.setattr(token_issuer, "POLL_S", 0.02)
        folder = Path(name)
        (folder / "data").mkdir()
        configuration = write_demo_configuration(folder, DemoConfiguration(symbols=symbols, seed=7, accounts=3))
        document = tomllib.loads(configuration.read_text())
        for section, keys in configured.items():
            document[section] = {**document.get(section, {}), **keys}
        configuration.write_text(tomli_w.dumps(document))
        settings = load_settings(configuration)
        assert settings.simulator is not None
        runtime_folder = Path(settings.run.runtime)
        runtime_folder.mkdir(mode=0o700)
        write_trading_days(runtime_folder, [TradingDay(DAY, True, "test")])
        make_database(settings.store.url)
        _report_connected(settings.store.url, streams)
        clock = MovedClock(local_ns(DAY, hour, minute), folder / "begin", speed)
        market = msgspec.structs.replace(settings.simulator, app_keys={}, rest_port=0, stream_port=0, files_port=0)
        simulator = Simulator(settings.simulator, clock, shared(msgspec.json.encode(market), change_market))
        await simulator.start()
        worker = Worker("accounts", settings, clock)
        monitor = asyncio.create_task(accounts_module.accounts(worker))
        day = Scene(settings, clock, simulator, Brokers(settings.clients, clock, Random(1)), folder, worker.alerts)
        try:
            await day.until(
                lambda: all(account.has_valid_token() for account in day.brokers.accounts), "all have tokens"
            )
            if not held:
                clock.start()
            yield day
            assert not monitor.done(), monitor.exception()
        finally:
            monitor.cancel()
            await asyncio.gather(monitor, return_exceptions=True)
            worker.control.close()
            await simulator.stop()


@contextlib.asynccontextmanager
async def storing(day):
    """The writer's process beside the scene: a producer that delivers to it, a reader, and its environment."""
    environment = {CLOCK_VARIABLE: day.clock.to_variable()}
    ingest = Endpoints(Path(day.settings.run.runtime)).ingest
    async with running_child("core-writer", day.settings, day.folder / "observer.toml", environment):
        producer = Producer(Outbox(day.folder / "outbox-track-b", "track-b", uuid.uuid4().hex), ingest)
        delivery = asyncio.create_task(producer.run())
        try:
            with StoreReader(day.settings.store.url) as reader:
                yield producer, reader, environment
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            producer.close()


@cache
def shared(market, change):
    """The market of these settings, with its trades, which no simulator changes: made once for all tests."""
    made = made_up(msgspec.json.decode(market, type=SimulatorSettings))
    if change is not None:
        change(made.market)
    return made


def _report_connected(database, accounts):
    writer = StoreWriter(database)
    writer.open()
    connected = [ConnectionChanged("kis", name, local_ns(DAY, 8, 3), "connected", "", 0) for name in accounts]
    writer.commit([Delivered("track-b", "4" * 32, 1, connected)])
    writer.close()


def run(scenario):
    """A scenario to its end."""
    waiting.run(scenario())
