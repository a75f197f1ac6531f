"""`observer enrich`: which sector every stock belongs to."""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bus.events import SectorAssigned
from observer.cli.here import ConfigOption, settings_here
from observer.cli.sector_files import read_tables, write_table
from observer.clock import kst_datetime
from observer.errors import ConfigError
from observer.providers import finance_database
from observer.reference.sectors import REGIONS, SECTOR_NAMES, SOURCES, Region, SectorSourceName
from observer.store.sectors import SectorReader

app = typer.Typer(help="Sectors: which of the eleven of GICS every stock belongs to.", no_args_is_help=True)

SNAPSHOT: Final = "finance_database.bz2"
TABLES: Final = Path("config/sectors")

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("run")
def run_command(
    config: ConfigOption = None,
    masters: Annotated[
        Path | None, typer.Option(help="Folder of master files, instead of the database's listings.")
    ] = None,
    tables: Annotated[Path, typer.Option(help="Folder of the tables of KIS's sector codes.")] = TABLES,
    snapshot: Annotated[Path | None, typer.Option(help="FinanceDatabase snapshot, see download.")] = None,
    regions: Annotated[str, typer.Option(help=f"ALL, or some of {','.join(REGIONS)}.")] = "ALL",
    sources: Annotated[str, typer.Option(help="Sources to ask, in their order.")] = ",".join(SOURCES),
    force_refresh: Annotated[
        bool, typer.Option("--force-refresh", help="Ask for all stocks, and forget the answers of the last 24 hours.")
    ] = False,
    incremental: Annotated[
        bool,
        typer.Option("--incremental/--full", help="Ask for stocks whose sector is absent or too old; or for all."),
    ] = True,
    max_age_days: Annotated[float, typer.Option(min=0, help="What counts as too old.")] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked for, and do nothing.")] = False,
    parallel: Annotated[bool, typer.Option("--parallel", help="Several regions at once.")] = False,
    max_workers: Annotated[int, typer.Option(min=1, max=10, help="How many of them.")] = 5,
    max_retries: Annotated[int, typer.Option(min=0, help="Attempts after a failed one.")] = 3,
    retry_delay: Annotated[float, typer.Option(min=0, help="Seconds before the first of them; then doubled.")] = 5.0,
    report: Annotated[Path | None, typer.Option(help="The report; else DATA/enrichment/report.txt.")] = None,
    metrics_file: Annotated[Path | None, typer.Option(help="Write the run's figures for Prometheus here.")] = None,
    prometheus_port: Annotated[int, typer.Option(help="Serve them on loopback while the run lasts; 0: no.")] = 0,
    metric_prefix: Annotated[str, typer.Option(help="observer, or spock for the requirement's names.")] = "observer",
    verbose: Annotated[bool, typer.Option("--verbose", help="Every step, retry and failure on stderr.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give every stock its sector, and store it with its source and how far that can be believed.

    KIS's own code where it is pure; then a FinanceDatabase snapshot; then Yahoo's
    screener, and single look-ups for what is left. Talks to the writer of the
    running system; without one it starts its own. A run that was stopped goes on
    where it was.

    Exit status 0; 1 when stocks stay unanswered because a source failed or had
    nothing to say; 130 after ctrl-C.
    """
    from observer.cli.enriching import RunOptions, enrich  # loads yfinance, when it is asked for

    if metric_prefix not in ("observer", "spock"):
        raise ConfigError(f"--metric-prefix {metric_prefix}: observer or spock")
    settings = settings_here(config)
    data = Path(settings.run.data)
    options = RunOptions(
        masters=masters,
        tables=tables,
        snapshot=snapshot or data / SNAPSHOT,
        regions=_regions(regions),
        sources=_sources(sources),
        force_refresh=force_refresh,
        max_age_days=None if force_refresh or not incremental else max_age_days,
        dry_run=dry_run,
        at_once=max_workers if parallel else 1,
        max_retries=max_retries,
        retry_delay_s=retry_delay,
        report=report or data / "enrichment" / "report.txt",
        metrics_file=metrics_file,
        prometheus_port=prometheus_port,
        metric_prefix="spock" if metric_prefix == "spock" else "observer",
        verbose=verbose,
        as_json=as_json,
    )
    status = asyncio.run(enrich(settings, options))
    if status:
        raise typer.Exit(status)


@app.command("learn")
def learn_command(
    masters: Annotated[Path, typer.Option(help="Folder of KIS's overseas master files.")],
    known: Annotated[Path, typer.Option(help="Known sectors: a folder of REGION.csv, or one file for all.")],
    out: Annotated[Path, typer.Option(help="Where the tables go.")] = TABLES,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="How often it is done, shuffled anew.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the shuffling.")] = 1,
    codes: Annotated[bool, typer.Option("--codes", help="Show every code, too.")] = False,
) -> None:
    """Learn what KIS's sector codes are worth, and print how often that is right of stocks that were held back."""
    from observer.cli.sector_learning import codes_table, learned, learned_table

    found = learned(masters, known, folds=folds, rounds=rounds, seed=seed)
    for region in found.values():
        write_table(out, region.table)
    console = Console()
    if codes:
        console.print(codes_table({region: each.table for region, each in found.items()}))
    console.print(learned_table(found))


@app.command("codes")
def codes_command(
    tables: Annotated[Path, typer.Option(help="Folder of the tables of KIS's sector codes.")] = TABLES,
    as_json: JsonOption = False,
) -> None:
    """Show what the sector codes are worth: purity, count and confidence of each, and its cross-validation."""
    from observer.cli.sector_learning import codes_table

    found = read_tables(tables)
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        Console().print(codes_table(found))


@app.command("download")
def download_command(
    config: ConfigOption = None,
    to: Annotated[Path | None, typer.Option(help=f"Where it goes; else DATA/{SNAPSHOT}.")] = None,
    url: Annotated[str, typer.Option(help="Where it is from.")] = finance_database.URL,
) -> None:
    """Download a FinanceDatabase snapshot (MIT license), once, and again when it is to be newer."""
    destination = to or Path(settings_here(config).run.data) / SNAPSHOT
    with Console(stderr=True).status(f"downloading {url}"):
        sectors = finance_database.download(destination, url)
    sys.stdout.write(f"{sum(sectors.values()):,} equities with a sector in {destination}\n")


@app.command("show")
def show_command(
    symbol: Annotated[str | None, typer.Argument(help="EXCHANGE:SYMBOL, NASD:AAPL say; without it, counts.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the sector of one stock, or how many stocks of each region are in each. Exit status 1: nothing is known."""
    with SectorReader(settings_here(config).store.url) as reader:
        if symbol is None:
            _show_counts(reader, as_json=as_json)
            return
        exchange, _, name = symbol.partition(":")
        assigned = reader.assignment(exchange, name)
    if assigned is None:
        sys.stderr.write(f"observer: nothing is known of {symbol}\n")
        raise typer.Exit(1)
    _show(assigned, as_json=as_json)


def _show(assigned: SectorAssigned, *, as_json: bool) -> None:
    """One stock's sector, with its other names."""
    name = next((known for known in SECTOR_NAMES.values() if known.sector == assigned.sector), None)
    if as_json:
        names = {"gics_code": name.gics_code if name else None, "korean": name.korean if name else None}
        sys.stdout.write(msgspec.json.encode(msgspec.structs.asdict(assigned) | names).decode() + "\n")
        return
    sector = f"{name.sector} ({name.korean}, {name.gics_code})" if name else "no sector is known"
    industry = f", {assigned.industry}" if assigned.industry else ""
    day = kst_datetime(assigned.assigned_ns).date().isoformat()
    believed = f"{assigned.source} said {assigned.said!r} on {day}, confidence {assigned.confidence:.2f}"
    sys.stdout.write(f"{assigned.exchange}:{assigned.symbol}  {sector}{industry}\n  {believed}\n")


def _show_counts(reader: SectorReader, *, as_json: bool) -> None:
    counts = {region: Counter(assigned.sector or "" for assigned in reader.assignments(region)) for region in REGIONS}
    rounds = sorted(reader.last_rounds(), key=lambda done: REGIONS.index(done.region))
    if as_json:
        sys.stdout.write(
            msgspec.json.encode(
                {"sectors": counts, "rounds": [msgspec.structs.asdict(done) for done in rounds]}
            ).decode()
            + "\n"
        )
        return
    from observer.cli.enrichment_report import rounds_table

    Console().print(_counts_table(counts))
    Console().print(rounds_table(rounds, "last rounds, stocks"))


def _counts_table(counts: dict[Region, Counter[str]]) -> Table:
    title = "stocks in each sector"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("sector")
    table.add_column("업종")
    for region in REGIONS:
        table.add_column(region, justify="right")
    for name in SECTOR_NAMES.values():
        table.add_row(name.sector, name.korean, *(f"{counts[region][name.sector]:,}" for region in REGIONS))
    table.add_row("unknown", "", *(f"{counts[region]['']:,}" for region in REGIONS))
    return table


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
