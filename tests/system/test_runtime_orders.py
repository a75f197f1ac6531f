"""Orders to a running worker: log level, jobs one at a time, slots; and draining, against a real ingest."""

import asyncio
import logging
import threading
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.commands import Done, Drain, Pin, Refused, RunJob, SetLogLevel, UnderWay, Unpin
from bus.endpoints import Endpoints
from bus.events import AlertRaised, AlertResolved, Event, PhaseChanged
from bus.ingest import Ingest, ingest_socket
from bus.outbox import Outbox
from bus.producer import delivering
from observer.base.clock import ManualClock
from observer.base.errors import DataFileError, StoreError
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from observer.system.process_orders import WorkerOrders
from tests.folders import short_folder
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S


@pytest.fixture
def folder():
    with short_folder() as name:
        yield Path(name)


@pytest.fixture
def short_reply_deadline(monkeypatch):
    """Shorten the reply deadline, so that a slow order is answered with `under way`."""
    monkeypatch.setattr("observer.system.process_orders.ANSWER_WITHIN_S", 0.05)


def orders(**jobs):
    obedient = WorkerOrders("trial", Alerts(ManualClock(0), "trial"))
    obedient.jobs = jobs
    return obedient


async def quick():
    return "all was there"


# --- jobs ----------------------------------------------------------------------------------------------------


async def test_a_job_that_ends_at_once_is_answered_with_its_result():
    assert await orders(backup=quick).obey(RunJob("backup")) == Done("trial", "backup: all was there")


async def test_a_job_that_this_process_does_not_have_is_refused_with_those_it_has():
    reply = await orders(backup=quick, universe=quick).obey(RunJob("sweep"))
    assert reply == Refused("unknown_job", "trial has no job 'sweep'; it has backup, universe")


async def test_a_job_with_arguments_is_refused_without_them_and_gets_the_arguments_of_the_order():
    async def approve(words):
        return f"approved {', '.join(words)}"

    obedient = orders(backup=quick)
    obedient.directed_jobs = {"master_approve": approve}
    refused = await obedient.obey(RunJob("master_approve"))
    assert refused == Refused("unknown_job", "master_approve needs an argument: the run, or the exchange")
    done = await obedient.obey(RunJob("master_approve", ["NASD-1"]))
    assert done == Done("trial", "master_approve: approved NASD-1")


@pytest.mark.usefixtures("short_reply_deadline")
async def test_a_job_that_takes_long_is_under_way_and_no_second_one_begins_meanwhile():
    release = asyncio.Event()
    ended: list[str] = []

    async def slow():
        await release.wait()
        ended.append("slow")
        return "at last"

    obedient = orders(slow=slow, backup=quick)
    assert isinstance(await obedient.obey(RunJob("slow")), UnderWay)
    reply = await obedient.obey(RunJob("backup"))
    assert isinstance(reply, Refused)
    assert reply.code == "busy"
    release.set()
    async with obedient.turn:
        assert ended == ["slow"]


async def test_while_the_day_s_plan_runs_a_job_an_order_is_refused():
    obedient = orders(backup=quick)
    async with obedient.turn:
        reply = await obedient.obey(RunJob("backup"))
    assert isinstance(reply, Refused)
    assert reply.code == "busy"
    assert isinstance(await obedient.obey(RunJob("backup")), Done)


@pytest.mark.parametrize("mistake", [DataFileError("no such file"), ZeroDivisionError()])
async def test_a_job_that_fails_is_answered_with_the_reason_and_the_next_one_runs(mistake):
    async def failing():
        raise mistake

    obedient = orders(failing=failing, backup=quick)
    reply = await obedient.obey(RunJob("failing"))
    assert isinstance(reply, Refused)
    assert reply.code == "failed"
    assert isinstance(await obedient.obey(RunJob("backup")), Done)


