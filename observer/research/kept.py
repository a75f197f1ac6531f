"""The cache of an open store: the frames that were used last, up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Final

import polars as pl

BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all kept frames: those of a question over two hundred days of some hundred lines, or more."""
_OVERHEAD: Final = 8_192  # of a frame and its columns, however few rows it has


class Kept:
    """Frames by key. Any thread may ask.

    Args:
        bytes_max: of all frames together; the ones that were not used for the longest time go first.
    """

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._frames: OrderedDict[Hashable, pl.DataFrame] = OrderedDict()
        self._lock = Lock()
        self.size_bytes = 0

    def get(self, key: Hashable) -> pl.DataFrame | None:
        """The frame of this key; None if it is not kept (any more)."""
        with self._lock:
            frame = self._frames.get(key)
            if frame is not None:
                self._frames.move_to_end(key)
            return frame

    def put(self, key: Hashable, frame: pl.DataFrame) -> pl.DataFrame:
        """Keep the frame as the one of this key, and return it."""
        with self._lock:
            replaced = self._frames.pop(key, None)
            self.size_bytes -= 0 if replaced is None else _size(replaced)
            self._frames[key] = frame
            self.size_bytes += _size(frame)
            while self.size_bytes > self._bytes_max:
                _, oldest = self._frames.popitem(last=False)
                self.size_bytes -= _size(oldest)
        return frame


def _size(frame: pl.DataFrame) -> int:
    return int(frame.estimated_size()) + _OVERHEAD
