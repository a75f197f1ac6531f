"""The clients of an account at a broker that takes no keys and issues no token."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from observer.accounts.clients import Brokers, ClientSettings, RestOfAll
from observer.accounts.health_checks import CalendarCheck
from observer.accounts.pool import AccountSettings, PoolSettings
from observer.clock import ScaledClock
from observer.errors import BadRequestError, TokenExpiredError
from observer.providers import broker
from observer.providers.broker import broker_named
from observer.providers.settings import RestSettings
from tests.providers.stand_ins import serving

ROW = {"inter_shrn_iscd": "000660", "inter2_prpr": "100"}
BAR = {"stck_bsop_date": "20260203", "stck_clpr": "100", "acml_vol": "1"}
ANSWER = {"rt_cd": "0", "msg_cd": "MCA00000", "output": [ROW], "output2": [BAR]}
DAY = date(2026, 2, 3)


@pytest.fixture(autouse=True)
def keyless_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("keyless", "keyless_bars"):
        monkeypatch.setitem(broker._FOLDERS, name, f"tests.accounts.{name}")  # type: ignore[arg-type]


@asynccontextmanager
async def calls_of(
    folder: Path, *providers: str, status: int = 200, answer: object = ANSWER
) -> AsyncIterator[RestOfAll]:
    """The calls of one account at each of these brokers, first by priority first; every call has this answer."""

    async def reply(_: web.Request) -> web.Response:
        return web.json_response(answer, status=status)

    async with serving(web.get("/{path:.*}", reply)) as address:
        section = broker_named("keyless").settings(
            rest_url=f"http://{address}", stream_url="", rest=RestSettings(attempts_max=2, delay_initial_s=0.01)
        )
        accounts = tuple(AccountSettings(account_id=f"at_{name}", provider=name) for name in providers)
        settings = ClientSettings(
            runtime=folder,
            pool=PoolSettings(accounts=accounts),
            brokers=dict.fromkeys(providers, section),
            slots_max=1,
        )
        brokers = Brokers(settings, ScaledClock(10**18, time.monotonic_ns(), 1.0), Random(1))
        assert all(account.has_valid_token() for account in brokers.accounts)
        async with brokers.rest() as rest:
            yield rest


def test_an_account_without_keys_calls_without_waiting_for_a_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calls_of(tmp_path, "keyless") as rest:
            assert [quote.symbol for quote in await rest.quotes(["000660"])] == ["000660"]

    asyncio.run(scenario())


def test_a_refused_call_without_keys_waits_for_no_other_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        refusal = {"rt_cd": "1", "msg_cd": "EGW00123", "msg1": ""}
        async with calls_of(tmp_path, "keyless", status=500, answer=refusal) as rest:
            with pytest.raises(TokenExpiredError):
                await rest.quotes(["000660"])

    asyncio.run(scenario())


def test_a_call_goes_to_the_first_account_whose_broker_offers_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with calls_of(tmp_path, "keyless", "keyless_bars") as rest:
            assert [bar.close for bar in await rest.daily_bars("000660", DAY, DAY)] == [100.0]
        async with calls_of(tmp_path, "keyless") as rest:
            with pytest.raises(BadRequestError, match="offer no bars"):
                await rest.daily_bars("000660", DAY, DAY)

    asyncio.run(scenario())


def test_no_calendar_is_asked_of_brokers_without_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        refusal = {"rt_cd": "1", "msg_cd": "EGW00206", "msg1": ""}
        async with calls_of(tmp_path, "keyless", status=500, answer=refusal) as rest:
            check = CalendarCheck(rest._brokers, tmp_path, today=None, clock=None, producer=None, source="accounts")
            await check._ask(DAY)

    asyncio.run(scenario())
    assert "calendar" not in caplog.text
