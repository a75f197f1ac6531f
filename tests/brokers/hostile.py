"""What a hostile host sends: small when packed, endless when not; and how much memory it takes here."""

import gzip
import io
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager
from functools import cache

MB = 2**20


@cache
def gzip_bomb(unpacked_mb: int = 96) -> bytes:
    """A gzip body of some hundred kilobytes."""
    packing = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    portions = [packing.compress(bytes(MB)) for _ in range(unpacked_mb)]
    return b"".join([*portions, packing.flush()])


@cache
def zip_of(content: bytes, *, method: int = zipfile.ZIP_DEFLATED, stated_bytes: int | None = None) -> bytes:
    """A zip of one file; `stated_bytes` is what it says of the file's size in place of the truth."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method, compresslevel=9) as packed:
        packed.writestr("kospi_code.mst", content)
    packed_bytes = archive.getvalue()
    if stated_bytes is not None:
        true, stated = len(content).to_bytes(4, "little"), stated_bytes.to_bytes(4, "little")
        packed_bytes = packed_bytes.replace(true, stated)
    return packed_bytes


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content)


class Memory:
    """The most memory that was taken at once in a block, in bytes."""

    peak = 0


@contextmanager
def measured():
    """Measures the block; what was there before does not count."""
    memory = Memory()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield memory
    finally:
        memory.peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
