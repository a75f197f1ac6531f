"""A simulated broker in a separate process, at the speed of the wall clock, and a client account for it."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from observer.base.clock import CLOCK_VARIABLE, Clock, ScaledClock
from observer.base.lines import line_id
from observer.base.local_time import local_ns
from observer.brokers.accounts.clients import BrokerAccount, Brokers
from observer.brokers.accounts.token_cache import TokenRecord
from observer.brokers.broker import DEFAULT_BROKER
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.simulator.counters import Counters
from observer.simulator.kis.simulator import market_of
from observer.system.config import Settings, load_settings
from tests.bench.child import BenchError, running_child

_SIMULATOR: Final = "simulator"
_OPENS_AT: Final = (10, 0)  # Korean time: the market trades
_START_S: Final = 120.0  # thousands of symbols' days are made first
_POLL_S: Final = 0.05
_SEED: Final = 7
_REPORT_NAME: Final = "simulator.json"


class _Report(msgspec.Struct, frozen=True):
    counters: Counters


class RunningBroker(msgspec.Struct, frozen=True):
    """A running broker, and the data needed to call it."""

    configuration: Path
    settings: Settings
    clock: ScaledClock

    def environment(self) -> Mapping[str, str]:
        """The environment variables of a process that calls it: the current ones, and the clock."""
        return {**os.environ, CLOCK_VARIABLE: self.clock.to_variable()}

    def brokers(self) -> Brokers:
        """All its accounts, for this process."""
        return Brokers(self.settings.clients, self.clock, random.Random(_SEED))

    @property
    def rate(self) -> float:
        """The calls a second that it allows each account, and that our side makes at most."""
        return self.settings.broker.rate_limit.calls_per_second

    def listed(self) -> Sequence[str]:
        """The symbols of its market."""
        assert self.settings.simulator is not None
        return [instrument.symbol for instrument in market_of(self.settings.simulator).instruments]

    def lines(self) -> Sequence[str]:
        """The lines of its market: its symbols, and those of each further venue."""
        assert self.settings.simulator is not None
        market, main_venue = market_of(self.settings.simulator), self.settings.venue.name
        return [
            line_id(instrument.symbol, venue, main_venue)
            for venue in self.settings.simulator.venues
            for instrument in market.view(venue).instruments
        ]

    def counters(self) -> Counters:
        """The broker's counters, from the report that it writes when it stops."""
        report = (Path(self.settings.run.data) / _REPORT_NAME).read_bytes()
        return msgspec.json.decode(report, type=_Report).counters


@contextlib.asynccontextmanager
async def running_broker(
    folder: Path,
    symbols: int,
    accounts: int,
    rate: int | None,
    *,
    at: tuple[int, int] = _OPENS_AT,
    market: Mapping[str, object] = {},
) -> AsyncIterator[RunningBroker]:
    """A broker with `rate` calls a second (None: the real one's) and a token for each account, made in `folder`. Its
    clock starts `at` this Korean time; `market` has simulator settings beyond the demo configuration's.

    Raises:
        BenchError: it did not come up, or ended by itself.
    """
    configuration = _configured(folder, DemoConfiguration(symbols=symbols, seed=_SEED, accounts=accounts), rate, market)
    settings = load_settings(configuration)
    clock = ScaledClock(local_ns(DAY, *at), time.monotonic_ns(), 1.0)
    async with running_child(_SIMULATOR, settings, configuration, {CLOCK_VARIABLE: clock.to_variable()}) as process:
        broker = RunningBroker(configuration, settings, clock)
        await _answers(broker, process)
        for account in broker.brokers().accounts:
            await _issue(account, clock)
        yield broker


def _configured(folder: Path, demo: DemoConfiguration, rate: int | None, market: Mapping[str, object]) -> Path:
    """The demo configuration with the same rate limit on both sides."""
    (folder / "data").mkdir(mode=0o700, parents=True)
    configuration = write_demo_configuration(folder, demo)
    document = msgspec.toml.decode(configuration.read_bytes(), type=dict[str, dict[str, object]])
    document["simulator"].update(market)
    if rate is not None:
        document["simulator"]["rest_limit_per_s"] = rate
        document[DEFAULT_BROKER]["rate_limit"] = {"calls_per_second": float(rate)}
    configuration.write_text(tomli_w.dumps(document))
    return configuration


async def _answers(broker: RunningBroker, process: asyncio.subprocess.Process) -> None:
    """Return when the REST host listens."""
    assert broker.settings.simulator is not None
    port = broker.settings.simulator.rest_port
    end_s = time.monotonic() + _START_S
    while process.returncode is None and time.monotonic() < end_s:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(_POLL_S)
    raise BenchError(f"the simulated broker did not listen within {_START_S:g} s")


async def _issue(account: BrokerAccount, clock: Clock) -> None:
    """Issue the tokens, as workers.accounts does in a whole system."""
    async with account.issuing() as issuing:
        token = await issuing.issue_token(account.keys.app_key, account.keys.app_secret)
        approval_key = await issuing.issue_approval_key(account.keys.app_key, account.keys.app_secret)
    account.tokens.write(
        TokenRecord(
            access_token=token.access_token,
            approval_key=approval_key,
            issued_ns=token.issued_ns,
            expires_ns=token.expires_ns,
            renewed_ns=clock.now_ns(),
        )
    )
