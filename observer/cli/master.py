"""`observer master`: what the exchanges' master files say, how they were looked at, and what waits for a person."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from bus.events import MasterFileChecked
from observer.cli import master_rounds, master_tradable
from observer.cli.here import ConfigOption, market_time_ns, settings_here
from observer.cli.master_progress import bars_of_downloads
from observer.cli.master_tables import (
    ExchangeStatus,
    JsonOption,
    counts_text,
    print_json,
    show_checks,
    show_dry_run,
    show_lifetime,
    show_new,
    show_status,
    show_verified,
)
from observer.cli.master_texts import change_line
from observer.cli.master_verification import verify_exchange
from observer.clock import NS_PER_S, Clock, clock_from_environment, kst_ns
from observer.config import Settings, is_reachable
from observer.errors import ConfigError
from observer.masters.rounds import FORCE, Examined, MasterFiles
from observer.providers.kis.listings import parse_listings
from observer.reference.changes import Change, difference
from observer.reference.exchanges import EXCHANGES, REGIONS, region_of
from observer.store.listings import ListingReader

_WAIT_S: Final = 120.0  # machine seconds for what the running system does by order
_LOOK_S: Final = 0.2
_DAY_NS: Final = 86_400 * NS_PER_S

app = typer.Typer(
    help="Master files: what is listed, what changed, and what waits for a person's approval.", no_args_is_help=True
)

ExchangesOption = Annotated[
    list[str] | None, typer.Option("--exchange", help=f"May be repeated: {', '.join(EXCHANGES)}.")
]
ExchangeOption = Annotated[str, typer.Option("--exchange", help=f"One of {', '.join(EXCHANGES)}.")]


@app.command()
def update(
    exchange: ExchangesOption = None,
    every: Annotated[bool, typer.Option("--all", help="All exchanges of the configuration.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Download even what seems not to have changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at master files now, and take in what changed: by the running system, or by this command where none runs."""
    settings = settings_here(config)
    exchanges = _exchanges(settings, exchange, every=every)
    console = Console(stderr=True, quiet=as_json)
    if dry_run:
        show_dry_run(asyncio.run(_look(settings, exchanges, console, force=force)), as_json=as_json)
        return
    arguments = [*exchanges, *([FORCE] if force else [])]
    began_ns = market_time_ns(settings)
    _do(settings, "master_files", arguments, lambda rounds: _check_all(rounds, exchanges, console, force=force))
    checks = _wait_for_checks(settings, exchanges, began_ns, console)
    show_checks(checks, "looked at now", as_json=as_json)
    if any(check.verdict in ("held", "failed") for check in checks) or len(checks) < len(exchanges):
        raise typer.Exit(1)


@app.command()
def approve(
    run: Annotated[str, typer.Argument(help="The run that waits, as `observer master status` names it.")],
    config: ConfigOption = None,
) -> None:
    """Apply what a held run would change: by the running system, or by this command where none runs."""
    settings = settings_here(config)
    typer.echo(_do(settings, "master_approve", [run], lambda rounds: rounds.approve(run, EXCHANGES)))


@app.command()
def restore(exchange: ExchangeOption, config: ConfigOption = None) -> None:
    """Put the newest backup of an exchange's file in force again, and take in what it says, judged as any version.

    The next look downloads the host's version again where it differs.
    """
    settings = settings_here(config)
    [name] = _exchanges(settings, [exchange], every=False)
    typer.echo(_do(settings, "master_restore", [name], lambda rounds: rounds.restore(name)))


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show each exchange: what is listed, the file, the last look at it, and what waits for approval."""
    settings = settings_here(config)
    show_status(_status(settings), as_json=as_json)


@app.command()
def history(
    days: Annotated[int, typer.Option(min=1, help="How many days back.")] = 30,
    exchange: Annotated[str | None, typer.Option(help="One exchange alone.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the looks at master files of the last days, newest first."""
    settings = settings_here(config)
    with ListingReader(settings.store.url) as reader:
        checks = reader.checks(market_time_ns(settings) - days * _DAY_NS, exchange)
    show_checks(checks, "the last day" if days == 1 else f"the last {days} days", as_json=as_json)


