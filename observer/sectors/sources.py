"""Where sectors come from: one Protocol for all sources, and the nearest source, KIS's own code. No network here."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol

from observer.reference.sectors import SURE, Finding, Region, SectorSourceName, Security
from observer.reference.sectors_codes import NO_CODE, CodeTable

_UNSURE_MAX: Final = SURE - 0.01


class SectorSource(Protocol):
    """Somebody who knows sectors."""

    @property
    def name(self) -> SectorSourceName:
        """What its findings are marked with."""
        ...

    def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:
        """What it says of the securities that are wanted, in portions, each as soon as it is known.

        A security that does not come is one that it cannot tell anything of; one that it looked up and does not know
        comes without a sector.

        Raises:
            ProviderError: it does not answer; what came until then stands.
            DataFileError: its file cannot be read.
        """
        ...


class KisCodes:
    """KIS's sector codes, as far as they are worth something (`SectorSource`).

    An unsure code is told too, with its confidence: it is better than nothing while nobody else knows.
    """

    name: SectorSourceName = "kis_code"

    def __init__(self, tables: Mapping[Region, CodeTable]) -> None:
        self._tables = tables

    async def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:
        """All at once: nothing is asked of anybody."""
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
