"""Random mutations of bytes, the same for the same seed: for the tests of the default run, and without atheris."""

from collections.abc import Sequence
from random import Random
from typing import Final

ODD: Final = (
    *(b"", b"\0", b"\n", b"\r\n", b" ", b'"', b"\\", b"\xff", b"\xed\xa0\x80", "２".encode(), "²".encode(), b"\x1b[2J"),
    *(b"0", b"-1", b"1e309", b"nan", b"inf", b"1_0", b"9" * 400, b"9" * 5000, b"18446744073709551616", b"1.5", b"null"),
    *(
        b"[" * 5000,
        b'{"a":' * 3000,
        b"]",
        b"}",
        b"true",
        b"a=" * 50,
        b"../../",
        b"20269999",
        b"0001-01-01",
        b"24:00:00",
    ),
    *(
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc1",
        b"\xd9\x01\xff",
    ),
    *(b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff" * 8, b"\1\0\0\0\0\0\0\0"),
)


def mutated(seeds: Sequence[bytes], rng: Random, length_max: int) -> bytes:
    """One of the seeds with one to four changes."""
    content = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = _changed(content, rng.choice(seeds), rng)
    return content[:length_max]


def _changed(content: bytes, other: bytes, rng: Random) -> bytes:
    start, end = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
    near = min(len(content), start + rng.randrange(1, 9))
    match rng.randrange(8):
        case 0:
            return content[:start] + rng.choice(ODD) + content[near:]
        case 1:
            return content[:start] + rng.choice(ODD) + content[start:]
        case 2:
            return content[:start] + rng.randbytes(near - start) + content[near:]
        case 3:
            return content[:start] + content[near:]
        case 4:
            return content[:end] + content[start:end] + content[end:]
        case 5:
            return content[:start]
        case 6:
            return content[:start] + other[rng.randrange(len(other) + 1) :]
    if not content:
        return content
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
