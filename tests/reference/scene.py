"""A scriptable master-file host, a database, and the master file sync between them: all real but the market."""

import contextlib
import io
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec
from aiohttp import web

from bus.delivery import Delivered
from bus.events import Event
from observer.base.clock import ManualClock
from observer.brokers.http import open_client
from observer.brokers.kis.broker import BROKER
from observer.brokers.kis.listings import file_name
from observer.brokers.kis.master_files import KisMasterFiles
from observer.brokers.settings import RestSettings
from observer.monitoring.alerts.process import Alerts
from observer.reference.listings.diff import ReferenceSettings
from observer.reference.listings.files import LocalFiles
from observer.reference.listings.sync import MasterFiles
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests.brokers.stand_ins import serving
from tests.store.migrated import migrated_file

STREAM = "7" * 32
START_NS = 1_795_000_000_000_000_000


def record(symbol: str, name: str = "회사", price: str = "10.0000", code: str = "NAS") -> str:
    """A line of a file abroad."""
    texts = f"US\t22\t{code}\t나스닥\t{symbol}\t{code}{symbol}\t{name}\t{name} INC\t2\tUSD\t4\t\t{price}"
    return f"{texts}\t1\t1\t930\t1600\tN\t\t000\t0\t0\t   \t   \n"


def contents(symbols: Sequence[str], name: str = "회사", price: str = "10.0000", code: str = "NAS") -> bytes:
    return "".join(record(symbol, name, price, code) for symbol in symbols).encode("cp949")


def symbols(count: int) -> list[str]:
    return [f"S{number:05d}" for number in range(count)]


def zipped(content: bytes, member: str = "NASMST.COD", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo(member, (2026, 11, 18, 6, 0, 0)), content, method)
    return archive.getvalue()


class Publication:
    """Publishes straight into the database, each batch in one transaction."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer
        self.events: list[Event] = []

    def publish_together(self, events: Sequence[Event]) -> None:
        first = self._writer.high_water_marks([STREAM])[STREAM] + 1
        self._writer.commit([Delivered("master-file", STREAM, first, events)])
        self.events += events


class Host:
    """Serves what `bodies` hold by exchange; `answer` replaces it when a test wants something else."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.answer = self.usual

    def offer(self, exchange: str, content: bytes) -> None:
        self.bodies[file_name(exchange)] = zipped(content, file_name(exchange).upper())

    async def usual(self, request: web.Request) -> web.StreamResponse:
        body = self.bodies.get(request.match_info["name"].removesuffix(".zip"))
        if body is None:
            raise web.HTTPNotFound
        return web.Response(body=body, headers={"ETag": f'"{hash(body)}"'})

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.method)
        return await self.answer(request)


class Scene(msgspec.Struct):
    """A test's host, database, sync and clock."""

    host: Host
    masters: MasterFiles
    local: LocalFiles
    publication: Publication
    reader: StoreReader
    clock: ManualClock


class HastyClock(ManualClock):
    """A clock whose sleep advances the time at once."""

    async def sleep(self, market_seconds: float) -> None:
        await self.advance(market_seconds)


@contextlib.asynccontextmanager
async def scene(folder: Path, timeout_s: float = 60.0) -> AsyncIterator[Scene]:
    settings = ReferenceSettings()
    host = Host()
    clock = HastyClock(START_NS)
    local = LocalFiles(folder / "master", settings.backups_kept)
    database = folder / "observer.db"
    if not database.exists():
        database.write_bytes(migrated_file())
    url = f"sqlite:///{database}"
    with _writer(url) as writer, StoreReader(url) as reader:
        publication = Publication(writer)
        async with (
            serving(web.route("*", "/common/master/{name}", host.serve)) as address,
            open_client(f"http://{address}", RestSettings(timeout_s=timeout_s)) as client,
        ):
            masters = MasterFiles(
                broker=BROKER,
                files=KisMasterFiles(client),
                local=local,
                reader=reader,
                publisher=publication,
                settled=_at_once,
                clock=clock,
                alerts=Alerts(clock, "master-file"),
                settings=settings,
            )
            yield Scene(host, masters, local, publication, reader, clock)


async def _at_once() -> None:
    """Every published event is committed at once."""


@contextlib.contextmanager
def _writer(url: str) -> Iterator[StoreWriter]:
    writer = StoreWriter(url)
    writer.open()
    try:
        yield writer
    finally:
        writer.close()
