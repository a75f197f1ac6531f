"""Following a running system: events as its writer publishes them."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

import observer
from bus.delivery import Delivered
from bus.events import Event, Trade
from bus.feed import FeedPublisher
from observer.base.errors import ConfigError, NoDataError
from tests.builders import trade
from tests.ports import listening
from tests.research.stored import make_store
from tests.waiting import DEADLINE_S, until_async


def test_committed_events_of_a_kind_come_as_they_are_published(tmp_path):
    folder = make_store(tmp_path)
    (folder / "run").mkdir(mode=0o700)

    async def followed():
        publisher = FeedPublisher(f"ipc://{folder}/run/feed")
        with observer.open_store(folder) as store:
            events: AsyncIterator[Event] = store.follow(["trades"])
            coming = asyncio.ensure_future(anext(events))

            def published():
                publisher.publish([Delivered("track-b", "5" * 32, 1, [trade(7)])])
                return coming.done()

            async with asyncio.timeout(DEADLINE_S):
                await until_async(published, "an event of the feed")
            assert isinstance(events, AsyncGenerator)
            await events.aclose()
        publisher.close()
        return coming.result()

    with listening(folder / "run/control"):
        found = asyncio.run(followed())
    assert isinstance(found, Trade)
    assert found.cumulative_volume == 7


def test_the_sockets_that_an_ended_system_left_are_no_running_system(tmp_path):
    folder = make_store(tmp_path)
    (folder / "run").mkdir(mode=0o700)
    for name in ("control", "feed"):
        with socket.socket(socket.AF_UNIX) as ended:
            ended.bind(str(folder / "run" / name))
    with observer.open_store(folder) as store, pytest.raises(NoDataError, match="no system runs here"):
        store.follow(["trades"])


def test_following_needs_a_running_system_and_known_kinds(store, folder):
    with pytest.raises(ConfigError, match="did you mean trades"):
        store.follow(["trade"])
    with pytest.raises(NoDataError, match="no system runs here"):
        store.follow(["trades"])
    database = observer.open_store(folder / "data" / "observer.db")
    with database, pytest.raises(ConfigError, match=r"observer\.toml"):
        database.follow()
