"""`observer enrich`: assigns a sector to every stock."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import click
import msgspec
from click.exceptions import Exit

from bus.endpoints import Address
from bus.events import EnrichmentCompleted, SectorAssigned
from observer.archive.settings import load_backup_settings
from observer.base.clock import clock_from_environment
from observer.base.errors import ConfigError, NoDataError
from observer.base.local_time import local_datetime
from observer.base.settings import BaseSettings, endpoints_of, is_reachable
from observer.cli.context import (
    BaseOption,
    ConfigOption,
    as_maps,
    base_settings,
    configuration_path,
    print_error,
)
from observer.cli.frame import Answer
from observer.cli.options import Argument, Option
from observer.cli.tables import Table, show
from observer.reference.sectors import finance_database
from observer.reference.sectors.model import REGIONS, SECTOR_NAMES, SOURCES, Region, SectorSourceName
from observer.reference.sectors.options import OUTBOX, SNAPSHOT, TABLES, EnrichmentOptions
from observer.reference.sectors.report import rounds_rows
from observer.store.sectors import SectorReader

if TYPE_CHECKING:
    from observer.reference.sectors.enrichment import ReportProgress
    from observer.reference.sectors.run import Wanted


def run_command(
    config: ConfigOption = None,
    masters: Annotated[Path | None, Option(help="Folder of master files, instead of the database's listings.")] = None,
    tables: Annotated[Path, Option(help="Folder of the tables of the broker's sector codes.")] = TABLES,
    snapshot: Annotated[Path | None, Option(help="FinanceDatabase snapshot, see download.")] = None,
    regions: Annotated[str, Option(help=f"ALL, or some of {','.join(REGIONS)}.")] = "ALL",
    sources: Annotated[str, Option(help="Sources to ask, in their order.")] = ", ".join(SOURCES),
    force_refresh: Annotated[
        bool, Option("--force-refresh", help="Ask for all stocks, and forget the answers of the last 24 hours.")
    ] = False,
    incremental: Annotated[
        bool,
        Option("--incremental/--full", help="Ask for stocks whose sector is absent or too old; or for all."),
    ] = True,
    max_age_days: Annotated[float, Option(min=0, help="What counts as too old.")] = 30.0,
    dry_run: Annotated[bool, Option("--dry-run", help="Say what would be asked for, and do nothing.")] = False,
    parallel: Annotated[bool, Option("--parallel", help="Look up several regions at once.")] = False,
    max_workers: Annotated[int, Option(min=1, max=10, help="Number of regions at once.")] = 5,
    max_retries: Annotated[int, Option(min=0, help="Attempts after a failed one.")] = 3,
    retry_delay: Annotated[float, Option(min=0, help="Seconds before the first retry; then doubled.")] = 5.0,
    report: Annotated[Path | None, Option(help="File of the report; default: DATA/enrichment/report.txt.")] = None,
    metrics_file: Annotated[Path | None, Option(help="Write the run's figures for Prometheus here.")] = None,
    prometheus_port: Annotated[int, Option(help="Serve the run's figures on loopback while it lasts; 0: no.")] = 0,
    metric_prefix: Annotated[Literal["observer", "spock"], Option(help="spock: the requirement's names.")] = "observer",
    verbose: Annotated[bool, Option("--verbose", help="Print every step, retry and failure to stderr.")] = False,
) -> Answer:
    """Assign a sector to every stock. Each is stored with its source and its confidence.

    The sources: the broker's own code where it is pure; then a FinanceDatabase snapshot; then Yahoo's screener, and
    single look-ups for what is left. The writer of the running system stores the sectors; without one the command
    starts its own. A run that was stopped goes on where it was.

    Exit status 0; 1 when stocks stay unanswered because a source failed or had
    nothing to say; 130 after ctrl-C.
    """
    settings = base_settings(config)
    options = EnrichmentOptions(
        url=settings.store.url,
        data=Path(settings.run.data),
        outbox=Path(settings.run.runtime) / "outbox" / OUTBOX,
        archive_limits=load_backup_settings(configuration_path(config)).archive_limits,
        masters=masters,
        tables=tables,
        snapshot=snapshot,
        regions=_regions(regions),
        sources=_sources(sources),
        force_refresh=force_refresh,
        max_age_days=None if force_refresh or not incremental else max_age_days,
        at_once=max_workers if parallel else 1,
        max_retries=max_retries,
        retry_delay_s=retry_delay,
        report=report,
        metrics_file=metrics_file,
        prometheus_port=prometheus_port,
        metric_prefix=metric_prefix,
        verbose=verbose,
    )
    return _run(settings, options, dry_run=dry_run)


def _run(settings: BaseSettings, options: EnrichmentOptions, *, dry_run: bool) -> Answer:
    from observer.reference.sectors import run  # imports the sources; Yahoo's is heavy

    run.log_to_stderr(options)
    if dry_run:
        return _plan(run.wanted_stocks(options, clock_from_environment()), options)
    if not is_reachable(settings.run):
        from observer.store.owner import migrate_own

        migrate_own(settings.store.url, settings.instance)
    rounds = asyncio.run(run.enrich(options, ingest_of(settings), _bars))
    status = run.exit_status(rounds)
    if rounds is None:
        raise Exit(status)
    return Answer(as_maps(rounds), partial(_show_run, rounds, options), status)


@contextlib.asynccontextmanager
async def ingest_of(settings: BaseSettings) -> AsyncIterator[Address]:
    """The ingest socket of the running system, or of this command's own writer without one."""
    if is_reachable(settings.run):
        yield endpoints_of(settings.run).ingest
        return
    from observer.system.writer_process import writer_of

    async with writer_of(settings.store.url, settings.instance) as writer:
        yield writer.ingest_address


