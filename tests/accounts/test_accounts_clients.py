"""The clients of an account at a broker that takes no keys and issues no token."""

import asyncio
import time
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from observer.accounts.clients import Brokers, ClientSettings
from observer.accounts.pool import AccountSettings, PoolSettings
from observer.clock import ScaledClock
from observer.errors import TokenExpiredError
from observer.providers import broker
from observer.providers.broker import broker_named
from observer.providers.settings import RestSettings
from tests.providers.stand_ins import serving


@pytest.fixture(autouse=True)
def keyless_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(broker._FOLDERS, "keyless", "tests.accounts.keyless")  # type: ignore[arg-type]


def asked(folder: Path, status: int, answer: object) -> list[str]:
    """The symbols of the quotes that two accounts without keys get, one after the other."""

    async def reply(_: web.Request) -> web.Response:
        return web.json_response(answer, status=status)

    async def scenario() -> list[str]:
        async with serving(web.get("/{path:.*}", reply)) as address:
            section = broker_named("keyless").settings(
                rest_url=f"http://{address}", stream_url="", rest=RestSettings(attempts_max=2, delay_initial_s=0.01)
            )
            accounts = tuple(AccountSettings(account_id=name, provider="keyless") for name in ("one", "two"))
            settings = ClientSettings(
                runtime=folder, pool=PoolSettings(accounts=accounts), brokers={"keyless": section}, slots_max=1
            )
            brokers = Brokers(settings, ScaledClock(10**18, time.monotonic_ns(), 1.0), Random(1))
            assert all(account.has_valid_token() for account in brokers.accounts)
            async with brokers.rest() as rest:
                return [quote.symbol for calls in rest.usable().values() for quote in await calls.quotes(["000660"])]

    return asyncio.run(scenario())


def test_accounts_without_keys_call_without_waiting_for_a_token(tmp_path: Path) -> None:
    row = {"inter_shrn_iscd": "000660", "inter2_prpr": "100"}
    assert asked(tmp_path, 200, {"rt_cd": "0", "msg_cd": "MCA00000", "output": [row]}) == ["000660", "000660"]


def test_a_refused_call_without_keys_waits_for_no_other_token(tmp_path: Path) -> None:
    with pytest.raises(TokenExpiredError):
        asked(tmp_path, 500, {"rt_cd": "1", "msg_cd": "EGW00123", "msg1": ""})
