"""`python -m tests.reference.sector_codes`: learns what the broker's sector codes are worth (config/sectors).

Confidence in a code is learned from securities with a known sector, and cross-validated. The broker gives the overseas
stocks 42 three-digit codes. A code is about one sector for some markets and a mixture for others, and its majority is
right for only four in five. So each code of each market gets its majority's *purity*, the number of securities behind
it, and a confidence, a careful estimate of the purity:

- The same code means much the same in other markets. Their securities speak too, but never louder than
  `_NEIGHBOURS_WEIGHT` securities of the market itself: so a market without any known sector (Vietnam) has a table.
- Where the other markets' majority is another sector the confidence is zero: the code reflects one vocabulary's habit
  (NASDAQ calls airlines Consumer Discretionary) rather than the sector.
- The confidence is the lower end of Wilson's interval, one standard error below what was seen: few securities cannot
  give much of it.

Weight, error and `SURE_CODE` were chosen by cross-validation on the files of 2025-06; the tables have its figures. It
is unkind to codes near the limit: they are claimed just when what speaks against them is held back.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from observer.base.errors import DataFileError
from observer.base.files import replace_file
from observer.reference.sectors.codes import NO_CODE, CodeMeaning, CodeTable
from observer.reference.sectors.files import stocks_in
from observer.reference.sectors.finance_database import KnownSector, read_known_sectors
from observer.reference.sectors.model import Region, Sector, Security
from observer.reference.sectors.options import TABLES
from observer.reference.sectors.yahoo_symbols import yahoo_symbol

CODED_REGIONS: Final[tuple[Region, ...]] = ("US", "HK", "CN", "JP", "VN")
SURE_CODE: Final = 0.915
PURITY_MIN: Final = 0.95  # what is claimed must have been true of the securities seen, too
_NEIGHBOURS_WEIGHT: Final = 20.0
_NEIGHBOURS_MIN: Final = 5  # fewer securities of other markets neither help nor contradict
_STANDARD_ERRORS: Final = 1.0


class Example(msgspec.Struct, frozen=True, gc=False):
    """A security with a code whose sector is known."""

    region: Region
    code: str
    sector: Sector


_Counts = Mapping[tuple[Region, str], Counter[Sector]]


def learn(examples: Iterable[Example], regions: Sequence[Region]) -> dict[Region, CodeTable]:
    """A table for each of these markets; a market without examples of its own uses those of the others."""
    counts = _counted(examples)
    codes = sorted({code for _, code in counts})
    return {
        region: CodeTable(region, tuple(m for code in codes if (m := _meaning(counts, region, code)) is not None))
        for region in regions
    }


def cross_validate(
    examples: Sequence[Example],
    regions: Sequence[Region],
    *,
    folds: int,
    rounds: int,
    shuffle: Callable[[list[int]], None],
) -> dict[Region, CodeTable]:
    """Tables learned from all examples, with the figures of a cross-validation in so many parts: each part is judged by
    tables that were learned from the others. `shuffle` assigns the examples to parts, again in each round.
    """
    claimed: Counter[tuple[Region, str]] = Counter()
    right: Counter[tuple[Region, str]] = Counter()
    order = list(range(len(examples)))
    for _ in range(rounds):
        shuffle(order)
        for fold in range(folds):
            held_back = order[fold::folds]
            behind = frozenset(held_back)
            tables = learn((example for number, example in enumerate(examples) if number not in behind), regions)
            _judge([examples[number] for number in held_back], tables, claimed, right)
    sizes = Counter(example.region for example in examples)
    return {
        region: _with_figures(table, sizes[region], rounds, claimed, right)
        for region, table in learn(examples, regions).items()
    }


def judged_unseen(examples: Sequence[Example], regions: Sequence[Region]) -> dict[Region, tuple[int, int]]:
    """By market with examples: the number of examples that would be claimed if the market had none, and the number of
    correct ones.

    A market without examples of its own uses those of the others and cannot be judged itself; this figure of the other
    markets is the best estimate for it.
    """
    claimed: Counter[tuple[Region, str]] = Counter()
    right: Counter[tuple[Region, str]] = Counter()
    own = {region: [example for example in examples if example.region == region] for region in regions}
    for region, held_back in own.items():
        others = (example for example in examples if example.region != region)
        _judge(held_back, learn(others, [region]), claimed, right)
    return {region: (_of(claimed, region), _of(right, region)) for region, held_back in own.items() if held_back}


def _judge(
    examples: Iterable[Example],
    tables: Mapping[Region, CodeTable],
    claimed: Counter[tuple[Region, str]],
    right: Counter[tuple[Region, str]],
) -> None:
    by_code = {(region, meaning.code): meaning for region, table in tables.items() for meaning in table.codes}
    for example in examples:
        place = (example.region, example.code)
        meaning = by_code.get(place)
        if meaning is not None and meaning.is_sure:
            claimed[place] += 1
            right[place] += meaning.sector == example.sector


def _with_figures(
    table: CodeTable,
    examples: int,
    rounds: int,
    claimed: Counter[tuple[Region, str]],
    right: Counter[tuple[Region, str]],
) -> CodeTable:
    codes = tuple(
        msgspec.structs.replace(
            meaning, claimed=claimed[table.region, meaning.code], right=right[table.region, meaning.code]
        )
        for meaning in table.codes
    )
    return CodeTable(
        table.region, codes, examples, examples * rounds, _of(claimed, table.region), _of(right, table.region)
    )


def _of(counters: Counter[tuple[Region, str]], region: Region) -> int:
    return sum(count for (place, _), count in counters.items() if place == region)


def _counted(examples: Iterable[Example]) -> dict[tuple[Region, str], Counter[Sector]]:
    counts: dict[tuple[Region, str], Counter[Sector]] = {}
    for example in examples:
        if example.code not in NO_CODE:
            counts.setdefault((example.region, example.code), Counter())[example.sector] += 1
    return counts


def _meaning(counts: _Counts, region: Region, code: str) -> CodeMeaning | None:
    own = counts.get((region, code), Counter())
    others: Counter[Sector] = Counter()
    for (elsewhere, same), sectors in counts.items():
        if same == code and elsewhere != region:
            others.update(sectors)
    voices = own or others
    if not voices:
        return None
    sector = _majority(voices)
    purity = voices[sector] / voices.total()
    confidence = _confidence(own, others, sector)
    is_sure = confidence >= SURE_CODE and (not own or purity >= PURITY_MIN)
    return CodeMeaning(code, sector, own.total(), round(purity, 4), round(confidence, 4), is_sure)


def _majority(sectors: Counter[Sector]) -> Sector:
    """The most frequent sector; of equally frequent ones the first by name."""
    return min(sectors, key=lambda sector: (-sectors[sector], sector))


def _confidence(own: Counter[Sector], others: Counter[Sector], sector: Sector) -> float:
    seen, agreeing = float(own.total()), float(own[sector])
    if others.total() >= _NEIGHBOURS_MIN:
        if _majority(others) != sector:
            return 0.0
        weight = min(_NEIGHBOURS_WEIGHT, others.total())
        seen += weight
        agreeing += weight * others[sector] / others.total()
    return wilson_lower(agreeing, seen)


def wilson_lower(agreeing: float, seen: float) -> float:
    """The lower end of Wilson's score interval for a share, one standard error wide; 0 when nothing was seen."""
    if not seen:
        return 0.0
    z = _STANDARD_ERRORS
    share = agreeing / seen
    spread = math.sqrt(share * (1 - share) / seen + z * z / (4 * seen * seen))
    return max(0.0, (share + z * z / (2 * seen) - z * spread) / (1 + z * z / seen))


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
    markets = {region: stocks_in(masters, region) for region in CODED_REGIONS}
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


