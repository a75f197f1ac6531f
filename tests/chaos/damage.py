"""Damage to the files of outboxes while their processes run: a bit flipped in place, a segment removed.

Only segments are damaged, live or archived. The notes of how far a stream was appended stay whole: with a note and its
segment gone at once, nothing on the disk would say how many events there had been.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.chaos.judge import segments

_NEWEST = 6  # most faults hit files with events under way; older ones matter once the database goes back


class Damage:
    """Chooses a segment at random and damages it; the next damage may hit the same one."""

    def __init__(self, outboxes: Path, rng: random.Random) -> None:
        self._outboxes = outboxes
        self._rng = rng
        self._last: Path | None = None

    def flip_bit(self) -> bool:
        """Flip one bit somewhere in a segment; False if there is none."""
        return self._hit(self._flip)

    def remove(self) -> bool:
        """Delete a segment; False if there is none."""
        return self._hit(os.unlink)

    def _hit(self, damage: Callable[[Path], None]) -> bool:
        while path := self._choose():
            try:
                damage(path)
            except FileNotFoundError:  # or empty: its process archived, compressed or took it back meanwhile
                self._last = None
            else:
                self._last = path
                return True
        return False

    def _choose(self) -> Path | None:
        if self._last is not None and self._last.exists() and self._rng.random() < 0.2:
            return self._last
        found = sorted(path for outbox in sorted(self._outboxes.iterdir()) for path in segments(outbox))
        if found and self._rng.random() < 0.5:
            found = sorted(found, key=_modified_ns)[-_NEWEST:]
        return self._rng.choice(found) if found else None

    def _flip(self, path: Path) -> None:
        with path.open("r+b", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if not size_bytes:
                raise FileNotFoundError(path)
            offset, bit = self._rng.randrange(size_bytes), 1 << self._rng.randrange(8)
            [byte] = os.pread(file.fileno(), 1, offset)
            os.pwrite(file.fileno(), bytes([byte ^ bit]), offset)


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # its process moved it meanwhile
        return 0
