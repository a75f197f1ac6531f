"""Master files from KIS's download host: HEAD for the stamp, GET for the zip, checked before it replaces anything.

Not to be trusted: sizes (two different files can have the same), names inside the zip (upper or lower case). Checked:
the length against Content-Length, the zip's CRC, one member, a bound on its size.
"""

import asyncio
import contextlib
import io
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx

from observer.errors import BadRequestError, DataFileError, MaintenanceError, TransportError
from observer.files import replace_file
from observer.providers.broker import FileStamp, Progress
from observer.providers.kis.listings import file_name

# The largest real file unpacks to 0.75 MB: fifty times that is no master file but an accident.
_UNPACKED_BYTES_MAX: Final = 40_000_000
_PACKED_BYTES_MAX: Final = 20_000_000
# As it is, not compressed on the way: then Content-Length is the length of the file.
_HEADERS: Final = {"accept-encoding": "identity"}


class KisMasterFiles:
    """Satisfies `MasterFileSource`; the exchanges are those of `observer.listings.model`. The client is the
    caller's to close. A host that sends us elsewhere is refused: these files are where they have always been.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def stamp(self, exchange: str) -> FileStamp:
        """The result of HEAD, without a download.

        Raises:
            ProviderError: no answer, or no such file.
            DataFileError: not an exchange of ours.
        """
        async with self._answer("HEAD", exchange) as response:
            return _stamp(response)

    async def download(self, exchange: str, destination: Path, progress: Progress | None = None) -> FileStamp:
        """Write the unpacked master file to `destination`, checked and replaced atomically. `progress` hears how many
        bytes have come, of how many where the host states that.

        Raises:
            ProviderError: no answer, one that stalls, or no such file.
            DataFileError: what came is not a whole zip of one file; `destination` is as it was.
        """
        archive = bytearray()
        async with self._answer("GET", exchange) as response:
            stamp = _stamp(response)
            async for portion in response.aiter_raw():
                archive += portion
                if len(archive) > _PACKED_BYTES_MAX:
                    raise DataFileError(f"{exchange}: more than {_PACKED_BYTES_MAX} bytes are no master file")
                if progress is not None:
                    progress(len(archive), stamp.size_bytes)
        if stamp.size_bytes not in (None, len(archive)):
            raise DataFileError(f"{exchange}: {len(archive)} of {stamp.size_bytes} bytes came")
        await asyncio.to_thread(_replace_with_member, bytes(archive), destination, exchange)
        return stamp

    @contextlib.asynccontextmanager
    async def _answer(self, method: str, exchange: str) -> AsyncIterator[httpx.Response]:
        """The answer while the block runs, which reads its content; what goes wrong meanwhile is reported in our
        words.
        """
        path = f"/common/master/{file_name(exchange)}.zip"
        call = f"master_file {exchange}"
        try:
            async with self._client.stream(method, path, headers=_HEADERS, follow_redirects=False) as response:
                if response.status_code != httpx.codes.OK:
                    code = f"HTTP {response.status_code}"
                    error_type = MaintenanceError if response.is_server_error else BadRequestError
                    raise error_type(f"{call}: {code}", call=call, code=code)
                yield response
        except httpx.TransportError as error:
            raise TransportError(f"{call}: {type(error).__name__} {error}".strip(), call=call) from error


def _stamp(response: httpx.Response) -> FileStamp:
    length = response.headers.get("content-length", "")
    return FileStamp(
        size_bytes=int(length) if length.isdigit() else None,
        last_modified=response.headers.get("last-modified", ""),
        etag=response.headers.get("etag", ""),
    )


def _replace_with_member(archive: bytes, destination: Path, exchange: str) -> None:
    """Unpack beside the destination, flush to disk, then replace in one step."""
    content = _only_member(archive, exchange)
    destination.parent.mkdir(parents=True, exist_ok=True)
    replace_file(destination, content)


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
