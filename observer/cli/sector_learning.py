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
from observer.reference.sectors_codes import NO_CODE, CodeTable, Example, cross_validate, judged_unseen

CODED_REGIONS: Final[tuple[Region, ...]] = ("US", "HK", "CN", "JP", "VN")


UNMEASURED: Final = "unmeasured"


class Learned(msgspec.Struct, frozen=True):
    """The table of one region, and how many stocks it has, how many of them with a code that is believed; and how many
    of its examples would be claimed, and how many rightly, if it had none (`judged_unseen`).
    """

    table: CodeTable
    stocks: int
    sure_stocks: int
    unseen_claimed: int
    unseen_right: int


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
    unseen = judged_unseen(examples, CODED_REGIONS)
    return {region: _learned(table, markets[region], *unseen.get(region, (0, 0))) for region, table in tables.items()}


def _learned(table: CodeTable, market: Sequence[Security], unseen_claimed: int, unseen_right: int) -> Learned:
    sure = {meaning.code for meaning in table.codes if meaning.is_sure}
    sure_stocks = sum(security.sector_code in sure for security in market)
    return Learned(table, len(market), sure_stocks, unseen_claimed, unseen_right)


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
    many of these the right one (in all rounds); and the share of all its stocks that have a sure code. Below it, what
    is to be thought of a market whose codes nothing is known to judge by.
    """
    caption = _unmeasured_caption(regions)
    title = "sector codes, cross-validated"
    table = Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("market", "stocks", "examples", "claimed", "right", "precision", "of coded", "of all"):
        table.add_column(name, justify="left" if name == "market" else "right")
    for region, learned_codes in regions.items():
        figures = learned_codes.table
        table.add_row(
            *(region, f"{learned_codes.stocks:,}", f"{figures.examples:,}", f"{figures.claimed:,}"),
            *(f"{figures.right:,}", _precision(figures, figures.right, figures.claimed)),
            *(_percent(figures.claimed, figures.tried), _percent(learned_codes.sure_stocks, learned_codes.stocks)),
        )
    return table


def _unmeasured_caption(regions: Mapping[Region, Learned]) -> str:
    unmeasured = ", ".join(region for region, each in regions.items() if not each.table.examples)
    if not unmeasured:
        return ""
    claimed = sum(each.unseen_claimed for each in regions.values())
    right = sum(each.unseen_right for each in regions.values())
    return (
        f"{unmeasured}: {UNMEASURED}, as no sector is known there to judge by: its codes are believed where all other"
        f" markets agree. Each of the others judged in that way, as if nothing were known of it: {claimed:,} claimed,"
        f" {right:,} right, {_percent(right, claimed)}."
    )


def codes_table(tables: Mapping[Region, CodeTable]) -> Table:
    """A line for each code of each market; `right of` is of the held back ones that were claimed."""
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for name in ("market", "code", "sector", "count", "purity", "conf.", "sure", "right of", "precision"):
        table.add_column(name, justify="left" if name in ("market", "code", "sector") else "right", no_wrap=True)
    for region, learned_codes in tables.items():
        for meaning in learned_codes.codes:
            table.add_row(
                *(region, meaning.code, meaning.sector, f"{meaning.count:,}", f"{meaning.purity:.3f}"),
                *(f"{meaning.confidence:.3f}", "yes" if meaning.is_sure else ""),
                f"{meaning.right:,}/{meaning.claimed:,}" if meaning.claimed else "",
                _precision(learned_codes, meaning.right, meaning.claimed),
            )
    return table


def _precision(table: CodeTable, right: int, claimed: int) -> str:
    return _percent(right, claimed) if table.examples else UNMEASURED


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
