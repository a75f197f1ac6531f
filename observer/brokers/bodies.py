"""Bodies of answers and packed files, bounded: what a host sends, however it is packed, takes no more memory than is
stated here. Pure.
"""

import io
import struct
import zipfile
import zlib
from typing import Final, TypeVar

import msgspec

from observer.base.errors import DataFileError, MalformedError, TransportError

Result = TypeVar("Result")

BODY_BYTES_MAX: Final = 16 * 2**20  # unpacked; the largest real answer, KRX's list of ETFs, has half a megabyte
MASTER_FILE_BYTES_MAX: Final = 16_000_000  # unpacked; the largest real one has 0.75 MB
OBJECTS_MAX: Final = 100_000  # in a body: each becomes a struct of some hundred bytes, from two bytes of text
ACCEPTED: Final = {"accept-encoding": "gzip"}  # the one encoding that is unpacked here

_PLAIN: Final = ("", "identity")
_GZIP: Final = ("gzip", "x-gzip")
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_ZIP_PACKINGS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks the others without a bound


class BodyReader:
    """Unpacks a body portion by portion, up to a bound and no further.

    Args:
        encoding: the header content-encoding; empty without one.
        call: names the call in errors.
        bytes_max: the bound, of the packed and of the unpacked bytes.

    Raises:
        MalformedError: an encoding that was not asked for.
    """

    def __init__(self, encoding: str, call: str, bytes_max: int = BODY_BYTES_MAX) -> None:
        name = encoding.strip().lower()
        if name not in (*_PLAIN, *_GZIP):
            raise MalformedError(f"{call}: the body is packed as {name}, which was not asked for", call=call)
        self._unpacking = zlib.decompressobj(_GZIP_BITS) if name in _GZIP else None
        self._call = call
        self._bytes_max = bytes_max
        self._received = 0
        self._content = bytearray()

    def add(self, portion: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            MalformedError: the body is larger than the bound.
            TransportError: it cannot be unpacked.
        """
        self._received += len(portion)
        if self._received <= self._bytes_max:
            self._content += self._unpacked(portion)
        if max(self._received, len(self._content)) > self._bytes_max:
            raise MalformedError(f"{self._call}: a body of more than {self._bytes_max:,} bytes", call=self._call)

    def whole(self) -> bytes:
        """The body, after its last portion.

        Raises:
            TransportError: its end is missing.
        """
        if self._unpacking is not None and self._received and not self._unpacking.eof:
            raise TransportError(f"{self._call}: the end of the packed body is missing", call=self._call)
        return bytes(self._content)

    def _unpacked(self, portion: bytes) -> bytes:
        if self._unpacking is None:
            return portion
        try:
            return self._unpacking.decompress(portion, self._bytes_max + 1 - len(self._content))
        except zlib.error as error:
            raise TransportError(f"{self._call}: the body cannot be unpacked: {error}", call=self._call) from error


def decode(content: bytes, result_type: type[Result], call: str) -> Result:
    """An answer's body as a struct.

    Raises:
        MalformedError: it is not JSON of that shape, nested too deep, or of more objects than any answer has. To be
            asked again where it is empty, cut or no JSON at all: another shape would come again.
    """
    if content.count(b"{") > OBJECTS_MAX:
        raise MalformedError(f"{call}: more than {OBJECTS_MAX:,} objects in a body", call=call)
    try:
        return msgspec.json.decode(content, type=result_type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        malformed = MalformedError(f"{call}: {error}", call=call)
        malformed.retry = not isinstance(error, msgspec.ValidationError | RecursionError)
        raise malformed from error


def only_member(archive: bytes, name: str, bytes_max: int = MASTER_FILE_BYTES_MAX) -> bytes:
    """The unpacked bytes of the one file in a zip; its CRC is checked by reading it.

    Raises:
        DataFileError: it is not a whole zip of one file, or the file has more bytes than that.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            members = packed.infolist()
            if len(members) != 1:
                raise DataFileError(f"{name}: the zip holds {len(members)} files, not one")
            if members[0].compress_type not in _ZIP_PACKINGS:
                raise DataFileError(f"{name}: packed by method {members[0].compress_type}; deflate is expected")
            with packed.open(members[0]) as member:  # what the zip says of the size need not be true
                content = member.read(bytes_max + 1)
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
        *(NotImplementedError, RuntimeError, ValueError, OverflowError),
    ) as error:
        raise DataFileError(f"{name}: not a whole zip: {error}") from error
    if len(content) > bytes_max:
        raise DataFileError(f"{name}: more than {bytes_max:,} bytes unpacked are too many")
    return content
