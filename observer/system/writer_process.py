"""A core writer alone, for commands that load events into a database by the usual ingest."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from bus.endpoints import Address, Endpoints
from observer.base.environment import withhold
from observer.base.errors import StoreError
from observer.base.instance import Instance
from observer.base.programs import program
from observer.base.signals import stop_process
from observer.brokers.broker import BROKER_NAMES, broker_named
from observer.store.owner import owner_of, require_unused
from observer.supervisor.lifeline import LIFELINE_VARIABLE, Lifeline
from observer.system.processes import CORE_WRITER
from observer.system.worker_log import complaint_in

MODULE: Final = "workers.core_writer"
RESTORES_VARIABLE: Final = "OBSERVER_WRITER_RESTORES"
"""Set for the writer of `observer backup restore`, which itself put the database back."""

GRACE_S: Final = 20.0  # enough for the one commit that may be under way
START_S: Final = 30.0  # on a busy machine too
_POLL_S: Final = 0.05


class WriterProcess(msgspec.Struct, frozen=True):
    """A running writer that has its database: where its ingest socket is, and its end (which raises `StoreError` if it
    fails).
    """

    ingest_address: Address
    ended: asyncio.Task[None]


@contextlib.asynccontextmanager
async def writer_of(url: str, instance: Instance, *, restores: bool = False) -> AsyncIterator[WriterProcess]:
    """A writer of this migrated database for its instance while the block runs.

    It lives in a folder of its own and dies with this process, however that dies. One that `restores` raises no alert
    that the database went back: it has no later process that would resolve it.

    Raises:
        DatabaseInUseError: another process writes it.
        StoreError: it cannot be opened, or belongs to another instance.
    """
    await asyncio.to_thread(require_unused, url)  # the process would wait for another one to end
    with tempfile.TemporaryDirectory(prefix="obs") as name, contextlib.closing(Lifeline()) as lifeline:
        folder = Path(name)
        endpoints = Endpoints(folder / "run")
        configuration = await asyncio.to_thread(writer_configuration, folder, url, instance)
        variables = {LIFELINE_VARIABLE: str(lifeline.child_fd), **({RESTORES_VARIABLE: "1"} if restores else {})}
        process = await _start(configuration, folder / "log", lifeline.child_fd, variables)
        ended = asyncio.create_task(_end_of(process, folder / "log"))
        try:
            await _listening(folder, ended)
            yield WriterProcess(endpoints.ingest, ended)
        finally:
            await stop_process(process, GRACE_S)
            await asyncio.gather(ended, return_exceptions=True)


def writer_configuration(folder: Path, url: str, instance: Instance) -> Path:
    """Write the configuration of the writer and return its path. The database keeps its brokers; one that has none gets
    those of the market. The writer calls no broker and reads no keys and no master files.
    """
    owner = owner_of(url)
    providers = owner.providers if owner else _brokers_of(instance)
    accounts = [{"account_id": name, "provider": name, "keys_file": str(folder / "no_keys")} for name in providers]
    pool = folder / "provider_pool.json"
    pool.write_bytes(msgspec.json.encode({"provider_pool": {"accounts": accounts}}))
    document = {
        "run": {"data": str(folder), "runtime": str(folder / "run"), "provider_pool": str(pool)},
        "instance": msgspec.to_builtins(instance),
        "store": {"url": url},
        "reference": {"exchanges": []},
    }
    configuration = folder / "observer.toml"
    configuration.touch(mode=0o600)  # a URL may hold a password
    configuration.write_text(tomli_w.dumps(document))
    return configuration


def _brokers_of(instance: Instance) -> list[str]:
    return [name for name in BROKER_NAMES if broker_named(name).venue.market == instance.market]


async def _start(
    configuration: Path, log_path: Path, lifeline: int, variables: Mapping[str, str]
) -> asyncio.subprocess.Process:
    withhold([name for broker in BROKER_NAMES for name in broker_named(broker).key_variables])  # it calls no broker
    with log_path.open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *program(MODULE, "--config", str(configuration)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lifeline],
            env={**os.environ, **variables},
        )


async def _listening(folder: Path, ended: asyncio.Task[None]) -> None:
    """Wait until the writer has locked the database and opened its ingest socket.

    Raises:
        StoreError: it ended, or did not come so far within START_S.
    """
    try:
        async with asyncio.timeout(START_S):
            while not (folder / "run" / "ingest").exists() and not ended.done():
                await asyncio.wait([ended], timeout=_POLL_S)
    except TimeoutError:
        raise StoreError(f"the writer is not ready after {START_S:g} s: {_last_line(folder / 'log')}") from None
    if ended.done():
        ended.result()


async def _end_of(process: asyncio.subprocess.Process, log: Path) -> None:
    status = await process.wait()
    if status != 0:
        raise StoreError(complaint_in(log, CORE_WRITER) or f"the writer ended with status {status}: {_last_line(log)}")


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