async def test_each_failure_by_order_raises_an_alert_that_the_success_resolves():
    async def failing():
        raise DataFileError("no such file")

    published: list[Event] = []
    obedient = WorkerOrders("trial", Alerts(ManualClock(0), "trial", lambda *events: published.extend(events)))
    obedient.jobs = {"failing": failing}
    await obedient.obey(RunJob("failing"))
    await obedient.obey(RunJob("failing"))
    text = "job failing, run by order, failed: no such file"
    raised = AlertRaised(0, "critical", "trial", text, "failing", "job:failing")
    again = AlertResolved(0, "trial", "job:failing", 1, "run again, by order")
    assert published == [raised, again, raised]
    obedient.jobs = {"failing": quick}
    await obedient.obey(RunJob("failing"))
    assert published[-1] == AlertResolved(0, "trial", "job:failing", 1, "job failing is done, by order")


@pytest.mark.usefixtures("short_reply_deadline")
async def test_a_process_that_stops_gives_up_its_jobs():
    cancelled = asyncio.Event()

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return "never"

    obedient = orders(endless=endless)
    await obedient.obey(RunJob("endless"))
    await obedient.stop()
    assert cancelled.is_set()


# --- log level and slots ------------------------------------------------------------------------------------


async def test_the_log_level_changes_at_once():
    root = logging.getLogger()
    before = root.level
    try:
        assert isinstance(await orders().obey(SetLogLevel("trial", "ERROR")), Done)
        assert root.level == logging.ERROR
    finally:
        root.setLevel(before)


@pytest.mark.parametrize("order", [Pin("005930"), Unpin("005930")])
async def test_a_pin_is_refused_by_a_process_without_slots(order):
    reply = await orders().obey(order)
    assert isinstance(reply, Refused)
    assert reply.code == "not_now"


async def test_a_pin_goes_to_the_process_with_the_slots():
    class Slots:
        def pin(self, symbol):
            return Done("trial", f"{symbol} in")

        def unpin(self, symbol):
            return Done("trial", f"{symbol} out")

    obedient = orders()
    obedient.slots = Slots()
    assert await obedient.obey(Pin("A")) == Done("trial", "A in")
    assert await obedient.obey(Unpin("A")) == Done("trial", "A out")


# --- drain ---------------------------------------------------------------------------------------------------


def changed(number):
    return PhaseChanged("2026-11-18", number, "IDLE", "WARMUP")


def producing(folder):
    return delivering(Outbox(folder / "outbox", "trial", uuid.uuid4().hex), Endpoints(folder / "run").ingest)


@asynccontextmanager
async def writing(folder):
    url = f"sqlite:///{folder}/observer.db"
    await asyncio.to_thread(make_database, url)
    writer = StoreWriter(url)
    ingest = Ingest(ingest_socket(Endpoints(folder / "run").ingest), writer, lambda _: None, StoreError)
    stopping = threading.Event()
    thread = asyncio.create_task(asyncio.to_thread(ingest.run, stopping))
    try:
        yield url
    finally:
        stopping.set()
        await thread
        writer.close()


async def test_a_process_that_publishes_nothing_is_drained_at_once():
    assert await orders().obey(Drain("trial")) == Done("trial", "publishes nothing")


@pytest.mark.usefixtures("short_reply_deadline")
async def test_a_drain_without_a_writer_is_under_way_and_reports_the_remaining_events(folder):
    obedient = orders()
    async with producing(folder) as producer:
        obedient.producer = producer
        producer.publish_together([changed(number) for number in range(7)])
        assert await obedient.obey(Drain("trial")) == UnderWay("7 events of trial are not committed yet")


async def test_a_finished_drain_means_that_the_database_has_every_event(folder):
    obedient = orders()
    async with writing(folder) as url, producing(folder) as producer:
        obedient.producer = producer
        producer.publish_together([changed(number) for number in range(7)])
        while not isinstance(await obedient.obey(Drain("trial")), Done):
            pass
        with StoreReader(url) as reader:
            assert reader.total_rows() == 7


async def test_a_drain_waits_only_for_events_published_before_it(folder):
    async with writing(folder), producing(folder) as producer:
        stopping = asyncio.Event()

        async def go_on_publishing():
            number = 0
            while not stopping.is_set():
                number += 1
                producer.publish(changed(number))
                await asyncio.sleep(0)

        publishing = asyncio.create_task(go_on_publishing())
        for _ in range(3):
            assert await producer.drain(DEADLINE_S)
        stopping.set()
        await publishing
