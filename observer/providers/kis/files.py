"""Master files from KIS's download host: HEAD for the stamp, GET for the zip, checked before it replaces anything.

Not to be trusted: sizes (two different files can have the same), names inside the zip (upper or lower case). Checked:
the length against Content-Length, the zip's CRC, one member, a bound on its size.
"""

import asyncio
import contextlib
import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Final

import httpx

from observer.errors import BadRequestError, DataFileError, MaintenanceError, TransportError
from observer.providers.interfaces import FileStamp

_PATHS: Final = {
    "KOSPI": "/common/master/kospi_code.mst.zip",
    "KOSDAQ": "/common/master/kosdaq_code.mst.zip",
    "KONEX": "/common/master/konex_code.mst.zip",
}
# The largest real file unpacks to 0.75 MB: fifty times that is no master file but an accident.
_UNPACKED_BYTES_MAX: Final = 40_000_000
# As it is, not compressed on the way: then Content-Length is the length of the file.
_HEADERS: Final = {"accept-encoding": "identity"}


class KisMasterFiles:
    """Satisfies `MasterFileSource`; exchanges KOSPI, KOSDAQ, KONEX. The client is the caller's to close."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def stamp(self, exchange: str) -> FileStamp:
        """What HEAD says, without a download.

        Raises:
            ProviderError: no answer, or no such file.
            DataFileError: not an exchange of ours.
        """
        response = await self._request("HEAD", exchange)
        return _stamp(response)

    async def download(self, exchange: str, destination: Path) -> FileStamp:
        """Write the unpacked master file to `destination`, checked and replaced atomically.

        Raises:
            ProviderError: no answer, or no such file.
            DataFileError: what came is not a whole zip of one file; `destination` is as it was.
        """
        response = await self._request("GET", exchange)
        stamp = _stamp(response)
        if stamp.size_bytes not in (None, len(response.content)):
            raise DataFileError(f"{exchange}: {len(response.content)} of {stamp.size_bytes} bytes came")
        await asyncio.to_thread(_replace_with_member, response.content, destination, exchange)
        return stamp

    async def _request(self, method: str, exchange: str) -> httpx.Response:
        path = _PATHS.get(exchange)
        if path is None:
            raise DataFileError(f"no master file of {exchange!r}; known are {', '.join(_PATHS)}")
        call = f"master_file {exchange}"
        try:
            response = await self._client.request(method, path, headers=_HEADERS)
        except httpx.TransportError as error:
            raise TransportError(f"{call}: {type(error).__name__} {error}".strip(), call=call) from error
        if response.status_code != httpx.codes.OK:
            code = f"HTTP {response.status_code}"
            error_type = MaintenanceError if response.is_server_error else BadRequestError
            raise error_type(f"{call}: {code}", call=call, code=code)
        return response


def _stamp(response: httpx.Response) -> FileStamp:
    length = response.headers.get("content-length", "")
    return FileStamp(
        size_bytes=int(length) if length.isdigit() else None,
        last_modified=response.headers.get("last-modified", ""),
        etag=response.headers.get("etag", ""),
    )


def _replace_with_member(archive: bytes, destination: Path, exchange: str) -> None:
    """Unpack beside the destination, flush to disk, then replace in one step."""
    beside = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        content = _only_member(archive, exchange)
        destination.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(destination)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def _only_member(archive: bytes, exchange: str) -> bytes:
    """The bytes of the one file in the zip, its CRC checked by reading it."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            members = packed.infolist()
            if len(members) != 1:
                raise DataFileError(f"{exchange}: the zip holds {len(members)} files, not one")
            if members[0].file_size > _UNPACKED_BYTES_MAX:
                raise DataFileError(f"{exchange}: {members[0].file_size} bytes unpacked are too many")
            return packed.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataFileError(f"{exchange}: not a whole zip: {error}") from error