def read_known(path: Path, region: Region) -> Mapping[str, KnownSector]:
    """The known sectors of a region: of `REGION.csv` in a folder (none without it), or of one file for all regions."""
    if not path.is_dir():
        return read_known_sectors(path)
    file = path / f"{region}.csv"
    return read_known_sectors(file) if file.exists() else {}


def write_table(folder: Path, table: CodeTable) -> Path:
    """Write a region's table, one line for each code, so that a diff is readable."""
    path = folder / f"{table.region}.json"
    head = msgspec.json.encode({key: value for key, value in msgspec.structs.asdict(table).items() if key != "codes"})
    codes = ",\n".join(f"  {msgspec.json.encode(meaning).decode()}" for meaning in table.codes)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, f'{head.decode().removesuffix("}")},"codes":[\n{codes}\n]}}\n'.encode())
    return path


def said_of(each: Learned) -> str:
    """A market's line. One without known sectors is judged as the others would be, had they none."""
    table = each.table
    sure = f"{each.sure_stocks:,} of {each.stocks:,} stocks have a sure code"
    if not table.examples:
        return f"{table.region}: unmeasured, as no sector is known there; {sure}"
    claimed = f"{table.claimed:,} of {table.tried:,} held back were claimed, {table.right:,} rightly"
    alone = f"by the other markets alone {each.unseen_claimed:,}, {each.unseen_right:,} rightly"
    return f"{table.region}: {claimed} ({_percent(table.right, table.claimed)}); {alone}; {sure}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn the tables, write them, and print how often they are right for stocks held back."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference.sector_codes")
    parser.add_argument("--masters", type=Path, required=True, help="folder of the broker's overseas master files")
    parser.add_argument("--known", type=Path, required=True, help="known sectors: a folder of REGION.csv, or one file")
    parser.add_argument("--out", type=Path, default=TABLES, help="where the tables go")
    parser.add_argument("--folds", type=int, default=10, help="parts of the cross-validation")
    parser.add_argument("--rounds", type=int, default=5, help="how often it is done, shuffled anew")
    parser.add_argument("--seed", type=int, default=1, help="seed of the shuffling")
    asked = parser.parse_args(arguments)
    for each in learned(asked.masters, asked.known, folds=asked.folds, rounds=asked.rounds, seed=asked.seed).values():
        write_table(asked.out, each.table)
        sys.stdout.write(f"{said_of(each)}\n")


if __name__ == "__main__":
    main()
