"""Random generators from a seed and a name, the same on every machine and in every process.

The pure rooms take a `RngSource` and never import `random` themselves. Python's own `hash()` of a text differs from
process to process, so the seed of each generator is a BLAKE2b digest.
"""

import hashlib
from collections.abc import Callable
from random import Random

_SEED_BYTES = 16


def seeded_rng(seed: int) -> Callable[[str], Random]:
    """A source of independent generators by name: a request for one never changes another."""

    def generator_of(name: str) -> Random:
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=_SEED_BYTES).digest()
        return Random(int.from_bytes(digest, "big"))

    return generator_of
