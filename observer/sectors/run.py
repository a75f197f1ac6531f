"""What `observer enrich run` does: reads what is known, opens the sources and the way to the writer, and runs."""

import asyncio
import contextlib
import logging
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bus.endpoints import Address
from bus.events import EnrichmentCompleted, Event
from bus.outbox import Outbox, OutboxInUseError
from bus.producer import Producer
from observer.cli.enrichment import Enrichment, Share, Tell, share_of
from observer.cli.enrichment_report import report_text, rounds_table
from observer.cli.host import stopping_on_signals
from observer.cli.sector_files import read_market, read_tables, write_whole
from observer.cli.writer_process import writer_of
from observer.clock import Clock, clock_from_environment
from observer.config import Settings, endpoints_of, is_reachable
from observer.errors import ConfigError, StoreError
from observer.providers.answer_cache import AnswerCache
from observer.providers.finance_database import FinanceDatabase
from observer.providers.sector_sources import KisCodes, SectorSource
from observer.reference.sectors import Region, SectorSourceName, Security
from observer.store.engine import migrate
from observer.store.sectors import SectorReader

if TYPE_CHECKING:
    from observer.cli.enrichment_metrics import EnrichmentMetrics

logger = logging.getLogger(__name__)

NAME: Final = "enrich"
UNANSWERED: Final = 1
INTERRUPTED: Final = 130  # what a shell says of a program that SIGINT ended
_DRAIN_S: Final = 60.0
_YAHOO: Final = frozenset({"yahoo_screener", "yahoo_profile"})

Wanted = dict[Region, Share]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed. `masters` None: the stocks are the database's; `max_age_days` None: every one is asked for."""

    masters: Path | None
    tables: Path
    snapshot: Path
    regions: tuple[Region, ...]
    sources: tuple[SectorSourceName, ...]
    force_refresh: bool
    max_age_days: float | None
    dry_run: bool
    at_once: int
    max_retries: int
    retry_delay_s: float
    report: Path
    metrics_file: Path | None
    prometheus_port: int
    metric_prefix: Literal["observer", "spock"]
    verbose: bool
    as_json: bool
    yahoo_address: str = ""


class Sources(msgspec.Struct, frozen=True):
    """The sources in their order, and how many requests were sent to Yahoo and calls to it made again so far."""

    asked: tuple[SectorSource, ...]
    requests: Callable[[], int]
    retries: Callable[[], int]


async def enrich(settings: Settings, options: RunOptions) -> int:
    """Run it, and return the command's exit status.

    Raises:
        ConfigError: none of the regions has stocks, or another run is under way, or a source needs
            what is not installed.
        ObserverError: a file or the database cannot be read.
    """
    logging.basicConfig(level=logging.INFO if options.verbose else logging.ERROR, stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # each migration of a new database is no news of sectors
    clock = clock_from_environment()
    wanted = _wanted(settings, options, clock)
    if options.dry_run:
        _tell_plan(wanted, options)
        return 0
    sources = open_sources(settings, options, clock)
    stopping = asyncio.Event()
    with stopping_on_signals(stopping):
        async with _way_to_writer(settings) as producer:
            rounds = await _until_stopped(_run(wanted, sources, options, producer, clock), stopping)
    if rounds is None:
        return INTERRUPTED
    write_whole(options.report, report_text(rounds, sources.requests()))
    _tell(rounds, options)
    return UNANSWERED if any(done.unanswered for done in rounds) else 0


def _wanted(settings: Settings, options: RunOptions, clock: Clock) -> Wanted:
    """What is to be done for each region that has stocks."""
    wanted: Wanted = {}
    if not options.dry_run:
        migrate(settings.store.url)
    with SectorReader(settings.store.url) as reader:
        cut_short = {done.region for done in reader.last_rounds() if done.unanswered}
        for region in options.regions:
            securities = reader.stocks(region) if options.masters is None else _of_files(options.masters, region)
            if securities:
                wanted[region] = share_of(
                    *(securities, reader.assignments(region), clock.now_ns(), options.max_age_days),
                    was_whole=region not in cut_short,
                )
    if not wanted:
        regions = ", ".join(options.regions)
        where = options.masters or "the database"
        raise ConfigError(f"{where} has no stocks of {regions}: update the master files, or give --masters FOLDER")
    return wanted


def _of_files(folder: Path, region: Region) -> Sequence[Security]:
    market = read_market(folder, region)
    for name in market.missing:
        logger.warning("%s has no %s", folder, name)
    if market.bad_lines:
        logger.error("%s: %d lines are no records", region, market.bad_lines)
    return market.securities


def open_sources(settings: Settings, options: RunOptions, clock: Clock) -> Sources:
    """The sources that were asked for, in their order.

    Raises:
        ConfigError: one needs what is not installed, or a file that is not there.
        DataFileError: a table of codes cannot be read.
    """
    asked: list[SectorSource] = []
    if "kis_code" in options.sources:
        asked.append(KisCodes(read_tables(options.tables)))
    if "finance_database" in options.sources:
        if options.snapshot.exists():
            asked.append(FinanceDatabase(options.snapshot))
        else:
            logger.error("no FinanceDatabase snapshot %s: `observer enrich download` fetches it", options.snapshot)
    if not _YAHOO & set(options.sources):
        return Sources(tuple(asked), lambda: 0, lambda: 0)
    return _with_yahoo(asked, Path(settings.run.data) / "enrichment", options, clock)


def _with_yahoo(asked: list[SectorSource], folder: Path, options: RunOptions, clock: Clock) -> Sources:
    try:
        from observer.providers.yahoo import YahooDoor, YahooSettings
        from observer.providers.yahoo_sources import YahooProfiles, YahooScreener
    except ImportError as error:
        text = f"{error}: install observer[sectors], or leave Yahoo out with --sources kis_code,finance_database"
        raise ConfigError(text) from error
    asking = YahooSettings(
        retries_max=options.max_retries, retry_delay_s=options.retry_delay_s, address=options.yahoo_address
    )
    door = YahooDoor(clock, Random(), asking, folder / "cookies")  # jitter: nobody wants it repeatable
    cache = AnswerCache(folder / "answers.jsonl", clock.now_ns())
    if options.force_refresh:
        cache.clear()
    if "yahoo_screener" in options.sources:
        asked.append(YahooScreener(door, cache, clock))
    if "yahoo_profile" in options.sources:
        asked.append(YahooProfiles(door, cache, clock))
    return Sources(tuple(asked), lambda: door.requests, lambda: door.retries)


@contextlib.asynccontextmanager
async def _way_to_writer(settings: Settings) -> AsyncIterator[Producer]:
    """A producer to the writer of the running system, or to one of our own; at its end all is committed.

    Raises:
        ConfigError: another run is under way.
        StoreError: the writer did not commit what was published; it stays in the outbox for the next run.
    """
    endpoints = endpoints_of(settings.run)
    async with contextlib.AsyncExitStack() as stack:
        address: Address = endpoints.ingest
        if not is_reachable(settings.run):
            address = (await stack.enter_async_context(writer_of(settings.store.url))).ingest_address
        try:
            outbox = Outbox(endpoints.runtime_directory / "outbox" / NAME, NAME, uuid.uuid4().hex)
        except OutboxInUseError as error:
            raise ConfigError("another `observer enrich run` is under way") from error
        producer = Producer(outbox, address)
        stack.callback(producer.close)
        delivery = asyncio.create_task(producer.run())
        try:
            yield producer
            if not await producer.drain(_DRAIN_S):
                raise StoreError(f"{producer.unacknowledged} events are not committed; the next run delivers them")
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)


