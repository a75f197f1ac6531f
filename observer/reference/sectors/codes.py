"""What the broker's sector codes are worth, and the simplest source: these codes. No network.

The tables of `config/sectors` are learned and cross-validated by `python -m tests.reference.sector_codes`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import msgspec

from observer.reference.sectors.model import SURE, Finding, Region, Sector, SectorSourceName, Security

NO_CODE: Final = frozenset({"", "000"})
_UNSURE_MAX: Final = SURE - 0.01


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


class KisCodes:
    """Findings from the broker's sector codes, where a code has some worth (`SectorSource`).

    It returns unsure codes too, with their confidence: they are the fallback when no other source knows the stock.
    """

    name: SectorSourceName = "sector_code"

    def __init__(self, tables: Mapping[Region, CodeTable]) -> None:
        self._tables = tables

    async def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:
        """All findings at once, without a request."""
        found = [finding for security in wanted if (finding := self._finding(region, security)) is not None]
        if found:
            yield found

    def _finding(self, region: Region, security: Security) -> Finding | None:
        table = self._tables.get(region)
        if table is None or security.sector_code in NO_CODE:
            return None
        meaning = table.meaning(security.sector_code)
        if meaning is None:
            return None
        confidence = meaning.confidence if meaning.is_sure else min(meaning.confidence, _UNSURE_MAX)
        return Finding(security, self.name, meaning.sector, confidence, security.sector_code)
