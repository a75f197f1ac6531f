"""The master-file host: HEAD and GET of `/common/master/<name>.zip`, as files that change with market time.

Made-up listings are written in the real layout; with a folder of real samples the real files are served, zipped as KIS
zips them (one member). Until the new listing appears the KOSDAQ file is without it, and has another ETag and
Last-Modified than afterwards.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from observer.base.errors import DataFileError
from observer.base.units import NS_PER_S
from observer.simulator.counters import Counters
from observer.simulator.faults import Faults
from observer.simulator.kis.masters import (
    FOREIGN_EXCHANGES,
    file_of,
    foreign_file_name,
    instruments_of,
    made_up_foreign_contents,
    made_up_sector_codes,
    record_width,
)
from observer.simulator.market.instruments import Exchange, Instrument, RngSource, made_up_konex
from observer.simulator.market.market import Market

# The files whose listings are dealt in; those of KONEX, the sector codes and the exchanges abroad are served only.
MASTER_FILES: Final[dict[Exchange, str]] = {"KOSPI": "kospi_code.mst", "KOSDAQ": "kosdaq_code.mst"}
_KONEX_FILE: Final = "konex_code.mst"
_SECTOR_CODES_FILE: Final = "idxcode.mst"
_OTHER_FILES: Final = (_KONEX_FILE, _SECTOR_CODES_FILE, *map(foreign_file_name, FOREIGN_EXCHANGES))
_GROWING: Final = MASTER_FILES["KOSDAQ"]
# Publication times that were seen at the real host: 22:35 the evening before, 08:10 on the day.
_EVENING_BEFORE_S: Final = -(24 * 3600) + 22 * 3600 + 35 * 60


class PublishedFile(msgspec.Struct, frozen=True):
    """A zip as it is served for a while."""

    content: bytes
    etag: str
    modified_ns: int


class FileSet(msgspec.Struct, frozen=True):
    """Zips by name, before and after the new listing appears."""

    before: Mapping[str, PublishedFile]
    after: Mapping[str, PublishedFile]


def real_contents(folder: Path) -> dict[str, bytes]:
    """Unpacked master files of a folder of samples: of each name the one from the newest dated folder.

    Raises:
        DataFileError: the KOSPI or the KOSDAQ file is in none of the folders, or a zip is broken.
    """
    contents: dict[str, bytes] = {}
    for name in (*MASTER_FILES.values(), *_OTHER_FILES):
        for dated in sorted((folder / "kis-master").glob("*-*"), reverse=True):
            content = _unpacked(dated, name)
            if content is not None:
                contents[name] = content
                break
    missing = [name for name in MASTER_FILES.values() if name not in contents]
    if missing:
        raise DataFileError(f"{folder / 'kis-master'} has no {' and no '.join(missing)} in any dated folder")
    return contents


def made_up_contents(instruments: tuple[Instrument, ...], session_date: str, rng: RngSource) -> dict[str, bytes]:
    """Unpacked master files of made-up listings, the oldest listing first, the newcomer last; KONEX and abroad too."""
    contents = {_KONEX_FILE: file_of(made_up_konex(session_date, rng)), **made_up_foreign_contents(rng)}
    contents[_SECTOR_CODES_FILE] = made_up_sector_codes()
    for exchange, name in MASTER_FILES.items():
        listed = sorted((i for i in instruments if i.exchange == exchange), key=lambda i: (i.listed_on, i.symbol))
        contents[name] = file_of(listed)
    return contents


def instruments_in(contents: Mapping[str, bytes]) -> tuple[Instrument, ...]:
    """All listings of the two master files."""
    return tuple(
        instrument for exchange, name in MASTER_FILES.items() for instrument in instruments_of(contents[name], exchange)
    )


def published_files(contents: Mapping[str, bytes], market: Market, faults: Faults) -> FileSet:
    """The zips of a day: the KOSDAQ file grows by its last ordinary share when the script says so."""
    evening_ns = market.midnight_ns + _EVENING_BEFORE_S * NS_PER_S
    whole = {**contents, **nxt_contents(market)}
    before = {f"{name}.zip": _published(name, content, evening_ns) for name, content in whole.items()}
    if faults.listing_appears_ns is None:
        return FileSet(before, before)
    after = before | {f"{_GROWING}.zip": _published(_GROWING, contents[_GROWING], faults.listing_appears_ns)}
    shorter = without_newest(contents[_GROWING])
    return FileSet(before | {f"{_GROWING}.zip": _published(_GROWING, shorter, evening_ns)}, after)


def nxt_contents(market: Market) -> dict[str, bytes]:
    """Unpacked files of what NXT trades, by name: `nxt_kospi_code.mst` and `nxt_kosdaq_code.mst`, whose records are
    those of the exchange's own file, marked as suspended where NXT alone stopped the stock. None in a market of the
    KRX alone.
    """
    if "NXT" not in market.venues:
        return {}
    contents: dict[str, bytes] = {}
    for exchange, name in MASTER_FILES.items():
        listed = [(i, found) for i in market.instruments if (found := market.nxt_listing(i.symbol)) is not None]
        records = (
            msgspec.structs.replace(instrument, suspended=instrument.suspended or found.stopped)
            for instrument, found in listed
            if instrument.exchange == exchange
        )
        contents[f"nxt_{name}"] = file_of(records)
    return contents


def without_newest(content: bytes) -> bytes:
    """A KOSDAQ master file less its last ordinary share."""
    ordinary = [index for index, listed in enumerate(instruments_of(content, "KOSDAQ")) if listed.ordinary]
    width = record_width("KOSDAQ") + 1
    start = ordinary[-1] * width
    return content[:start] + content[start + width :]


def files_application(files: FileSet, faults: Faults, now_ns: Callable[[], int], counters: Counters) -> web.Application:
    """The HTTP application of the master-file host."""

    async def serve(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        counters.requests[f"{request.method} master file"] += 1
        published = (files.after if faults.listing_is_shown(now_ns()) else files.before).get(name)
        if published is None:
            raise web.HTTPNotFound
        headers = {
            "Content-Type": "application/zip",
            "ETag": published.etag,
            "Last-Modified": _http_date(published.modified_ns),
        }
        return web.Response(body=published.content, headers=headers)

    application = web.Application()
    application.router.add_get("/common/master/{name}", serve, allow_head=True)
    return application


def _http_date(moment_ns: int) -> str:
    return format_datetime(datetime.fromtimestamp(moment_ns // NS_PER_S, UTC), usegmt=True)


def _published(name: str, content: bytes, modified_ns: int) -> PublishedFile:
    packed = io.BytesIO()
    stamp = datetime.fromtimestamp(modified_ns // NS_PER_S, UTC).timetuple()[:6]
    member = name.upper() if name.endswith(".cod") else name
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(member, stamp), content, zipfile.ZIP_DEFLATED)
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return PublishedFile(packed.getvalue(), etag, modified_ns)


def _unpacked(folder: Path, name: str) -> bytes | None:
    """The file of a folder, from its zip where there is one; None when it has neither."""
    packed = folder / f"{name}.zip"
    if packed.is_file():
        try:
            with zipfile.ZipFile(packed) as archive:
                return archive.read(archive.namelist()[0])
        except (zipfile.BadZipFile, IndexError) as error:
            raise DataFileError(f"{packed} is not a whole zip of one file") from error
    plain = next((path for path in (folder / name, folder / name.upper()) if path.is_file()), None)
    return None if plain is None else plain.read_bytes()
