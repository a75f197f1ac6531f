"""The files that the enrichment reads: master files, and the tables of codes."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from observer.base.errors import DataFileError
from observer.base.files import read_file
from observer.brokers.bodies import MASTER_FILE_BYTES_MAX, only_member
from observer.brokers.broker import DEFAULT_BROKER, broker_named
from observer.reference.listings.model import KOREA, STOCK_GROUP, Listing
from observer.reference.sectors.codes import CodeTable
from observer.reference.sectors.model import EXCHANGES, REGIONS, Region, Security

logger = logging.getLogger(__name__)


def stocks_in(folder: Path, region: Region) -> Sequence[Security]:
    """The stocks of a region's master files in a folder, unpacked (`kospi_code.mst`, in small or capital letters) or as
    zips. What is missing or no record is logged.

    Raises:
        DataFileError: a file cannot be read.
    """
    broker = broker_named(DEFAULT_BROKER)
    present = {path.name.lower(): path for path in folder.iterdir()} if folder.is_dir() else {}
    found: list[Security] = []
    bad_lines = 0
    for exchange in EXCHANGES[region]:
        name = broker.listing_file(exchange)
        content = _content(present, name)
        if content is None:
            logger.warning("%s has no %s", folder, name)
            continue
        listings, bad = broker.listings(exchange, content)
        found += [_security(region, listing) for listing in listings if _is_stock(listing)]
        bad_lines += len(bad)
    if bad_lines:
        logger.error("%s: %d lines are no records", region, bad_lines)
    return found


def read_tables(folder: Path) -> dict[Region, CodeTable]:
    """The tables of codes that are in a folder, one file for each region (`US.json`).

    Raises:
        DataFileError: one cannot be read.
    """
    tables: dict[Region, CodeTable] = {}
    for region in REGIONS:
        path = folder / f"{region}.json"
        try:
            tables[region] = msgspec.json.decode(read_file(path), type=CodeTable)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise DataFileError(f"cannot read {path}: {error}") from error
    return tables


def _content(present: Mapping[str, Path], name: str) -> bytes | None:
    try:
        if name in present:
            return read_file(present[name], MASTER_FILE_BYTES_MAX)
        if f"{name}.zip" in present:
            return only_member(read_file(present[f"{name}.zip"]), name)
    except OSError as error:
        raise DataFileError(f"cannot read the master file {name}: {error}") from error
    return None


def _is_stock(listing: Listing) -> bool:
    return listing.security_type == "stock" or listing.group == STOCK_GROUP


def _security(region: Region, listing: Listing) -> Security:
    """A listing abroad by its English name; a Korean one by its name, without a code: those are of another kind, and
    its sector is looked up.
    """
    if listing.exchange in KOREA:
        return Security(region, listing.exchange, listing.symbol, listing.name)
    return Security(region, listing.exchange, listing.symbol, listing.english_name, listing.sector_code)
