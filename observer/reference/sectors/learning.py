"""`observer enrich learn`: learns the worth of the broker's sector codes from master files and known sectors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from observer.base.errors import DataFileError
from observer.reference.sectors.codes import NO_CODE, CodeTable, Example, cross_validate, judged_unseen
from observer.reference.sectors.files import read_known, read_market
from observer.reference.sectors.finance_database import KnownSector
from observer.reference.sectors.model import Region, Security
from observer.reference.sectors.yahoo_symbols import yahoo_symbol

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
    """The learned tables of all regions with codes.

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
