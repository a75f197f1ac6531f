"""`observer master tradable`: what can be traded in a region, and who says so."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Annotated, Final

import typer
from rich.console import Console

from observer.cli.here import ConfigOption, settings_here
from observer.cli.master_tables import JsonOption, print_json, table_of
from observer.clock import Clock, clock_from_environment
from observer.config import Settings
from observer.errors import ConfigError
from observer.masters.tradable import BROKER, TradableAtBroker, TradableInDatabase
from observer.reference.exchanges import REGIONS, traded_in
from observer.reference.tradable import SecuritySource, TradableAnswer, first_answer
from observer.store.listings import ListingReader

_PROCESS: Final = "master-command"


def tradable(
    region: Annotated[str, typer.Option(help=f"One of {', '.join(REGIONS)}.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what can be traded in a region: listed, not suspended, neither index nor warrant nor right to subscribe.

    The database tells it. Of an exchange whose master file never came the broker is asked, symbol by symbol, about
    those that are known from elsewhere; status 1 where nobody knows.
    """
    settings = settings_here(config)
    if region not in REGIONS:
        raise ConfigError(f"no region {region!r}; there are {', '.join(REGIONS)}")
    with ListingReader(settings.store.url) as reader, Console(stderr=True).status("asking"):
        answers = asyncio.run(answers_of(settings, clock_from_environment(), reader, traded_in(region)))
    if as_json:
        print_json(answers)
    else:
        _show(answers)
    if not all(answer.source for answer in answers):
        raise typer.Exit(1)


async def answers_of(
    settings: Settings, clock: Clock, reader: ListingReader, exchanges: Sequence[str]
) -> Sequence[TradableAnswer]:
    """Of each exchange, from the database or else from the first account that can be asked."""
    sources = (TradableInDatabase(reader), TradableAtBroker(reader, lambda: _connected(settings, clock)))
    return [await first_answer(exchange, sources) for exchange in exchanges]


@contextlib.asynccontextmanager
async def _connected(settings: Settings, clock: Clock) -> AsyncIterator[SecuritySource]:
    """The first usable account that has a token; this command issues none, that is the running system's to do.

    Raises:
        ConfigError: no account has keys and a token.
    """
    from observer.brokers import Brokers

    brokers = Brokers(settings, clock, Random(os.getpid()), _PROCESS)
    account = next((account for account in brokers.usable() if account.has_valid_token()), None)
    if account is None:
        raise ConfigError("no account has a valid token: `observer run` gets one")
    async with account.securities() as securities:
        yield securities


def _show(answers: Sequence[TradableAnswer]) -> None:
    found = [each for answer in answers for each in answer.securities]
    abroad = any(each.english_name for each in found)  # no file of Korea has one
    table = table_of("", "exchange", "symbol", "name", *(("english name",) if abroad else ()), "currency", "type")
    for each in found:
        names = (each.name, each.english_name) if abroad else (each.name,)
        table.add_row(each.exchange, each.symbol, *names, each.currency, each.security_type or each.group)
    if table.row_count:
        Console().print(table)
    for answer in answers:
        typer.echo(_summary(answer))


def _summary(answer: TradableAnswer) -> str:
    count = f"{len(answer.securities):,}"
    if answer.source == BROKER:
        return f"{answer.exchange}: {count} of those known from elsewhere, told by the broker; no file of it ever came"
    if answer.source:
        return f"{answer.exchange}: {count}, told by the {answer.source}"
    return f"{answer.exchange}: nobody knows ({answer.reason})"
