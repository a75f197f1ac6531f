"""Questions that block run in two threads: the event loop goes on, others wait, and too many are refused."""

import asyncio
import threading

import httpx
import pytest

from observer.web.data_service import THREADS
from observer.web.failures import BusyError
from observer.web.threads import WAITING_MAX, Threads
from tests.research.stored import DAY, make_store
from tests.waiting import DEADLINE_S, until_async
from tests.web.data_app import data_app


def test_two_questions_run_at_a_time_and_the_event_loop_goes_on():
    asyncio.run(_two_questions_run_at_a_time_and_the_event_loop_goes_on())


async def _two_questions_run_at_a_time_and_the_event_loop_goes_on():
    threads, allowed = Threads("two", 2, waiting_max=3), threading.Event()
    running: list[int] = []

    def work(number):
        running.append(number)
        assert allowed.wait(DEADLINE_S)
        return number

    tasks = [asyncio.create_task(threads.run(lambda number=number: work(number))) for number in range(5)]
    await until_async(lambda: len(running) == 2, "two that run")
    with pytest.raises(BusyError, match="5 questions are not answered yet"):
        await threads.run(lambda: 0)
    assert sorted(running) == [0, 1]
    allowed.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]
    assert await threads.run(lambda: 7) == 7


def test_a_question_whose_asker_went_away_while_it_waited_is_not_asked():
    asyncio.run(_a_question_whose_asker_went_away_while_it_waited_is_not_asked())


async def _a_question_whose_asker_went_away_while_it_waited_is_not_asked():
    threads, allowed = Threads("one", 1, waiting_max=1), threading.Event()
    asked: list[str] = []
    first = asyncio.create_task(threads.run(lambda: allowed.wait(DEADLINE_S)))
    second = asyncio.create_task(threads.run(lambda: asked.append("second")))
    await asyncio.sleep(0)
    await until_async(lambda: not first.done(), "the first that runs")
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    third = asyncio.create_task(threads.run(lambda: asked.append("third")))
    await asyncio.sleep(0)
    allowed.set()
    await asyncio.gather(first, third)
    assert asked == ["third"]


def test_more_questions_than_may_wait_are_refused_with_a_time_to_ask_again(tmp_path):
    asyncio.run(_more_questions_than_may_wait_are_refused_with_a_time_to_ask_again(tmp_path))


async def _more_questions_than_may_wait_are_refused_with_a_time_to_ask_again(tmp_path):
    app = data_app(make_store(tmp_path))
    many = THREADS + WAITING_MAX + 12
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=DEADLINE_S) as web:
        asked = [f"/api/bars?symbol=005930&day={DAY}&limit={1 + n}" for n in range(many)]
        answers = await asyncio.gather(*map(web.get, asked))
    refused = [each for each in answers if each.status_code == 503]
    assert {each.status_code for each in answers} == {200, 503}
    assert len(refused) <= 12
    assert all(int(each.headers["retry-after"]) > 0 for each in refused)
