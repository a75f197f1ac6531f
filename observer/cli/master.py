"""`observer master`: changes to listings and master files, by the running system or by the command without one."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import click
from click.exceptions import Exit
from rich.console import Console

from bus.commands import Done, Refused, RunJob, UnderWay
from bus.events import Event, MasterFileChecked
from bus.outbox import Outbox, OutboxInUseError
from bus.producer import Producer, delivering
from observer.base.clock import Clock, clock_from_environment
from observer.base.errors import ConfigError, DataFileError, NoDataError, did_you_mean
from observer.base.settings import endpoints_of, is_reachable
from observer.brokers.accounts.clients import listing_files
from observer.brokers.broker import broker_named
from observer.cli.context import JsonOption, SettingsOption, market_time_ns, print_error
from observer.cli.frame import Answer
from observer.cli.master_queries import Region, local_files
from observer.cli.master_tables import change_line, counts_text, show_checks, show_dry_run, show_verified
from observer.cli.options import Argument, Option
from observer.cli.progress import bars_of_downloads
from observer.cli.system import ask_system
from observer.monitoring.alerts.process import Alerts
from observer.reference.listings.diff import difference
from observer.reference.listings.files import listings_in
from observer.reference.listings.jobs import PENDING, approval_of
from observer.reference.listings.model import EXCHANGES, REGIONS
from observer.reference.listings.sync import FORCE, Examined, MasterFiles
from observer.reference.listings.verification import verify_exchange
from observer.store.listings import ListingReader
from observer.store.owner import claim
from observer.store.reader import StoreReader
from observer.system.config import Settings
from observer.system.writer_process import writer_of

_WAIT_S: Final = 120.0  # machine seconds for an order to the running system
_POLL_S: Final = 0.2
_SETTLE_S: Final = 60.0
_NAME: Final = "master-command"

ExchangesOption = Annotated[list[str] | None, Option("--exchange", help=f"May be repeated: {', '.join(EXCHANGES)}.")]
ExchangeOption = Annotated[str, Option("--exchange", help=f"One of {', '.join(EXCHANGES)}.")]


def update(
    exchange: ExchangesOption = None,
    every: Annotated[bool, Option("--all", help="All exchanges of the configuration.")] = False,
    force: Annotated[bool, Option("--force", help="Download even what seems not to have changed.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would change, and change nothing.")] = False,
    *,
    settings: SettingsOption,
    as_json: JsonOption = False,
) -> None:
    """Check master files now, and apply their changes. The running system does it, or this command where none runs."""
    exchanges = _exchanges(settings, exchange, every=every)
    _require_broker(settings)
    console = Console(stderr=True, quiet=as_json)
    if dry_run:
        with _stated_once() as reasons:
            found = asyncio.run(_check(settings, exchanges, console, force=force))
            reasons += [each.outcome.reason for each in found]
        show_dry_run(found, as_json=as_json)
        return
    arguments = [*exchanges, *([FORCE] if force else [])]
    began_ns = market_time_ns(settings.run)
    with _stated_once() as reasons:
        _do(settings, "master_files", arguments, lambda sync: _check_all(sync, exchanges, console, force=force))
        checks = _wait_for_checks(settings, exchanges, began_ns, console)
        reasons += [check.reason for check in checks if check.outcome in ("pending", "failed")]
    show_checks(checks, "checked now", as_json=as_json)
    if missing := sorted({*exchanges} - {check.exchange for check in checks}):
        print_error(f"{', '.join(missing)}: no result within {_WAIT_S:.0f} s: see `observer master status`")
    if any(check.outcome in ("pending", "failed") for check in checks) or len(checks) < len(exchanges):
        raise Exit(1)


def approve(
    run: Annotated[str, Argument(help="The run, as `observer master status` names it.")],
    *,
    settings: SettingsOption,
) -> None:
    """Apply the changes of a run with pending approval. The running system does it, or this command where none runs."""
    click.echo(_do(settings, "master_approve", [run], lambda sync: sync.approve(run, EXCHANGES)))


def restore(exchange: ExchangeOption, settings: SettingsOption) -> None:
    """Restore the newest backup of an exchange's file.

    It is judged as any version before it is applied. The file in force becomes a backup. The next check downloads the
    host's version again where it differs. Exit status 1: many changes are held for approval, and the file in force
    stays until they are approved.
    """
    [name] = _exchanges(settings, [exchange], every=False)
    began_ns = market_time_ns(settings.run)
    _do(settings, "master_restore", [name], lambda sync: sync.restore(name))
    checks = _wait_for_checks(settings, [name], began_ns, Console(stderr=True))
    if not checks:
        raise NoDataError(f"{name}: no result within {_WAIT_S:.0f} s: see `observer master status`")
    [check] = checks
    if check.outcome == "pending":
        click.echo(f"{name}: held for approval: {check.reason}; {approval_of(check.run)}", err=True)
    else:
        click.echo(f"{name}: {check.reason}")
    if check.outcome in ("pending", "failed"):
        raise Exit(1)


def diff(
    exchange: ExchangeOption,
    old: Annotated[Path | None, Option(help="An unpacked file; without it the newest backup.")] = None,
    new_file: Annotated[Path | None, Option("--new", help="Another; without it the one in force.")] = None,
    *,
    settings: SettingsOption,
) -> Answer:
    """Show how two versions of an exchange's file differ. Prices and capitalisation are listed apart."""
    [name] = _exchanges(settings, [exchange], every=False)
    local = local_files(settings)
    before = old or next(iter(local.backups(name)), None)
    if before is None:
        raise ConfigError(f"{name} has no backup to compare with; name a file with --old")
    read = broker_named(settings.provider).listings
    known, listings = (listings_in(path, name, read) for path in (before, new_file or local.path(name)))
    changes = difference({listing.symbol: (listing, True) for listing in known}, listings)
    return Answer(changes, "\n".join([*map(change_line, changes), f"[{name}] {counts_text(changes)}"]))


