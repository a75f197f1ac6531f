"""`observer master`: stored listings and checks of master files. Reads the database and the files."""

import asyncio
import contextlib
import csv
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Final, Literal

import click
import msgspec
from click.exceptions import Exit

from observer.base.clock import Clock, clock_from_environment
from observer.base.errors import ConfigError, NoDataError
from observer.base.text import csv_cell
from observer.cli.context import (
    ConfigOption,
    JsonOption,
    base_settings,
    full_settings,
    print_error,
    print_json,
)
from observer.cli.master_tables import (
    ExchangeStatus,
    show_status,
)
from observer.cli.options import Option
from observer.cli.tables import Table, show
from observer.reference.listings.files import FOLDER, LocalFiles
from observer.reference.listings.model import (
    SecuritySource,
    Tradable,
    TradableAnswer,
    first_answer,
    region_of,
    traded_in,
)
from observer.reference.listings.tradable import BROKER, TradableAtBroker, TradableInDatabase
from observer.store.listings import ListingReader

if TYPE_CHECKING:  # imports the settings of all packages, for a query to a broker
    from observer.system.config import Settings

_PROCESS: Final = "master-command"
_NEVER_CHECKED: Final = "no master file was ever checked: `observer master update` downloads and checks them"

Region = Literal["KR", "US", "HK", "CN", "JP", "VN"]
RegionOption = Annotated[Region, Option(help="The region.")]


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show each exchange: listings, file, last check. Also show runs with pending approval."""
    settings = full_settings(config)
    rows = _status(settings)
    if all(row.last_check is None and row.file_bytes is None for row in rows):
        raise NoDataError(_NEVER_CHECKED)
    show_status(rows, as_json=as_json)


def tradable(
    region: RegionOption,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, Option("--csv", help="Print CSV: a header, then a line for each security.")] = False,
) -> None:
    """Show the securities of a region that can be traded.

    Those are listed, not suspended, and neither index nor warrant nor right to subscribe, as the database says. For an
    exchange without a stored master file the broker is asked, symbol by symbol, about those that are known from
    elsewhere. Exit status 1: an exchange has no answer.
    """
    settings = base_settings(config)
    with ListingReader(settings.store.url) as reader:
        answers = asyncio.run(
            answers_of(lambda: full_settings(config), clock_from_environment(), reader, traded_in(region))
        )
    if not any(answer.source for answer in answers):
        raise NoDataError("; ".join(map(_summary, answers)))
    if as_json:
        print_json(answers)
    elif as_csv:
        _write_csv(answers)
    else:
        _show(answers)
    if not all(answer.source for answer in answers):
        raise Exit(1)


async def answers_of(
    settings: "Callable[[], Settings]", clock: Clock, reader: ListingReader, exchanges: Sequence[str]
) -> Sequence[TradableAnswer]:
    """Each exchange's answer, from the database or else from the first usable account."""
    sources = (TradableInDatabase(reader), TradableAtBroker(reader, lambda: _connected(settings(), clock)))
    return [await first_answer(exchange, sources) for exchange in exchanges]


@contextlib.asynccontextmanager
async def _connected(settings: "Settings", clock: Clock) -> AsyncIterator[SecuritySource]:
    """The first usable account that has a token; this command issues none, the running system does.

    Raises:
        ConfigError: no account has keys and a token.
    """
    from observer.brokers.accounts.clients import Brokers

    brokers = Brokers(settings.clients, clock, Random(os.getpid()), _PROCESS)
    account = next((account for account in brokers.usable("securities") if account.has_valid_token()), None)
    if account is None:
        raise ConfigError("no account has a valid token: `observer run` gets one")
    async with account.rest() as securities:
        yield securities


def _show(answers: Sequence[TradableAnswer]) -> None:
    found = [each for answer in answers for each in answer.securities]
    rows: list[Sequence[str]]
    if any(each.english_name for each in found):  # no file of Korea has one
        columns: Sequence[str] = ("exchange", "symbol", "name", "english name", "currency", "type")
        rows = [(e.exchange, e.symbol, e.name, e.english_name, e.currency, e.security_type or e.group) for e in found]
    else:
        columns = ("exchange", "symbol", "name", "currency", "type")
        rows = [(e.exchange, e.symbol, e.name, e.currency, e.security_type or e.group) for e in found]
    if rows:
        show(Table(columns, rows, folded=("name", "english name")))
    for answer in answers:
        click.echo(_summary(answer))


def _write_csv(answers: Sequence[TradableAnswer]) -> None:
    """Write the fields of `Tradable`, quoted as RFC 4180 says; exchanges without an answer go to stderr."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(Tradable.__struct_fields__)
    for answer in answers:
        writer.writerows(map(csv_cell, msgspec.structs.astuple(each)) for each in answer.securities)
        if not answer.source:
            print_error(_summary(answer))


def _summary(answer: TradableAnswer) -> str:
    count = f"{len(answer.securities):,}"
    if answer.source == BROKER:
        return f"{answer.exchange}: {count} of those known from elsewhere, from the broker; no master file is stored"
    if answer.source:
        return f"{answer.exchange}: {count}, from the {answer.source}"
    return f"{answer.exchange}: unknown ({answer.reason})"


def local_files(settings: "Settings") -> LocalFiles:
    """The master files on this machine's disk."""
    return LocalFiles(Path(settings.run.data) / FOLDER, settings.reference.backups_kept)


def _status(settings: "Settings") -> Sequence[ExchangeStatus]:
    exchanges, local = settings.reference.exchanges, local_files(settings)
    with ListingReader(settings.store.url) as reader:
        counts = {each.exchange: each for each in reader.counts()}
        checks = {each.exchange: each for each in reader.last_checks()}
    rows = []
    for exchange in exchanges:
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
                waits=local.pending(exchange),
            )
        )
    return rows
