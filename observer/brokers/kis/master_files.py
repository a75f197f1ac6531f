"""Master files from KIS's download host: HEAD for the stamp, GET for the zip, checked before it replaces anything.

Not to be trusted: sizes (two different files can have the same), names inside the zip (upper or lower case). Checked:
the length against Content-Length, the zip's CRC, one member, a bound on its unpacked size.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx

from observer.base.errors import BadRequestError, DataFileError, MaintenanceError
from observer.base.files import replace_file
from observer.base.text import shown
from observer.brokers.bodies import only_member
from observer.brokers.broker import FileStamp, Progress
from observer.brokers.http import ended_call
from observer.brokers.kis.listings import file_name

_PACKED_BYTES_MAX: Final = 4_000_000  # the largest real file has 0.75 MB before it is packed
WITHIN_S: Final = 120.0  # for the whole file: at that size 33 kB a second
_DIGITS_MAX: Final = 18  # of a length: both databases hold it
_STAMP_BYTES_MAX: Final = 200  # of a header that is kept and shown
# As it is, not compressed on the way: then Content-Length is the length of the file.
_HEADERS: Final = {"accept-encoding": "identity"}


class KisMasterFiles:
    """Satisfies `MasterFileSource`; the exchanges are those of `observer.reference.listings.model`. The client is the
    caller's to close. A call ends within `within_s` machine seconds, however its bytes come. A host that sends us
    elsewhere is refused: these files are where they have always been.
    """

    def __init__(self, client: httpx.AsyncClient, within_s: float = WITHIN_S) -> None:
        self._client = client
        self._within_s = within_s

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
            ProviderError: no answer, one that stalls or does not end, or no such file.
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
        async with (
            ended_call(self._client, call, self._within_s),
            self._client.stream(method, path, headers=_HEADERS, follow_redirects=False) as response,
        ):
            if response.status_code != httpx.codes.OK:
                code = f"HTTP {response.status_code}"
                error_type = MaintenanceError if response.is_server_error else BadRequestError
                raise error_type(f"{call}: {code}", call=call, code=code)
            yield response


def _stamp(response: httpx.Response) -> FileStamp:
    length = response.headers.get("content-length", "")
    return FileStamp(
        size_bytes=int(length) if length.isascii() and length.isdigit() and len(length) <= _DIGITS_MAX else None,
        last_modified=shown(response.headers.get("last-modified", ""), _STAMP_BYTES_MAX),
        etag=shown(response.headers.get("etag", ""), _STAMP_BYTES_MAX),
    )


def _replace_with_member(archive: bytes, destination: Path, exchange: str) -> None:
    """Unpack beside the destination, flush to disk, then replace in one step."""
    content = only_member(archive, exchange)
    destination.parent.mkdir(parents=True, exist_ok=True)
    replace_file(destination, content)
