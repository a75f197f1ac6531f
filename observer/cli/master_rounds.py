"""How a command gets at master files: by an order to the process that keeps them, or by itself where no system runs."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from bus.commands import Done, Refused, RunJob, UnderWay
from bus.control import ControlClient, ControlTimeoutError
from bus.events import Event
from bus.outbox import Outbox, OutboxInUseError
from bus.producer import Producer
from observer.brokers import PROVIDER
from observer.cli.control import ANSWER_S
from observer.cli.writer_process import writer_of
from observer.clock import Clock
from observer.config import Settings, endpoints_of
from observer.errors import ConfigError, DataFileError
from observer.masters.local import FOLDER, LocalFiles
from observer.masters.rounds import MasterFiles
from observer.store.engine import migrate
from observer.store.reader import StoreReader

NAME: Final = "master-command"
_SETTLE_S: Final = 60.0


class Unpublished:
    """Publishes nothing: for a look that changes nothing."""

    def publish_together(self, events: Sequence[Event]) -> None:
        """Raises DataFileError: nothing may be published here."""
        raise DataFileError(f"{len(events)} events of a look that changes nothing")


async def order(settings: Settings, job: str, arguments: Sequence[str]) -> str:
    """Ask the running system's process that keeps the master files; what came of it, or that it is under way.

    Raises:
        ConfigError: it does not answer, or refuses.
    """
    control = ControlClient(endpoints_of(settings.run).control)
    try:
        reply = await control.request(RunJob(job, list(arguments)), ANSWER_S)
    except ControlTimeoutError as error:
        raise ConfigError(f"{error}: no system runs here any more, or it hangs") from error
    finally:
        control.close()
    match reply:
        case Done(_, detail) | UnderWay(detail):
            return detail
        case Refused(code, message):
            raise ConfigError(f"{message} ({code})")
        case _:
            raise ConfigError(f"an order was answered with {type(reply).__name__}")


def local_files(settings: Settings) -> LocalFiles:
    """The master files on this machine's disk."""
    return LocalFiles(Path(settings.run.data) / FOLDER, settings.reference.backups_kept)


@contextlib.asynccontextmanager
async def looking(settings: Settings, clock: Clock) -> AsyncIterator[MasterFiles]:
    """To look at the host's files and publish nothing; a system may run meanwhile."""
    async with _rounds(settings, clock, None) as rounds:
        yield rounds


@contextlib.asynccontextmanager
async def working(settings: Settings, clock: Clock) -> AsyncIterator[MasterFiles]:
    """To work on the files and the database where no system runs, by a writer of our own.

    Raises:
        ConfigError: another command does so.
    """
    migrate(settings.store.url)
    folder = endpoints_of(settings.run).runtime_directory / "outbox" / NAME
    async with writer_of(settings.store.url) as writer:
        try:
            producer = Producer(Outbox(folder, NAME, uuid.uuid4().hex), writer.ingest_address)
        except OutboxInUseError as error:
            raise ConfigError("another `observer master` command is at work") from error
        delivery = asyncio.create_task(producer.run())
        try:
            async with _rounds(settings, clock, producer) as rounds:
                yield rounds
            await _settle(producer)
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            producer.close()


async def _settle(producer: Producer | None) -> None:
    if producer is not None and not await producer.drain(_SETTLE_S):
        raise ConfigError(f"{producer.unacknowledged} events are not committed; the next command delivers them")


@contextlib.asynccontextmanager
async def _rounds(settings: Settings, clock: Clock, producer: Producer | None) -> AsyncIterator[MasterFiles]:
    from observer.providers.http import open_client
    from observer.providers.kis.files import KisMasterFiles

    async def settled() -> None:
        await _settle(producer)

    with StoreReader(settings.store.url) as reader:
        async with open_client(settings.kis.files_url, settings.kis.rest) as client:
            yield MasterFiles(
                provider=PROVIDER,
                files=KisMasterFiles(client),
                local=local_files(settings),
                reader=reader,
                publisher=producer or Unpublished(),
                settled=settled,
                clock=clock,
                settings=settings.reference,
            )
