"""Stored days of the page: read once for all, kept for a while, known by their tags, and apart from the live page."""

import asyncio
import threading

import pytest
from msgspec.structs import replace

from observer.base.errors import NoDataError
from observer.web.failures import BusyError
from observer.web.stored_days import FRESH_S, KEPT_MAX, StoredDays
from observer.web.threads import WAITING_MAX
from tests.folders import short_folder
from tests.store.filled import SESSIONS
from tests.waiting import DEADLINE_S, until_async
from tests.web.running import filled, page, served
from tests.web.states import state


@pytest.fixture(scope="module")
def settings():
    with short_folder() as folder:
        yield filled(folder)


class Stored:
    """Days that count how often they are read, at the test's time."""

    def __init__(self):
        self.read: list[str] = []
        self.headline = "whole"
        self.now_s = 1_000.0
        self.days = StoredDays(self._state, lambda: self.now_s)

    def _state(self, day):
        if day == "2030-01-01":
            raise NoDataError("nothing is stored")
        self.read.append(day)
        return replace(state(self.headline), day=day, now_ms=len(self.read))


async def test_a_day_is_read_once_for_ten_people_and_again_when_it_is_old():
    stored = Stored()
    first, *others = await asyncio.gather(*(stored.days.state_of(SESSIONS[0]) for _ in range(10)))
    assert (len(stored.read), {first.tag}) == (1, {each.tag for each in others})
    stored.now_s += FRESH_S
    assert await stored.days.state_of(SESSIONS[0]) == first
    assert len(stored.read) == 2
    stored.headline = "a late row came"
    assert await stored.days.state_of(SESSIONS[0]) == first
    stored.now_s += FRESH_S
    assert (await stored.days.state_of(SESSIONS[0])).tag != first.tag
    with pytest.raises(NoDataError):
        await stored.days.state_of("2030-01-01")


async def test_a_few_days_are_kept_and_the_oldest_is_read_again():
    stored = Stored()
    days = [f"2026-11-{day:02d}" for day in range(1, KEPT_MAX + 2)]
    for day in (*days, *days[1:], days[0]):
        await stored.days.state_of(day)
    assert stored.read == [*days, days[0]]


def test_people_who_look_at_many_days_wait_for_each_other_and_the_live_page_does_not(settings):
    allowed, reading = threading.Event(), threading.Event()

    def read(day):
        reading.set()
        assert allowed.wait(DEADLINE_S)
        return replace(state("whole"), day=day)

    async def scenario():
        stored = StoredDays(read)
        async with page(settings, stored=stored) as found:
            found.states.give("the live page")
            await until_async(lambda: found.broadcast.json, "the first state")
            days = [f"2026-10-{day:02d}" for day in range(1, WAITING_MAX + 2)]
            asking = [asyncio.create_task(found.asked(f"/api/days/{day}")) for day in days]
            await until_async(reading.is_set, "the first that is read")
            await until_async(lambda: _is_busy(stored), "the others")
            refused = await found.asked("/api/days/2026-11-01")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            for path in ("/", "/page/main.js", "/api/state", "/api/days"):
                assert (await found.asked(path)).status_code == 200
            assert not any(each.done() for each in asking)
            allowed.set()
            assert [(await each).json()["day"] for each in asking] == days

    def _is_busy(stored):
        return stored._threads._unfinished == WAITING_MAX + 1

    try:
        asyncio.run(scenario())
    finally:
        allowed.set()


async def test_one_day_more_than_may_wait_is_refused():
    allowed = threading.Event()
    stored = StoredDays(lambda day: replace(state("whole"), day=str(allowed.wait(DEADLINE_S))))
    asking = [asyncio.create_task(stored.state_of(str(day))) for day in range(WAITING_MAX + 1)]
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await stored.state_of("one more")
    allowed.set()
    await asyncio.gather(*asking)


async def test_a_browser_that_has_the_day_gets_304_and_no_body(settings):
    async with served(settings) as found:
        path = f"/api/days/{SESSIONS[0]}"
        answer = await found.client.get(path)
        tag = answer.headers["etag"]
        for known in (tag, f'"another", W/{tag}', "*"):
            again = await found.client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        other = await found.client.get(f"/api/days/{SESSIONS[1]}", headers={"If-None-Match": tag})
        assert (other.status_code, other.headers["cache-control"]) == (200, "no-cache")
        assert other.headers["etag"] != tag
