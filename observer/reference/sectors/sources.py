"""The Protocol of all sector sources, and the simplest source: the broker's own code. No network."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol

from observer.reference.sectors.codes import NO_CODE, CodeTable
from observer.reference.sectors.model import SURE, Finding, Region, SectorSourceName, Security

_UNSURE_MAX: Final = SURE - 0.01


class SectorSource(Protocol):
    """A source of sectors."""

    @property
    def name(self) -> SectorSourceName:
        """The name of the source in its findings."""
        ...

    def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:
        """The findings for the wanted securities, in portions, each as soon as it is known.

        A security without an answer is absent; a security that the source looked up and does not know comes without a
        sector.

        Raises:
            ProviderError: it does not answer; what came until then stands.
            DataFileError: its file cannot be read.
        """
        ...


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
