"""`observer web`: the page of what is stored, without a running system."""

import asyncio
import contextlib
import re
import signal
import subprocess

import httpx
import pytest

from observer.base.errors import NoDataError
from observer.cli.web import _settings_of
from observer.store.engine import parse_url, sqlite_path
from observer.web.server import listening
from observer.web.viewing import view
from tests.folders import short_folder
from tests.store.filled import SESSIONS
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S
from tests.web.running import filled, system
from tests.whole.running import OBSERVER


@pytest.fixture(scope="module")
def settings():
    with short_folder() as folder:
        yield filled(folder)


@contextlib.asynccontextmanager
async def viewed(settings):
    """A client of the page, and the first state that it sends."""
    listener, stopping, served = listening(0), asyncio.Event(), asyncio.Event()
    viewing = asyncio.create_task(view(settings, listener, stopping, served.set))
    async with asyncio.timeout(DEADLINE_S):
        await served.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            async with client.stream("GET", "/api/live") as sent:
                await anext(sent.aiter_lines())  # the first state was read
            yield client, (await client.get("/api/state")).json()
        stopping.set()
        await viewing


async def test_the_last_stored_day_is_the_state_and_each_day_can_be_asked_for_but_no_order_is_taken(settings):
    async with viewed(settings) as (client, state):
        assert (await client.get("/")).status_code == 200
        assert (state["is_live"], state["day"]) == (False, SESSIONS[-1])
        assert (await client.get(f"/api/days/{SESSIONS[0]}")).json()["day"] == SESSIONS[0]
        assert (await client.post("/api/orders/restart", json={"process": "track-b"})).status_code == 404


async def test_the_state_is_that_of_the_system_where_one_runs(settings):
    async with system(settings), viewed(settings) as (_, state):
        assert state["is_live"]


def test_the_command_serves_a_database_until_ctrl_c(settings, tmp_path):
    database = sqlite_path(parse_url(settings.store.url))
    command = [OBSERVER, "web", str(database), "--no-open"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        [address] = re.findall(
            rf"{SESSIONS[-1]} is at (http://127\.0\.0\.1:\d+/) until ctrl-C", running.stdout.readline()
        )
        assert httpx.get(address).status_code == 200
        running.send_signal(signal.SIGINT)
        assert running.wait(DEADLINE_S) == 0


def test_a_name_without_a_database_is_refused_with_what_is_to_be_done(tmp_path):
    with pytest.raises(NoDataError, match=r"`observer demo` makes"):
        _settings_of(str(tmp_path))
    make_database(f"sqlite:///{tmp_path}/observer.db")
    assert _settings_of(str(tmp_path)).store.url == f"sqlite:///{tmp_path}/observer.db"
