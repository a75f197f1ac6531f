"""What the broker's sector codes mean in each market, and how far each is trusted. Pure.

The tables are learned and cross-validated by `python -m tests.realdata.sector_codes`, which says how.
"""

from typing import Final

import msgspec

from observer.reference.sectors.model import Region, Sector

NO_CODE: Final = frozenset({"", "000"})


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