def verify(
    region: Annotated[Region | None, Option(help="The region; default: every configured exchange.")] = None,
    *,
    settings: SettingsOption,
) -> Answer:
    """Compare the listings in the database with the files.

    All configured exchanges, or those of a region.

    Exit status 1: they differ.
    """
    exchanges = [each for each in settings.reference.exchanges if region is None or each in REGIONS[region]]
    if not exchanges:
        where = f" of {region}" if region else ""
        raise ConfigError(f"no exchange{where} is configured: name it in [reference] exchanges")
    local, broker = local_files(settings), broker_named(settings.provider)
    with ListingReader(settings.store.url) as reader:
        found = [verify_exchange(reader, local, broker, each) for each in exchanges]
    return Answer(found, lambda: show_verified(found), status=int(any(each.problems for each in found)))


@contextlib.contextmanager
def _stated_once() -> Iterator[list[str]]:
    """Log at the block's end what the checks logged within it, but for what has one of the reasons that the block
    appends: the table that follows states them.
    """
    loggers = [
        logging.getLogger(name) for name in ("observer.reference.listings.sync", "observer.monitoring.alerts.process")
    ]
    held: list[logging.LogRecord] = []
    reasons: list[str] = []

    def hold(record: logging.LogRecord) -> bool:
        held.append(record)
        return False

    for each in loggers:
        each.addFilter(hold)
    try:
        yield reasons
    finally:
        for each in loggers:
            each.removeFilter(hold)
        for record in held:
            if not any(reason and reason in record.getMessage() for reason in reasons):
                logging.getLogger(record.name).handle(record)


def _require_broker(settings: Settings) -> None:
    """Return unless the hosts of master files are those of a simulated broker that does not run.

    Raises:
        NoDataError: it does not.
    """
    if settings.simulator is not None and not is_reachable(settings.run):
        raise NoDataError("the simulated broker runs only while its system does: `observer demo` runs another day")


# --- doing ---------------------------------------------------------------------------------------------------


def _do(
    settings: Settings, job: str, arguments: Sequence[str], work: Callable[[MasterFiles], Awaitable[object]]
) -> str:
    """Run the order in the running system, or else here; return the result."""
    if is_reachable(settings.run):
        return _order(settings, job, arguments)
    return asyncio.run(_work(settings, work))


def _order(settings: Settings, job: str, arguments: Sequence[str]) -> str:
    """The reply of the running system's process that keeps the master files, or that the order is under way."""
    match ask_system(RunJob(job, list(arguments)), settings.run):
        case Done(_, detail) | UnderWay(detail):
            return detail
        case Refused(code, detail) if code == PENDING:
            return detail
        case Refused(code, message):
            raise ConfigError(f"{message} ({code})")
        case reply:
            raise ConfigError(f"an order was answered with {type(reply).__name__}")


