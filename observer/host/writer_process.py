"""A core writer alone, for commands that load events into a database by the usual ingest."""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from bus.endpoints import Address, Endpoints
from observer.errors import StoreError
from observer.store.instance import Instance

MODULE: Final = "workers.core_writer"
LIFELINE_VARIABLE: Final = "OBSERVER_LIFELINE_FD"
GRACE_S: Final = 20.0  # enough for the one commit that may be under way


class WriterProcess(msgspec.Struct, frozen=True):
    """A running writer: where its ingest socket is, and its end (which raises `StoreError` if it fails)."""

    ingest_address: Address
    ended: asyncio.Task[None]


@contextlib.asynccontextmanager
async def writer_of(url: str, instance: Instance) -> AsyncIterator[WriterProcess]:
    """A writer of this database for its instance while the block runs; it makes the database if there is none.

    It lives in a folder of its own and dies with this process, however that dies.
    """
    with tempfile.TemporaryDirectory(prefix="obs") as name, _lifeline() as descriptor:
        folder = Path(name)
        endpoints = Endpoints(folder / "run")
        process = await _start(folder, url, instance, descriptor)
        ended = asyncio.create_task(_end_of(process, folder / "log"))
        try:
            yield WriterProcess(endpoints.ingest, ended)
        finally:
            await _stop(process)
            await asyncio.gather(ended, return_exceptions=True)


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """A pipe's reading end for the child; the other end closes when this process is gone."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


async def _start(folder: Path, url: str, instance: Instance, lifeline: int) -> asyncio.subprocess.Process:
    configuration = folder / "observer.toml"
    run = {"data": str(folder), "runtime": str(folder / "run")}
    document = {"run": run, "store": {"url": url}, "instance": msgspec.to_builtins(instance)}
    configuration.touch(mode=0o600)  # a URL may hold a password
    configuration.write_text(tomli_w.dumps(document))
    with (folder / "log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE, "--config", str(configuration)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lifeline],
            env={**os.environ, LIFELINE_VARIABLE: str(lifeline)},
        )


async def _end_of(process: asyncio.subprocess.Process, log: Path) -> None:
    status = await process.wait()
    if status != 0:
        raise StoreError(f"the writer ended with status {status}: {_last_line(log)}")


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), GRACE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
