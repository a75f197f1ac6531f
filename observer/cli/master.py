"""`observer master`: what the exchanges' master files say, how they were looked at, and what waits for a person."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bus.events import ListingChanged, MasterFileChecked
from observer.cli import master_rounds
from observer.cli.here import ConfigOption, market_time_ns, settings_here
from observer.cli.master_texts import change_line, change_text, moment_text
from observer.cli.master_verification import Verified, verify_exchange
from observer.clock import NS_PER_S, Clock, clock_from_environment, kst_ns
from observer.config import Settings, is_reachable
from observer.errors import ConfigError
from observer.masters.local import Held
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

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
ExchangesOption = Annotated[
    list[str] | None, typer.Option("--exchange", help=f"May be repeated: {', '.join(EXCHANGES)}.")
]
ExchangeOption = Annotated[str, typer.Option("--exchange", help=f"One of {', '.join(EXCHANGES)}.")]


class ExchangeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange's row of `observer master status`. Times are UTC nanoseconds."""

    exchange: str
    region: str
    listed: int
    gone: int
    file_bytes: int | None
    downloaded_ns: int | None
    backups: int
    last_check: MasterFileChecked | None
    waits: Held | None


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
    if dry_run:
        _show_dry_run(asyncio.run(_look(settings, exchanges, force=force)), as_json=as_json)
        return
    arguments = [*exchanges, *([FORCE] if force else [])]
    began_ns = market_time_ns(settings)
    _do(settings, "master_files", arguments, lambda rounds: rounds.check_all(exchanges, force=force))
    checks = _wait_for_checks(settings, exchanges, began_ns)
    _show_checks(checks, "looked at now", as_json=as_json)
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
    rows = _status(settings)
    if as_json:
        _print_json(rows)
        return
    table = _table("", "exchange", "region", "listed", "gone", "file", "downloaded", "backups", "last look", "verdict")
    for row in rows:
        check = row.last_check
        table.add_row(
            *(row.exchange, row.region, f"{row.listed:,}", f"{row.gone:,}"),
            *("" if row.file_bytes is None else f"{row.file_bytes:,}", moment_text(row.downloaded_ns)),
            *(str(row.backups), moment_text(check.checked_ns if check else None)),
            f"{check.verdict}: {check.reason}" if check else "never looked at",
        )
    Console().print(table)
    for row in rows:
        if row.waits is not None:
            typer.echo(f"waits: {row.waits.reason}. To apply it: observer master approve {row.waits.run}")


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
    _show_checks(checks, f"the last {days} days", as_json=as_json)


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
    _show_changes(found, symbol, as_json=as_json)


@app.command()
def new(
    since: Annotated[str, typer.Option(help="A Korean date: 2026-11-01, say.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was newly listed since a day; not the listings of an exchange's first file."""
    settings = settings_here(config)
    with ListingReader(settings.store.url) as reader:
        found = reader.new_listings(kst_ns(_day(since)))
    _show_changes(found, f"new since {since}", as_json=as_json)


@app.command()
def tradable(
    region: Annotated[str, typer.Option(help=f"One of {', '.join(REGIONS)}.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what can be traded in a region: listed, not suspended, neither index nor warrant. No broker is asked."""
    settings = settings_here(config)
    if region not in REGIONS:
        raise ConfigError(f"no region {region!r}; there are {', '.join(REGIONS)}")
    with ListingReader(settings.store.url) as reader:
        found = reader.tradable(region)
    if as_json:
        _print_json(found)
        return
    table = _table(f"{len(found):,} in {region}", "exchange", "symbol", "name", "english name", "currency", "type")
    for each in found:
        kind = each.security_type or each.group
        table.add_row(each.exchange, each.symbol, each.name, each.english_name, each.currency, kind)
    Console().print(table)


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
        _print_json(changes)
        return
    for change in changes:
        typer.echo(change_line(change))
    typer.echo(f"[{name}] {_counts(changes)}")


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
        _print_json(found)
    else:
        Console().print(_verified_table(found))
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


async def _look(settings: Settings, exchanges: Sequence[str], *, force: bool) -> Sequence[Examined]:
    async with master_rounds.looking(settings, _clock()) as rounds:
        found = await asyncio.gather(*(rounds.examine(exchange, force=force) for exchange in exchanges))
    for each in found:
        if each.version is not None:
            each.version.unlink(missing_ok=True)
    return found


def _wait_for_checks(settings: Settings, exchanges: Sequence[str], began_ns: int) -> Sequence[MasterFileChecked]:
    """The first look at each exchange since then, as they come into the database."""
    give_up_s = time.monotonic() + _WAIT_S
    with ListingReader(settings.store.url) as reader:
        while True:
            checks = {check.exchange: check for check in reader.checks(began_ns) if check.exchange in exchanges}
            if len(checks) == len(exchanges) or time.monotonic() > give_up_s:
                return [checks[exchange] for exchange in exchanges if exchange in checks]
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


# --- showing -------------------------------------------------------------------------------------------------


def _show_dry_run(found: Sequence[Examined], *, as_json: bool) -> None:
    """The lines that the requirement shows (000, 12.3)."""
    if as_json:
        _print_json([{"exchange": each.exchange, "verdict": each.verdict, "changes": each.changes} for each in found])
        return
    for each in found:
        typer.echo(f"[{each.exchange}] DRY RUN MODE - No actual database updates")
        for change in each.changes:
            typer.echo(f"{change_line(change)} (DRY RUN)")
        typer.echo(f"[{each.exchange}] {each.verdict.decision}: {each.verdict.reason}; {_counts(each.changes)}")
        typer.echo(f"[{each.exchange}] DRY RUN - Changes rolled back")


def _show_checks(checks: Sequence[MasterFileChecked], title: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(checks)
        return
    table = _table(title, "exchange", "when", "run", "verdict", "records", "bad", "new", "changed", "removed", "values")
    for check in checks:
        numbers = (check.records, check.quarantined, check.new, check.changed, check.removed, check.revalued)
        table.add_row(
            *(check.exchange, moment_text(check.checked_ns), check.run, f"{check.verdict}: {check.reason}"),
            *(f"{number:,}" for number in numbers),
        )
    Console().print(table)


def _show_changes(changes: Sequence[ListingChanged], title: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(changes)
        return
    table = _table(title, "when", "exchange", "symbol", "name", "change", "what")
    for change in changes:
        table.add_row(
            *(moment_text(change.changed_ns), change.exchange, change.symbol, change.name, change.change),
            change_text(change),
        )
    Console().print(table)


def _verified_table(found: Sequence[Verified]) -> Table:
    table = _table("", "exchange", "in the file", "listed", "missing", "surplus", "different", "incomplete", "verdict")
    for each in found:
        numbers = (each.stated, each.listed, each.missing, each.surplus, each.different, each.incomplete)
        verdict = "; ".join(each.problems) or "the same"
        table.add_row(each.exchange, *(f"{number:,}" for number in numbers), verdict)
    return table


def _counts(changes: Sequence[Change]) -> str:
    kinds = [change.kind for change in changes]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("new", "changed", "removed", "relisted"))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column)
    return table


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.encode(msgspec.to_builtins(value)).decode())