@app.command()
def lifetime(
    symbol: Annotated[str, typer.Argument(help="The symbol: 005930 or AAPL, say.")],
    exchange: Annotated[str | None, typer.Option(help="On one exchange alone.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that became of a symbol: listed, changed and from what to what, removed, relisted, renamed."""
    settings = settings_here(config)
    with ListingReader(settings.store.url) as reader:
        found = reader.lifetime(symbol, exchange)
    if not found:
        raise ConfigError(f"no listing {symbol} was ever seen{f' on {exchange}' if exchange else ''}")
    show_lifetime(found, as_json=as_json)


@app.command()
def new(
    since: Annotated[str, typer.Option(help="A Korean date: 2026-11-01, say.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was newly listed since a day; not the listings of an exchange's first file."""
    settings, since_ns = settings_here(config), kst_ns(_day(since))
    with ListingReader(settings.store.url) as reader:
        found = reader.new_listings(since_ns)
    show_new(found, since, as_json=as_json)


app.command()(master_tradable.tradable)


@app.command()
def diff(
    exchange: ExchangeOption,
    old: Annotated[Path | None, typer.Option(help="An unpacked file; without it the newest backup.")] = None,
    new_file: Annotated[Path | None, typer.Option("--new", help="Another; without it the one in force.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how two versions of an exchange's file differ; prices and capitalisation apart."""
    settings = settings_here(config)
    [name] = _exchanges(settings, [exchange], every=False)
    local = master_rounds.local_files(settings)
    before = old or next(iter(local.backups(name)), None)
    if before is None:
        raise ConfigError(f"{name} has no backup to compare with; name a file with --old")
    changes = _difference(name, _content(before), _content(new_file or local.path(name)))
    if as_json:
        print_json(changes)
        return
    for change in changes:
        typer.echo(change_line(change))
    typer.echo(f"[{name}] {counts_text(changes)}")


@app.command()
def verify(
    region: Annotated[str, typer.Option(help=f"One of {', '.join(REGIONS)}.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a region's listings in the database with the files in force; status 1 where they differ."""
    settings = settings_here(config)
    if region not in REGIONS:
        raise ConfigError(f"no region {region!r}; there are {', '.join(REGIONS)}")
    local = master_rounds.local_files(settings)
    with ListingReader(settings.store.url) as reader:
        found = [verify_exchange(reader, local, each) for each in REGIONS[region]]
    if as_json:
        print_json(found)
    else:
        show_verified(found)
    if any(each.problems for each in found):
        raise typer.Exit(1)


# --- doing ---------------------------------------------------------------------------------------------------


def _do(
    settings: Settings, job: str, arguments: Sequence[str], work: Callable[[MasterFiles], Awaitable[object]]
) -> str:
    """By the running system, or else here; what came of it."""
    if is_reachable(settings.run):
        return asyncio.run(master_rounds.order(settings, job, arguments))
    return asyncio.run(_work(settings, work))


async def _work(settings: Settings, work: Callable[[MasterFiles], Awaitable[object]]) -> str:
    async with master_rounds.working(settings, _clock()) as rounds:
        found = await work(rounds)
    return f"{found.exchange}: {found.verdict.reason}" if isinstance(found, Examined) else "done"


def _clock() -> Clock:
    return clock_from_environment()


async def _check_all(rounds: MasterFiles, exchanges: Sequence[str], console: Console, *, force: bool) -> None:
    with bars_of_downloads(console) as bars:
        await rounds.check_all(exchanges, force=force, progress=bars)


async def _look(settings: Settings, exchanges: Sequence[str], console: Console, *, force: bool) -> Sequence[Examined]:
    async with master_rounds.looking(settings, _clock()) as rounds:
        with bars_of_downloads(console) as bars:
            looks = (rounds.examine(each, force=force, progress=bars(each)) for each in exchanges)
            found = await asyncio.gather(*looks)
    for each in found:
        if each.version is not None:
            each.version.unlink(missing_ok=True)
    return found


def _wait_for_checks(
    settings: Settings, exchanges: Sequence[str], began_ns: int, console: Console
) -> Sequence[MasterFileChecked]:
    """The first look at each exchange since then, as they come into the database."""
    give_up_s = time.monotonic() + _WAIT_S
    with ListingReader(settings.store.url) as reader, console.status("waiting") as status:
        while True:
            checks = {check.exchange: check for check in reader.checks(began_ns) if check.exchange in exchanges}
            if len(checks) == len(exchanges) or time.monotonic() > give_up_s:
                return [checks[exchange] for exchange in exchanges if exchange in checks]
            status.update(f"{len(checks)} of {len(exchanges)} looked at by the running system")
            time.sleep(_LOOK_S)


def _exchanges(settings: Settings, named: Sequence[str] | None, *, every: bool) -> Sequence[str]:
    if every or not named:
        return settings.reference.exchanges
    upper = [name.upper() for name in named]
    if unknown := [name for name in upper if name not in settings.reference.exchanges]:
        raise ConfigError(f"no exchange {', '.join(unknown)}; there are {', '.join(settings.reference.exchanges)}")
    return upper


def _status(settings: Settings) -> Sequence[ExchangeStatus]:
    local = master_rounds.local_files(settings)
    with ListingReader(settings.store.url) as reader:
        counts = {each.exchange: each for each in reader.counts()}
        checks = {each.exchange: each for each in reader.last_checks()}
    rows = []
    for exchange in settings.reference.exchanges:
        copy, count, path = local.copy(exchange), counts.get(exchange), local.path(exchange)
        rows.append(
            ExchangeStatus(
                exchange=exchange,
                region=region_of(exchange),
                listed=count.active if count else 0,
                gone=count.inactive if count else 0,
                file_bytes=path.stat().st_size if path.exists() else None,
                downloaded_ns=copy.downloaded_ns if copy else None,
                backups=len(local.backups(exchange)),
                last_check=checks.get(exchange),
                waits=local.held(exchange),
            )
        )
    return rows


def _difference(exchange: str, before: bytes, after: bytes) -> Sequence[Change]:
    known = {listing.symbol: (listing, True) for listing in parse_listings(exchange, before)[0]}
    return difference(known, parse_listings(exchange, after)[0])


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a date like 2026-11-18") from error