async def _until_stopped(
    work: Coroutine[Any, Any, list[EnrichmentCompleted]], stopping: asyncio.Event
) -> list[EnrichmentCompleted] | None:
    """The run's rounds; None when somebody stopped it first."""
    running = asyncio.create_task(work)
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
    is_done = running.done()
    for task in (running, stopped):
        task.cancel()
    await asyncio.gather(running, stopped, return_exceptions=True)
    return running.result() if is_done else None


async def _run(
    wanted: Wanted, sources: Sources, options: RunOptions, producer: Producer, clock: Clock
) -> list[EnrichmentCompleted]:
    metrics = _metrics(options)

    def publish(events: Sequence[Event]) -> None:
        producer.publish_together(events)
        for event in events:
            if metrics is not None and isinstance(event, EnrichmentCompleted):
                metrics.record(event)

    with _progress(wanted) as tell:
        rounds = await Enrichment(sources.asked, publish, clock, sources.retries, tell).run(wanted, options.at_once)
    if metrics is not None and options.metrics_file is not None:
        metrics.write(options.metrics_file)
    return rounds


def _metrics(options: RunOptions) -> "EnrichmentMetrics | None":
    """The figures for Prometheus, if anybody wants them; served already where a port is given."""
    if options.metrics_file is None and not options.prometheus_port:
        return None
    try:
        from observer.cli.enrichment_metrics import EnrichmentMetrics
    except ImportError as error:
        raise ConfigError(f"{error}: figures for Prometheus need observer[sectors]") from error
    metrics = EnrichmentMetrics(options.metric_prefix)
    if options.prometheus_port:
        metrics.serve(options.prometheus_port)
    return metrics


@contextlib.contextmanager
def _progress(wanted: Wanted) -> Iterator[Tell]:
    """A bar for each region, on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars = {region: progress.add_task(region, total=len(each.due)) for region, each in wanted.items()}
        yield lambda region, dealt_with: progress.update(bars[region], advance=dealt_with)


def _tell_plan(wanted: Wanted, options: RunOptions) -> None:
    if options.as_json:
        plan = {region: {"due": len(each.due), "fresh": each.fresh} for region, each in wanted.items()}
        sys.stdout.write(msgspec.json.encode(plan).decode() + "\n")
        return
    for region, each in wanted.items():
        stocks = len(each.due) + each.fresh
        sys.stdout.write(f"{region}: {len(each.due):,} of {stocks:,} stocks would be asked for\n")
    sys.stdout.write(f"sources: {', '.join(options.sources)}\nnothing was asked or stored\n")


def _tell(rounds: Sequence[EnrichmentCompleted], options: RunOptions) -> None:
    if options.as_json:
        sys.stdout.write(msgspec.json.encode([msgspec.structs.asdict(done) for done in rounds]).decode() + "\n")
        return
    Console().print(rounds_table(rounds))
    for done in rounds:
        if done.detail:
            sys.stderr.write(f"observer: {done.region}: {done.detail}\n")
    if unanswered := sum(done.unanswered for done in rounds):
        sys.stderr.write(f"observer: {unanswered:,} stocks without a sure answer: the next run asks again\n")
    sys.stdout.write(f"report: {options.report}\n")
