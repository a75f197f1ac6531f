"""One run of the enrichment: which stocks are due, the sources, the producer, the report."""

import asyncio
import contextlib
import logging
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bus.endpoints import Address
from bus.events import EnrichmentCompleted, Event
from bus.outbox import Outbox, OutboxInUseError
from bus.producer import Producer, delivering
from observer.base.clock import Clock, clock_from_environment
from observer.base.errors import ConfigError, StoreError
from observer.base.extras import install_command
from observer.base.files import replace_file
from observer.base.signals import stopping_on_signals
from observer.reference.sectors.answer_cache import AnswerCache
from observer.reference.sectors.codes import KisCodes
from observer.reference.sectors.enrichment import Enrichment, ReportProgress, Share, share_of
from observer.reference.sectors.files import read_tables, stocks_in
from observer.reference.sectors.finance_database import FinanceDatabase
from observer.reference.sectors.model import Region, SectorSource
from observer.reference.sectors.options import OUTBOX, EnrichmentOptions
from observer.reference.sectors.report import report_text
from observer.store.sectors import SectorReader

if TYPE_CHECKING:
    from observer.reference.sectors.metrics import EnrichmentMetrics

logger = logging.getLogger(__name__)

UNANSWERED: Final = 1
INTERRUPTED: Final = 130  # a shell's exit status of a program that SIGINT ended
_DRAIN_S: Final = 60.0
_YAHOO: Final = frozenset({"yahoo_screener", "yahoo_profile"})

Wanted = dict[Region, Share]
ShowsProgress = Callable[[Wanted], AbstractContextManager[ReportProgress]]
"""Shows how many of the stocks that are due are done, while the block runs."""


def no_progress(wanted: Wanted) -> AbstractContextManager[ReportProgress]:
    """Show nothing."""
    del wanted
    return contextlib.nullcontext(lambda _region, _number: None)


class Sources(msgspec.Struct, frozen=True):
    """The sources in their order, with the counts of requests to Yahoo and of retried calls."""

    asked: tuple[SectorSource, ...]
    requests: Callable[[], int]
    retries: Callable[[], int]


