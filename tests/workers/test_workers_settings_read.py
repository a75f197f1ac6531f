"""Each worker reads the parts of the configuration that the table of processes names for it, and no others.

`ctl reload` restarts the processes whose parts changed. A part that is missing in the table leaves a process with the
old value; one too many restarts it for nothing.
"""

import asyncio
import contextlib
import gc
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import msgspec
import pytest

from bus.delivery import Delivered
from bus.events import UniverseBuilt, UniverseMember
from observer.base.errors import ProviderError
from observer.base.local_time import local_ns
from observer.demo.configuration import DAY
from observer.store.writer import StoreWriter
from observer.system.processes import LAKE, PROCESSES, SIMULATOR, TAPE, WEB
from observer.system.worker import Worker
from tests.ports import own_port
from tests.selection.builders import seen
from tests.store.etf import etf_listed
from tests.workers.three_accounts import run, scene

ALL_PROCESSES = (SIMULATOR, *PROCESSES, LAKE, TAPE, WEB)

# The sections that the clients' settings are made of. A worker that never streams makes them all the same.
OF_CLIENTS = {
    "runtime": "run",
    "pool": "pool",
    "brokers": "brokers",
    "records": "track_b",
    "slots_max": "selection.slots",
}


def recorded(struct, parts, read, **others):
    """A copy of the struct that adds the part of each field that is read; `others` replace attributes unrecorded."""

    def attribute(self, name):
        if name in others:
            return others[name]
        if name in parts:
            read.add(parts[name])
        return object.__getattribute__(self, name)

    kind = type("Recorded", (type(struct),), {"__getattribute__": attribute}, frozen=True)
    return kind(**{name: getattr(struct, name) for name in struct.__struct_fields__})


def recorded_settings(settings, read):
    """Settings that record which sections, and which parts of the selection's file, a process reads."""
    of_selection = {name: f"selection.{name}" for name in settings.selection.__struct_fields__}
    selection = recorded(settings.selection, of_selection, read)
    clients = recorded(settings.clients, OF_CLIENTS, read)
    in_parts = {"selection", "backup", "track_a", "track_b"}
    sections = {name: name for name in settings.__struct_fields__ if name not in in_parts}
    track_a = recorded(settings.track_a, of_track("track_a", settings.track_a), read)
    track_b = recorded(settings.track_b, of_track("track_b", settings.track_b), read)
    backup = recorded(settings.backup, of_backup(settings), read)
    read.clear()  # the checks of a new struct read it
    whole = msgspec.structs.replace(settings, selection=selection, backup=backup, track_a=track_a, track_b=track_b)
    return recorded(whole, sections, read, clients=clients)


def of_backup(settings):
    """The parts of [backup]: the archive's limits, which every process with an outbox reads, and the rest."""
    names = settings.backup.__struct_fields__
    return {name: f"backup.{name}" if name.startswith("archive_") else "backup" for name in names}


def of_track(name, track):
    """The parts of a track's section: the sessions, which the plan of a day takes, and the rest."""
    return {field: f"{name}.sessions" if field == "sessions" else name for field in track.__struct_fields__}


def store_opening(day):
    """The day's universe, a snapshot of a symbol in its opening, and an ETF."""
    symbols = [instrument.symbol for instrument in day.simulator.market.instruments]
    today = DAY.isoformat()
    members = [
        UniverseMember("kis", "kr_stocks", today, rank, symbol, symbol, "KOSPI", 1.0, 1.0, None, None)
        for rank, symbol in enumerate(symbols, start=1)
    ]
    built = UniverseBuilt("kis", "kr_stocks", today, today, 1, len(members), len(members), 4_000.0)
    snapshot = seen(symbols[0], 100.0, session_date=today, receive_time_ns=local_ns(DAY, 9, 10))
    writer = StoreWriter(day.settings.store.url)
    writer.open()
    writer.commit([Delivered("master-file", "a" * 32, 1, [*members, built, snapshot, etf_listed(symbol=symbols[0])])])
    writer.close()


def worker_of(day, process, read):
    nothing = msgspec.structs.replace(day.settings.reference, exchanges=())  # no file need be downloaded
    settings = msgspec.structs.replace(day.settings, reference=nothing)
    if process == SIMULATOR:  # the scene's has the ports
        assert settings.simulator is not None
        simulator = msgspec.structs.replace(settings.simulator, rest_port=0, stream_port=0, files_port=0)
        settings = msgspec.structs.replace(settings, simulator=simulator)
    name = f"{process.name}-recorded"  # the scene has an outbox of accounts
    worker = Worker(name, recorded_settings(settings, read), day.clock)
    worker.alerts.use_loop()
    return worker


@contextlib.asynccontextmanager
async def running(process, worker):
    body = getattr(import_module(process.module), process.name.replace("-", "_"))
    task = asyncio.create_task(body(worker))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        worker.control.close()


@contextlib.contextmanager
def own_threads():
    """The threads of the block end with it: one that still wrote would disturb the removal of the folder."""
    loop = asyncio.get_running_loop()
    try:
        with ThreadPoolExecutor() as threads:
            loop.set_default_executor(threads)
            yield
    finally:
        loop.set_default_executor(ThreadPoolExecutor())  # what is left of the scene ends with it


def in_the_table(process):
    """What the process reads: a part of a section that it reads whole is not named."""
    files = {"keys_digest"}  # stands for the content of the files that the pool names
    return {part for part in process.reads if "." not in part or part.partition(".")[0] not in process.reads} - files


def named(process, read):
    """The parts that were read, each by the section if the table names that whole."""
    return {section if (section := part.partition(".")[0]) in process.reads else part for part in read}


@pytest.mark.slow
def test_a_worker_reads_what_the_table_of_processes_names_and_nothing_else():
    read = {process.name: set() for process in ALL_PROCESSES}
    threshold = gc.get_threshold()

    async def scenario():
        async with (
            scene(9, 28, symbols=10, configured={"lake": {}, "tape": {}, "web": {"port": own_port()}}) as day,
            contextlib.AsyncExitStack() as stack,
        ):
            stack.enter_context(own_threads())  # left last, when the workers have ended
            store_opening(day)
            workers = {process: worker_of(day, process, read[process.name]) for process in ALL_PROCESSES}
            tasks = [await stack.enter_async_context(running(*each)) for each in workers.items()]
            [of_etfs] = [worker for process, worker in workers.items() if process.name == "etf"]
            await day.until(lambda: "etf_values" in of_etfs.orders.jobs, "the process of the ETFs is at work")
            with contextlib.suppress(ProviderError):  # none of the market's symbols is an ETF
                await of_etfs.orders.jobs["etf_values"]()  # due in the evening

            def all_read():
                for task in tasks:
                    assert not task.done(), task.exception()
                return all(in_the_table(process) <= read[process.name] for process in workers)

            await day.until(all_read, "every part of the table is read")

    try:
        run(scenario)
    finally:
        gc.unfreeze()  # the writer froze what there was, and set the threshold
        gc.set_threshold(*threshold)
    found = {process.name: named(process, read[process.name]) for process in ALL_PROCESSES}
    assert found == {process.name: in_the_table(process) for process in ALL_PROCESSES}