@contextlib.contextmanager
def _bars(wanted: "Wanted") -> Iterator["ReportProgress"]:
    """A bar for each region, on a terminal."""
    from observer.cli.progress import counting

    with counting() as progress:
        bars = {region: progress.add_task(region, total=len(each.due)) for region, each in wanted.items()}
        yield lambda region, done: progress.update(bars[region], advance=done)


def _plan(wanted: "Wanted", options: EnrichmentOptions) -> Answer:
    lines = [
        f"{region}: {len(each.due):,} of {len(each.due) + each.fresh:,} stocks would be asked for"
        for region, each in wanted.items()
    ]
    lines += [f"sources: {', '.join(options.sources)}", "nothing was asked or stored"]
    due = {region: {"due": len(each.due), "fresh": each.fresh} for region, each in wanted.items()}
    return Answer(due, "\n".join(lines))


def _show_run(rounds: Sequence[EnrichmentCompleted], options: EnrichmentOptions) -> None:
    _show_rounds(rounds, "stocks")
    for done in rounds:
        if done.detail:
            print_error(f"{done.region}: {done.detail}")
    if unanswered := sum(done.unanswered for done in rounds):
        print_error(f"{unanswered:,} stocks without a sure answer: the next `observer enrich run` asks again")
    sys.stdout.write(f"report: {options.report_path}\n")


def _show_rounds(rounds: Sequence[EnrichmentCompleted], title: str) -> None:
    columns, *rows = rounds_rows(rounds)
    show(Table(columns, rows, title, right=columns[1:]))


def download_command(
    config: ConfigOption = None,
    to: Annotated[Path | None, Option(help=f"Where it goes; else DATA/{SNAPSHOT}.")] = None,
    url: Annotated[str, Option(help="Where it is from.")] = finance_database.URL,
) -> None:
    """Download a FinanceDatabase snapshot (MIT license). Run it again for a newer one."""
    destination = to or Path(base_settings(config).run.data) / SNAPSHOT
    from rich.console import Console

    with Console(stderr=True).status(f"downloading {url}"):
        sectors = finance_database.download(destination, url)
    sys.stdout.write(f"{sum(sectors.values()):,} equities with a sector in {destination}\n")


def show_command(
    symbol: Annotated[str | None, Argument(help="EXCHANGE:SYMBOL, such as NASD:AAPL; without it, counts.")] = None,
    *,
    settings: BaseOption,
) -> Answer:
    """Show the sector of a stock, or counts by sector and region. Exit status 1: no sector is stored."""
    with SectorReader(settings.store.url) as reader:
        if symbol is None:
            return _counts(reader)
        exchange, _, name = symbol.partition(":")
        if not name:
            raise ConfigError(f"{symbol} names no exchange: give EXCHANGE:SYMBOL, NASD:AAPL say")
        assigned = reader.assignment(exchange, name)
    if assigned is None:
        raise NoDataError(f"no sector is stored for {symbol}: `observer enrich run` assigns them")
    return _assignment(assigned)


def _assignment(assigned: SectorAssigned) -> Answer:
    """One stock's sector, with its other names."""
    name = next((known for known in SECTOR_NAMES.values() if known.sector == assigned.sector), None)
    names = {"gics_code": name.gics_code if name else None, "korean": name.korean if name else None}
    sector = f"{name.sector} ({name.korean}, {name.gics_code})" if name else "no sector is known"
    industry = f", {assigned.industry}" if assigned.industry else ""
    day = local_datetime(assigned.assigned_ns).date().isoformat()
    believed = f"{assigned.source} said {assigned.said!r} on {day}, confidence {assigned.confidence:.2f}"
    shown = f"{assigned.exchange}:{assigned.symbol}  {sector}{industry}\n  {believed}"
    return Answer(msgspec.structs.asdict(assigned) | names, shown)


def _counts(reader: SectorReader) -> Answer:
    counts = {region: Counter(assigned.sector or "" for assigned in reader.assignments(region)) for region in REGIONS}
    rounds = sorted(reader.last_rounds(), key=lambda done: REGIONS.index(done.region))
    if not rounds and not any(counts.values()):
        raise NoDataError("no sector is stored: `observer enrich run` assigns them")

    def shown() -> None:
        show(_counts_table(counts))
        click.echo()
        _show_rounds(rounds, "last rounds, stocks")

    return Answer({"sectors": counts, "rounds": as_maps(rounds)}, shown)


def _counts_table(counts: Mapping[Region, Counter[str]]) -> Table:
    named = [(name.sector, name.korean, name.sector) for name in SECTOR_NAMES.values()]
    rows = [
        (shown, korean, *(f"{counts[region][sector]:,}" for region in REGIONS))
        for shown, korean, sector in (*named, ("unknown", "", ""))
    ]
    return Table(("sector", "업종", *REGIONS), rows, "stocks in each sector", right=REGIONS)


def _regions(text: str) -> tuple[Region, ...]:
    if text.upper() == "ALL":
        return REGIONS
    wanted = [word.strip().upper() for word in text.split(",")]
    if unknown := [word for word in wanted if word not in REGIONS]:
        raise ConfigError(f"--regions {', '.join(unknown)}: give ALL, or some of {', '.join(REGIONS)}")
    return tuple(region for region in REGIONS if region in wanted)


def _sources(text: str) -> tuple[SectorSourceName, ...]:
    wanted = [word.strip() for word in text.split(",")]
    if unknown := [word for word in wanted if word not in SOURCES]:
        raise ConfigError(f"--sources {', '.join(unknown)}: give some of {', '.join(SOURCES)}")
    return tuple(source for source in SOURCES if source in wanted)
