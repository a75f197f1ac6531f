"""The files that the enrichment reads and writes: master files, tables of codes, known sectors, the report."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from observer.errors import DataFileError
from observer.files import replace_file
from observer.listings.model import STOCK_GROUP, Listing
from observer.providers.kis.masters import parse_master
from observer.providers.kis.masters_overseas import AbroadRecord, parse_abroad
from observer.sectors.codes import CodeTable
from observer.sectors.finance_database import KnownSector, read_known_sectors
from observer.sectors.model import REGIONS, Region, Security

_ABROAD: Final[Mapping[Region, tuple[str, ...]]] = {
    "US": ("NAS", "NYS", "AMS"),
    "HK": ("HKS",),
    "CN": ("SHS", "SZS"),
    "JP": ("TSE",),
    "VN": ("HNX", "HSX"),
}
_DOMESTIC: Final = ("KOSPI", "KOSDAQ")


class RegionMarket(msgspec.Struct, frozen=True):
    """A region's stocks as its master files have them; `bad_lines` are no records."""

    securities: list[Security]
    bad_lines: int
    missing: list[str]


def read_market(folder: Path, region: Region) -> RegionMarket:
    """The stocks of a region's master files in a folder, unpacked (`NASMST.COD`, `kospi_code.mst`) or as zips.

    Raises:
        DataFileError: a file cannot be read.
    """
    present = {path.name.lower(): path for path in folder.iterdir()} if folder.is_dir() else {}
    names = {code: f"{code.lower()}mst.cod" for code in _ABROAD.get(region, ())} or {
        exchange: f"{exchange.lower()}_code.mst" for exchange in _DOMESTIC
    }
    market = RegionMarket([], 0, [])
    for exchange, name in names.items():
        content = _content(present, name)
        if content is None:
            market.missing.append(name)
            continue
        if exchange in _DOMESTIC:
            listings, bad = parse_master(exchange, content)
            securities = [_domestic(listing) for listing in listings if listing.group == STOCK_GROUP]
        else:
            records, bad = parse_abroad(exchange, content)
            securities = [_abroad(region, record) for record in records if record.kind == "stock"]
        market = RegionMarket(market.securities + securities, market.bad_lines + len(bad), market.missing)
    return market


def _content(present: Mapping[str, Path], name: str) -> bytes | None:
    try:
        if name in present:
            return present[name].read_bytes()
        if f"{name}.zip" in present:
            with zipfile.ZipFile(io.BytesIO(present[f"{name}.zip"].read_bytes())) as archive:
                [member] = archive.namelist()
                return archive.read(member)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataFileError(f"cannot read the master file {name}: {error}") from error
    return None


def _abroad(region: Region, record: AbroadRecord) -> Security:
    return Security(region, record.exchange, record.symbol, record.english_name, record.sector_code)


def _domestic(listing: Listing) -> Security:
    """Korean records have codes of another kind: their sectors are looked up."""
    return Security("KR", listing.exchange, listing.symbol, listing.name)


def read_known(path: Path, region: Region) -> Mapping[str, KnownSector]:
    """The known sectors of a region: of `REGION.csv` in a folder (none without it), or of one file for all regions.

    Raises:
        DataFileError: it cannot be read.
    """
    if not path.is_dir():
        return read_known_sectors(path)
    file = path / f"{region}.csv"
    return read_known_sectors(file) if file.exists() else {}


def read_tables(folder: Path) -> dict[Region, CodeTable]:
    """The tables of codes that are in a folder, one file for each region (`US.json`).

    Raises:
        DataFileError: one cannot be read.
    """
    tables: dict[Region, CodeTable] = {}
    for region in REGIONS:
        path = folder / f"{region}.json"
        try:
            tables[region] = msgspec.json.decode(path.read_bytes(), type=CodeTable)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataFileError(f"cannot read {path}: {error}") from error
    return tables


def write_table(folder: Path, table: CodeTable) -> Path:
    """Write a region's table, one line for each code, so that a diff is readable."""
    path = folder / f"{table.region}.json"
    head = msgspec.json.encode({key: value for key, value in msgspec.structs.asdict(table).items() if key != "codes"})
    codes = ",\n".join(f"  {msgspec.json.encode(meaning).decode()}" for meaning in table.codes)
    write_whole(path, f'{head.decode().removesuffix("}")},"codes":[\n{codes}\n]}}\n')
    return path


def write_whole(path: Path, text: str) -> None:
    """Replace a file atomically: a reader sees the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
