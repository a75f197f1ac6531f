"""FinanceDatabase (JerBouma/FinanceDatabase, MIT): a file of 120,000 equities with sectors that approximate GICS.

The user downloads it once (`observer enrich download`) and again for a newer one; the product contains no part of it.
It names securities as Yahoo does. The parser reads three columns of a record:

    symbol,name,summary,currency,sector,industry_group,industry,exchange,market,country,...
    0004.HK,Wharf (Holdings) Limited,...,HKD,Real Estate,Real Estate,Real Estate Management & Development,HKG,...
"""

import bz2
import csv
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

import httpx
import msgspec

from observer.base.errors import BadRequestError, DataFileError, TransportError
from observer.base.files import to_disk
from observer.base.text import plain_text
from observer.reference.sectors.model import (
    Finding,
    Region,
    Sector,
    SectorSourceName,
    Security,
    sector_in,
    vocabulary_of,
)
from observer.reference.sectors.yahoo_symbols import yahoo_symbol

URL: Final = "https://raw.githubusercontent.com/JerBouma/FinanceDatabase/main/compression/equities.bz2"
# Its sectors are GICS's by name and made by its keepers, not by MSCI: declared, for nothing is there to measure it by.
CONFIDENCE: Final = 0.92
_COLUMNS: Final = ("symbol", "sector")
_FIELD_CHARACTERS_MAX: Final = 1_000_000  # a company's summary is a field, too
_FILE_BYTES_MAX: Final = 100_000_000  # packed; a real one has a fifth of it
_UNPACKED_LETTERS_MAX: Final = 1_000_000_000
_ROWS_MAX: Final = 1_000_000  # with a sector; a real file has 120,000
_WORD_LENGTH_MAX: Final = 200
_DOWNLOAD_TIMEOUT_S: Final = 60.0
_AS_IT_IS: Final = {"accept-encoding": "identity"}


class KnownSector(msgspec.Struct, frozen=True, gc=False):
    """A security's sector in such a file: in the file's word and in ours."""

    symbol: str
    said: str
    sector: Sector | None
    industry: str


def read_known_sectors(path: Path) -> dict[str, KnownSector]:
    """The securities of a file (`.csv`, or `.bz2` of one) that have a sector, by symbol, whatever vocabulary it uses.

    Raises:
        DataFileError: it is not there, or not such a file, or its sectors are of no vocabulary we know.
    """
    rows = list(islice(_rows(path), _ROWS_MAX + 1))
    if len(rows) > _ROWS_MAX:
        raise DataFileError(f"{path} has more than {_ROWS_MAX:,} rows: it is no file of known sectors")
    vocabulary = vocabulary_of(sector for _, sector, _ in rows)
    return {symbol: KnownSector(symbol, said, sector_in(vocabulary, said), industry) for symbol, said, industry in rows}


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Symbol, sector and industry of each row that has the first two."""
    try:
        with _opened(path) as text:
            csv.field_size_limit(_FIELD_CHARACTERS_MAX)
            reader = csv.DictReader(_lines(text))
            absent = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise DataFileError(f"{path} has no column {' or '.join(absent)}: it is no file of known sectors")
            for row in reader:
                if row["symbol"] and row["sector"]:
                    yield _words(row["symbol"]), _words(row["sector"]), _words(row.get("industry") or "")
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataFileError(f"cannot read {path}: {error}") from error


def _opened(path: Path) -> TextIO:
    if path.suffix == ".bz2":
        return bz2.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _lines(text: TextIO) -> Iterator[str]:
    """The file's lines; a longer one than any comes in parts. Raises csv.Error when the file does not end."""
    letters = 0
    while line := text.readline(_FIELD_CHARACTERS_MAX):
        letters += len(line)
        if letters > _UNPACKED_LETTERS_MAX:
            raise csv.Error(f"more than {_UNPACKED_LETTERS_MAX:,} letters unpacked")
        yield line


def _words(text: str) -> str:
    """A name without control characters; what is longer than any is cut."""
    return plain_text(text[:_WORD_LENGTH_MAX]).strip()


class FinanceDatabase:
    """A snapshot as a `SectorSource`; the first query reads the file."""

    name: SectorSourceName = "finance_database"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: Mapping[str, KnownSector] | None = None

    async def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:  # noqa: ARG002 - as the Protocol
        """All at once; the file holds every region.

        Raises:
            DataFileError: see `read_known_sectors`.
        """
        if self._known is None:
            self._known = read_known_sectors(self._path)
        found = [finding for security in wanted if (finding := self._finding(security, self._known)) is not None]
        if found:
            yield found

    def _finding(self, security: Security, known: Mapping[str, KnownSector]) -> Finding | None:
        symbol = yahoo_symbol(security)
        row = known.get(symbol) if symbol else None
        if row is None or row.sector is None:
            return None
        return Finding(security, self.name, row.sector, CONFIDENCE, row.said, row.industry)


def download(destination: Path, url: str = URL) -> Mapping[Sector, int]:
    """Fetch a snapshot; what is there is replaced only by a file that can be read. Returns its securities by sector.

    Raises:
        TransportError: no answer, or not all of it.
        BadRequestError: the address is none.
        DataFileError: what came is no such file.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f"partial-{destination.name}")
    try:
        _fetch(url, partial)
        known = read_known_sectors(partial)
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    return Counter(row.sector for row in known.values() if row.sector is not None)


def _fetch(url: str, destination: Path) -> None:
    try:
        with (
            httpx.stream("GET", url, timeout=_DOWNLOAD_TIMEOUT_S, headers=_AS_IT_IS) as response,
            destination.open("wb") as file,
        ):
            if response.status_code != httpx.codes.OK:
                raise BadRequestError(f"{url} answers {response.status_code}", code=str(response.status_code))
            for portion in response.iter_raw():
                file.write(portion)
                if file.tell() > _FILE_BYTES_MAX:
                    raise DataFileError(f"{url} does not end: more than {_FILE_BYTES_MAX:,} bytes")
            to_disk(file)
    except httpx.TransportError as error:
        raise TransportError(f"{url}: {type(error).__name__} {error}".strip()) from error
