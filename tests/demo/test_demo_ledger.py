"""The ledger of the simulated broker, kept for a judge from outside."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from observer.demo.ledger import LEDGER, keep_ledger
from tests.providers.stand_ins import serving


def test_the_ledger_is_fetched_from_this_machine_whatever_proxy_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    async def answered(_request: web.Request) -> web.Response:
        return web.json_response({"registrations": []})

    async def scenario() -> None:
        async with serving(web.get("/simulator/registrations", answered)) as address:
            await keep_ledger(f"http://{address}", tmp_path)

    asyncio.run(scenario())
    assert (tmp_path / LEDGER).read_text() == '{"registrations": []}'
