"""AES-256-CBC in base64, as KIS sends an account's own notices (docs/kis.md#frames). Pure.

Written out from FIPS 197, for notices of some hundred bytes: neither the standard library nor the pinned packages have
it. Not for secrets.
"""

from base64 import b64encode
from functools import cache
from typing import Final

_BLOCK: Final = 16
_KEY_BYTES: Final = 32
_ROUNDS: Final = 14
_ROUND_CONSTANTS: Final = (1, 2, 4, 8, 16, 32, 64)


def encrypted(text: str, key: str, iv: str) -> str:
    """The text, padded as PKCS 7 says, under a key of 32 and an initial vector of 16 ASCII letters."""
    content = text.encode()
    padding = _BLOCK - len(content) % _BLOCK
    content += bytes([padding]) * padding
    words, before, found = round_keys(key.encode()), iv.encode(), b""
    for start in range(0, len(content), _BLOCK):
        block = bytes(a ^ b for a, b in zip(content[start : start + _BLOCK], before, strict=True))
        before = encrypted_block(block, words)
        found += before
    return b64encode(found).decode()


def encrypted_block(block: bytes, keys: tuple[bytes, ...]) -> bytes:
    """One block of 16 bytes; columns stand one after the other."""
    state = _xor(block, keys[0])
    for number in range(1, _ROUNDS + 1):
        state = bytes(_substitutes()[state[(index + 4 * (index % 4)) % _BLOCK]] for index in range(_BLOCK))
        if number < _ROUNDS:
            state = b"".join(_mixed(state[start : start + 4]) for start in range(0, _BLOCK, 4))
        state = _xor(state, keys[number])
    return state


def round_keys(key: bytes) -> tuple[bytes, ...]:
    """The round keys of a key of 32 bytes, 16 bytes each."""
    assert len(key) == _KEY_BYTES
    words = [key[start : start + 4] for start in range(0, _KEY_BYTES, 4)]
    for index in range(8, 4 * (_ROUNDS + 1)):
        word = words[-1]
        if index % 8 == 0:
            turned = word[1:] + word[:1]
            word = bytes(_substitutes()[byte] for byte in turned)
            word = bytes([word[0] ^ _ROUND_CONSTANTS[index // 8 - 1]]) + word[1:]
        elif index % 8 == 4:
            word = bytes(_substitutes()[byte] for byte in word)
        words.append(_xor(words[-8], word))
    return tuple(b"".join(words[start : start + 4]) for start in range(0, len(words), 4))


def _mixed(column: bytes) -> bytes:
    a, b, c, d = column
    rows = ((a, b, c, d), (b, c, d, a), (c, d, a, b), (d, a, b, c))
    return bytes(_doubled(first) ^ _doubled(second) ^ second ^ third ^ fourth for first, second, third, fourth in rows)


def _doubled(value: int) -> int:
    return (value << 1) ^ (0x11B if value & 0x80 else 0)


@cache
def _substitutes() -> bytes:
    """The S-box: the inverse in the field of 256, and an affine map of its bits."""
    found = bytearray(256)
    p = q = 1
    while True:
        p ^= _doubled(p)  # times 3, a generator of the field
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q = (q ^ (0x09 if q & 0x80 else 0)) & 0xFF  # divided by 3
        found[p] = q ^ _turned(q, 1) ^ _turned(q, 2) ^ _turned(q, 3) ^ _turned(q, 4) ^ 0x63
        if p == 1:
            break
    found[0] = 0x63
    return bytes(found)


def _turned(value: int, by: int) -> int:
    return ((value << by) | (value >> (8 - by))) & 0xFF


def _xor(first: bytes, second: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(first, second, strict=True))
