"""The clients of an account at a broker that takes no keys and issues no token."""

import asyncio
import sys
import time
from random import Random
from types import ModuleType

import msgspec
import pytest
from aiohttp import web

from observer.base.clock import ScaledClock
from observer.base.errors import ProviderError, TokenExpiredError
from observer.brokers import broker
from observer.brokers.accounts.clients import Brokers, ClientSettings
from observer.brokers.accounts.pool import AccountSettings, PoolSettings
from observer.brokers.broker import broker_named
from observer.brokers.settings import RestSettings
from tests.brokers.stand_ins import serving


@pytest.fixture(autouse=True)
def keyless_broker(monkeypatch):
    monkeypatch.setitem(broker._FOLDERS, "keyless", "tests.brokers.keyless")


def asked(folder, status, answer):
    """The symbols of the quotes that two accounts without keys get, one after the other."""

    async def reply(_):
        return web.json_response(answer, status=status)

    async def scenario():
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
                return [
                    quote.symbol for calls in rest.usable("quotes").values() for quote in await calls.quotes(["000660"])
                ]

    return asyncio.run(scenario())


def test_calls_go_to_the_accounts_whose_broker_offers_them(tmp_path, monkeypatch):
    """The first account's broker has quotes alone, the second's no calls about ETFs."""
    keyless = broker_named("keyless")
    without = {"one": {"quotes"}, "two": keyless.capabilities - {"etf"}}
    for name, capabilities in without.items():
        module = ModuleType(f"{name}.broker")
        module.BROKER = msgspec.structs.replace(keyless, name=name, capabilities=frozenset(capabilities))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(broker._FOLDERS, name, name)
    accounts = tuple(AccountSettings(account_id=name, provider=name) for name in without)
    sections = {name: keyless.settings(rest_url="http://localhost", stream_url="") for name in without}
    settings = ClientSettings(runtime=tmp_path, pool=PoolSettings(accounts=accounts), brokers=sections, slots_max=1)
    brokers = Brokers(settings, ScaledClock(10**18, time.monotonic_ns(), 1.0), Random(1))
    assert [account.name for account in brokers.usable("quotes")] == ["one", "two"]
    assert [account.name for account in brokers.usable("halts")] == ["two"]
    with pytest.raises(ProviderError, match="no broker of the accounts offers etf; there are: one, two"):
        brokers.usable("etf")


def test_accounts_without_keys_call_without_waiting_for_a_token(tmp_path):
    row = {"inter_shrn_iscd": "000660", "inter2_prpr": "100"}
    assert asked(tmp_path, 200, {"rt_cd": "0", "msg_cd": "MCA00000", "output": [row]}) == ["000660", "000660"]


def test_a_refused_call_without_keys_waits_for_no_other_token(tmp_path):
    with pytest.raises(TokenExpiredError):
        asked(tmp_path, 500, {"rt_cd": "1", "msg_cd": "EGW00123", "msg1": ""})