async def _work(settings: Settings, work: Callable[[MasterFiles], Awaitable[object]]) -> str:
    async with working(settings, clock_from_environment()) as sync:
        found = await work(sync)
    return f"{found.exchange}: {found.outcome.reason}" if isinstance(found, Examined) else "done"


async def _check_all(sync: MasterFiles, exchanges: Sequence[str], console: Console, *, force: bool) -> None:
    with bars_of_downloads(console) as bars:
        await sync.check_all(exchanges, force=force, progress=bars)


async def _check(settings: Settings, exchanges: Sequence[str], console: Console, *, force: bool) -> Sequence[Examined]:
    async with looking(settings, clock_from_environment()) as sync:
        with bars_of_downloads(console) as bars:
            checks = (sync.examine(each, force=force, progress=bars(each)) for each in exchanges)
            found = await asyncio.gather(*checks)
    for each in found:
        if each.version is not None:
            each.version.path.unlink(missing_ok=True)
    return found


def _wait_for_checks(
    settings: Settings, exchanges: Sequence[str], began_ns: int, console: Console
) -> Sequence[MasterFileChecked]:
    """Wait for the first check of each exchange since then in the database; return the checks."""
    give_up_s = time.monotonic() + _WAIT_S
    with ListingReader(settings.store.url) as reader, console.status("waiting") as status:
        while True:
            checks = {check.exchange: check for check in reader.checks(began_ns) if check.exchange in exchanges}
            if len(checks) == len(exchanges) or time.monotonic() > give_up_s:
                return [checks[exchange] for exchange in exchanges if exchange in checks]
            status.update(f"{len(checks)} of {len(exchanges)} checked by the running system")
            time.sleep(_POLL_S)


def _exchanges(settings: Settings, named: Sequence[str] | None, *, every: bool) -> Sequence[str]:
    if every or not named:
        return settings.reference.exchanges
    upper = [name.upper() for name in named]
    if unknown := [name for name in upper if name not in settings.reference.exchanges]:
        near = did_you_mean(unknown[0], settings.reference.exchanges)
        raise ConfigError(f"no exchange is named {unknown[0]!r}{near}")
    return upper


class Unpublished:
    """Publishes nothing: for a check without changes."""

    def publish_together(self, events: Sequence[Event]) -> None:
        """Raises DataFileError: nothing may be published here."""
        raise DataFileError(f"{len(events)} events of a look that changes nothing")


@contextlib.asynccontextmanager
async def looking(settings: Settings, clock: Clock) -> AsyncIterator[MasterFiles]:
    """Open the master files for checks that publish nothing; a system may run meanwhile."""
    async with _sync(settings, clock, None) as sync:
        yield sync


@contextlib.asynccontextmanager
async def working(settings: Settings, clock: Clock) -> AsyncIterator[MasterFiles]:
    """Open the master files and the database without a running system, with a writer of this command.

    Raises:
        ConfigError: another command has them open.
    """
    copies = settings.backup.folder_of(settings.run)
    claim(settings.store.url, settings.instance, settings.providers, clock.now_ns(), copies=copies)
    folder = endpoints_of(settings.run).runtime_directory / "outbox" / _NAME
    async with writer_of(settings.store.url, settings.instance) as writer:
        try:
            outbox = Outbox(folder, _NAME, uuid.uuid4().hex, settings.backup.archive_limits)
        except OutboxInUseError as error:
            raise ConfigError("another `observer master` command is at work") from error
        async with delivering(outbox, writer.ingest_address) as producer:
            async with _sync(settings, clock, producer) as sync:
                yield sync
            await _settle(producer)


async def _settle(producer: Producer | None) -> None:
    if producer is not None and not await producer.drain(_SETTLE_S):
        raise ConfigError(f"{producer.unacknowledged} events are not committed; the next command delivers them")


@contextlib.asynccontextmanager
async def _sync(settings: Settings, clock: Clock, producer: Producer | None) -> AsyncIterator[MasterFiles]:
    broker = broker_named(settings.provider)

    async def settled() -> None:
        await _settle(producer)

    alerts = Alerts(clock, "master-file", producer.publish if producer else None, runtime=Path(settings.run.runtime))
    with StoreReader(settings.store.url) as reader:
        async with listing_files(broker, settings.broker) as files:
            yield MasterFiles(
                broker=broker,
                files=files,
                local=local_files(settings),
                reader=reader,
                publisher=producer or Unpublished(),
                settled=settled,
                clock=clock,
                alerts=alerts,
                settings=settings.reference,
            )
