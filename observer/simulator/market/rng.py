"""Chance from a seed and a name, the same on every machine and in every process.

The pure rooms take a `ChanceSource` and never import `random` themselves. Python's own `hash()` of a text differs from
process to process, so the seed of each generator is a BLAKE2b digest.
"""

import hashlib
from collections.abc import Callable
from random import Random

_SEED_BYTES = 16


def seeded_chance(seed: int) -> Callable[[str], Random]:
    """A source of generators: each name has its own, and asking for one never moves another."""

    def generator_of(name: str) -> Random:
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=_SEED_BYTES).digest()
        return Random(int.from_bytes(digest, "big"))

    return generator_of
