"""`observer enrich learn`: what KIS's sector codes are worth, from master files and known sectors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec
from rich import box
from rich.table import Table

from observer.cli.sector_files import read_known, read_market
from observer.errors import DataFileError
from observer.providers.finance_database import KnownSector
from observer.providers.yahoo_symbols import yahoo_symbol
from observer.reference.sectors import Region, Security
from observer.reference.sectors_codes import NO_CODE, CodeTable, Example, cross_validate

CODED_REGIONS: Final[tuple[Region, ...]] = ("US", "HK", "CN", "JP", "VN")


class Learned(msgspec.Struct, frozen=True):
    """The table of one region, and how many stocks it has, how many of them with a code that is believed."""

    table: CodeTable
    stocks: int
    sure_stocks: int


def learned(masters: Path, known: Path, *, folds: int, rounds: int, seed: int) -> dict[Region, Learned]:
    """What the codes of all regions that have some are worth.

    Raises:
        DataFileError: a file cannot be read, or there is nothing to learn from.
    """
    markets = {region: read_market(masters, region).securities for region in CODED_REGIONS}
    examples = [
        example for region, market in markets.items() for example in _examples(market, read_known(known, region))
    ]
    if not examples:
        raise DataFileError(f"nothing to learn from: no stock of {masters} with a code has a sector in {known}")
    tables = cross_validate(examples, CODED_REGIONS, folds=folds, rounds=rounds, shuffle=Random(seed).shuffle)
    return {region: _learned(table, markets[region]) for region, table in tables.items()}


def _learned(table: CodeTable, market: Sequence[Security]) -> Learned:
    sure = {meaning.code for meaning in table.codes if meaning.is_sure}
    return Learned(table, len(market), sum(security.sector_code in sure for security in market))


def _examples(securities: Iterable[Security], known: Mapping[str, KnownSector]) -> list[Example]:
    examples = []
    for security in securities:
        symbol = yahoo_symbol(security)
        row = (known.get(symbol) if symbol else None) or known.get(security.symbol)
        if row is not None and row.sector is not None and security.sector_code not in NO_CODE:
            examples.append(Example(security.region, security.sector_code, row.sector))
    return examples


def learned_table(regions: Mapping[Region, Learned]) -> Table:
    """A line for each market: of the coded stocks that were held back, how many got a sector that is believed and how
    many of these the right one (in all rounds); and the share of all its stocks that have a sure code.
    """
    table = Table(title="sector codes, cross-validated", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("market", "stocks", "examples", "claimed", "right", "precision", "of coded", "of all"):
        table.add_column(name, justify="left" if name == "market" else "right")
    for region, learned_codes in regions.items():
        figures = learned_codes.table
        table.add_row(
            *(region, f"{learned_codes.stocks:,}", f"{figures.examples:,}", f"{figures.claimed:,}"),
            *(f"{figures.right:,}", _percent(figures.right, figures.claimed)),
            *(_percent(figures.claimed, figures.tried), _percent(learned_codes.sure_stocks, learned_codes.stocks)),
        )
    return table


def codes_table(tables: Mapping[Region, CodeTable]) -> Table:
    """A line for each code of each market."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("market", "code", "sector", "count", "purity", "confidence", "sure", "claimed", "right", "precision"):
        table.add_column(name, justify="left" if name in ("market", "code", "sector", "sure") else "right")
    for region, learned_codes in tables.items():
        for meaning in learned_codes.codes:
            table.add_row(
                *(region, meaning.code, meaning.sector, f"{meaning.count:,}"),
                *(f"{meaning.purity:.3f}", f"{meaning.confidence:.3f}", "yes" if meaning.is_sure else ""),
                *(f"{meaning.claimed:,}", f"{meaning.right:,}", _percent(meaning.right, meaning.claimed)),
            )
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
