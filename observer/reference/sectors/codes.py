"""Confidence in a broker's sector codes: learned from securities with a known sector, and cross-validated. Pure.

The broker gives the overseas stocks 42 three-digit codes. A code is about one sector for
some markets and a mixture for others, and its majority is right for only four in five. So each code of each market
gets its majority's *purity*, the number of securities behind it, and a confidence, a careful estimate of the purity:

- The same code means much the same in other markets. Their securities speak too, but never louder than
  `_NEIGHBOURS_WEIGHT` securities of the market itself: so a market without any known sector (Vietnam) has a table.
- Where the other markets' majority is another sector the confidence is zero: the code reflects one vocabulary's habit
  (NASDAQ calls airlines Consumer Discretionary) rather than the sector.
- The confidence is the lower end of Wilson's interval, one standard error below what was seen: few securities cannot
  give much of it.

Weight, error and `SURE_CODE` were chosen by cross-validation on the files of 2025-06; the tables have its figures. It
is unkind to codes near the limit: they are claimed just when what speaks against them is held back.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from observer.reference.sectors.model import Region, Sector

SURE_CODE: Final = 0.915
PURITY_MIN: Final = 0.95  # what is claimed must have been true of the securities seen, too
NO_CODE: Final = frozenset({"", "000"})
_NEIGHBOURS_WEIGHT: Final = 20.0
_NEIGHBOURS_MIN: Final = 5  # fewer securities of other markets neither help nor contradict
_STANDARD_ERRORS: Final = 1.0


class Example(msgspec.Struct, frozen=True, gc=False):
    """A security with a code whose sector is known."""

    region: Region
    code: str
    sector: Sector


class CodeMeaning(msgspec.Struct, frozen=True):
    """The meaning of one code of one market: the sector of the majority, the number of securities (`count`), and the
    share of the majority (`purity`).

    `is_sure` states whether the code is trusted. `claimed` and `right` are of the cross-validation: the number of
    held-back securities that got this code's sector as a sure one, and the number for which it was correct.
    """

    code: str
    sector: Sector
    count: int
    purity: float
    confidence: float
    is_sure: bool
    claimed: int = 0
    right: int = 0


class CodeTable(msgspec.Struct, frozen=True):
    """The codes of one market, learned from so many `examples` (a code and a known sector), and how that did in
    cross-validation: of so many that were `tried` so many were claimed, and so many of these rightly.
    """

    region: Region
    codes: tuple[CodeMeaning, ...]
    examples: int = 0
    tried: int = 0
    claimed: int = 0
    right: int = 0

    def meaning(self, code: str) -> CodeMeaning | None:
        """The meaning of a code in this market; None for an unknown code."""
        return next((meaning for meaning in self.codes if meaning.code == code), None)


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