def log_to_stderr(options: EnrichmentOptions) -> None:
    """Log there: with `verbose` every step, retry and failure."""
    logging.basicConfig(level=logging.INFO if options.verbose else logging.ERROR, stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # each migration of a new database is no news of sectors


async def enrich(
    options: EnrichmentOptions,
    ingest: AbstractAsyncContextManager[Address],
    progress: ShowsProgress = no_progress,
) -> Sequence[EnrichmentCompleted] | None:
    """Assign sectors until all stocks are done; one round for each region, or None when a signal stopped it.

    The database has the current schema. `ingest` gives the writer's socket; it is entered when there is something to
    store.

    Raises:
        ConfigError: none of the regions has stocks, or another run is under way, or a source needs
            what is not installed.
        ObserverError: a file or the database cannot be read.
    """
    clock = clock_from_environment()
    wanted = wanted_stocks(options, clock)
    sources = open_sources(options, clock)
    stopping = asyncio.Event()
    with stopping_on_signals(stopping):
        async with ingest as address, _producing(options, address) as producer:
            rounds = await _until_stopped(_run(wanted, sources, options, producer, clock, progress), stopping)
    if rounds is not None:
        options.report_path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(options.report_path, report_text(rounds, sources.requests()).encode())
    return rounds


def exit_status(rounds: Sequence[EnrichmentCompleted] | None) -> int:
    """0; 1 when stocks stay unanswered, 130 after a signal."""
    if rounds is None:
        return INTERRUPTED
    return UNANSWERED if any(done.unanswered for done in rounds) else 0


def wanted_stocks(options: EnrichmentOptions, clock: Clock) -> Wanted:
    """The work for each region that has stocks.

    Raises:
        ConfigError: none has.
        StoreError: there is no database, or it cannot be read.
    """
    wanted: Wanted = {}
    with SectorReader(options.url) as reader:
        cut_short = {done.region for done in reader.last_rounds() if done.unanswered}
        for region in options.regions:
            securities = reader.stocks(region) if options.masters is None else stocks_in(options.masters, region)
            if securities:
                wanted[region] = share_of(
                    securities,
                    reader.assignments(region),
                    clock.now_ns(),
                    options.max_age_days,
                    was_whole=region not in cut_short,
                )
    if not wanted:
        regions = ", ".join(options.regions)
        where = options.masters or "the database"
        raise ConfigError(f"{where} has no stocks of {regions}: update the master files, or give --masters FOLDER")
    return wanted


def open_sources(options: EnrichmentOptions, clock: Clock) -> Sources:
    """The requested sources, in their order.

    Raises:
        ConfigError: one needs what is not installed, or a file that is not there.
        DataFileError: a table of codes cannot be read.
    """
    asked: list[SectorSource] = []
    if "sector_code" in options.sources:
        asked.append(KisCodes(read_tables(options.tables)))
    if "finance_database" in options.sources:
        if options.snapshot_path.exists():
            asked.append(FinanceDatabase(options.snapshot_path))
        else:
            logger.error("no FinanceDatabase snapshot %s: `observer enrich download` fetches it", options.snapshot_path)
    if not _YAHOO & set(options.sources):
        return Sources(tuple(asked), lambda: 0, lambda: 0)
    return _with_yahoo(asked, options.data / "enrichment", options, clock)


def _with_yahoo(asked: list[SectorSource], folder: Path, options: EnrichmentOptions, clock: Clock) -> Sources:
    try:
        from observer.reference.sectors.yahoo import YahooClient, YahooSettings
        from observer.reference.sectors.yahoo_sources import YahooProfiles, YahooScreener
    except ImportError as error:
        remedy = f"{install_command('sectors')}, or leave Yahoo out with --sources sector_code,finance_database"
        text = f"{error}: {remedy}"
        raise ConfigError(text) from error
    asking = YahooSettings(
        retries_max=options.max_retries, retry_delay_s=options.retry_delay_s, address=options.yahoo_address
    )
    client = YahooClient(clock, Random(), asking, folder / "cookies")  # jitter needs no repeatable seed
    cache = AnswerCache(folder / "answers.jsonl", clock.now_ns())
    if options.force_refresh:
        cache.clear()
    if "yahoo_screener" in options.sources:
        asked.append(YahooScreener(client, cache, clock))
    if "yahoo_profile" in options.sources:
        asked.append(YahooProfiles(client, cache, clock))
    return Sources(tuple(asked), lambda: client.requests, lambda: client.retries)


@contextlib.asynccontextmanager
async def _producing(options: EnrichmentOptions, ingest: Address) -> AsyncIterator[Producer]:
    """A producer whose events are all committed at its end.

    Raises:
        ConfigError: another run is under way.
        StoreError: the writer did not commit what was published; it stays in the outbox for the next run.
    """
    try:
        outbox = Outbox(options.outbox, OUTBOX, uuid.uuid4().hex, options.archive_limits)
    except OutboxInUseError as error:
        raise ConfigError("another `observer enrich run` is under way") from error
    async with delivering(outbox, ingest) as producer:
        yield producer
        if not await producer.drain(_DRAIN_S):
            raise StoreError(f"{producer.unacknowledged} events are not committed; the next run delivers them")


async def _until_stopped(
    work: Coroutine[Any, Any, list[EnrichmentCompleted]], stopping: asyncio.Event
) -> list[EnrichmentCompleted] | None:
    """The run's rounds; None after a stop by signal."""
    running = asyncio.create_task(work)
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
    is_done = running.done()
    for task in (running, stopped):
        task.cancel()
    await asyncio.gather(running, stopped, return_exceptions=True)
    return running.result() if is_done else None


async def _run(
    wanted: Wanted,
    sources: Sources,
    options: EnrichmentOptions,
    producer: Producer,
    clock: Clock,
    progress: ShowsProgress,
) -> list[EnrichmentCompleted]:
    metrics = _metrics(options)

    def publish(events: Sequence[Event]) -> None:
        producer.publish_together(events)
        for event in events:
            if metrics is not None and isinstance(event, EnrichmentCompleted):
                metrics.record(event)

    with progress(wanted) as report:
        rounds = await Enrichment(sources.asked, publish, clock, sources.retries, report).run(wanted, options.at_once)
    if metrics is not None and options.metrics_file is not None:
        metrics.write(options.metrics_file)
    return rounds


def _metrics(options: EnrichmentOptions) -> "EnrichmentMetrics | None":
    """The Prometheus metrics, if configured; with a port, already served."""
    if options.metrics_file is None and not options.prometheus_port:
        return None
    from observer.reference.sectors.metrics import EnrichmentMetrics

    metrics = EnrichmentMetrics(options.metric_prefix)
    if options.prometheus_port:
        metrics.serve(options.prometheus_port)
    return metrics
