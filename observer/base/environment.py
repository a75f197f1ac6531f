"""Secrets in this process's environment: taken out of it, and handed only to the children that need them.

A program that is started inherits every variable, and /proc shows what a process began with. So a secret stays in this
module, from its first use on.
"""

import ctypes
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

_withheld: Final[dict[str, str]] = {}  # of this process; nothing else of it has them any more


def withhold(names: Collection[str]) -> Mapping[str, str]:
    """Take these variables out of the environment, also out of what /proc shows, and return those that are known.

    A variable that was set again meanwhile counts with its new value.
    """
    for name in names:
        if (value := os.environ.pop(name, None)) is not None:
            _withheld[name] = value
            _blank(name)
    return {name: _withheld[name] for name in names if name in _withheld}


def forget_withheld() -> None:
    """Begin as a new process does, without any; for tests, which are many systems in one process."""
    _withheld.clear()


def memory_span(field: int) -> tuple[int, int]:
    """Two addresses of this process's memory, from this field of /proc/self/stat on (proc(5), counted from 1)."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()  # the first is number 3
    return int(fields[field - 3]), int(fields[field - 2])


def _blank(name: str) -> None:
    """Write asterisks over this variable's value in the environment that /proc shows, if it is there."""
    begin, end = memory_span(50)
    prefix = os.fsencode(name) + b"="
    at = begin
    for entry in ctypes.string_at(begin, end - begin).split(b"\0"):
        if entry.startswith(prefix):
            ctypes.memset(at + len(prefix), ord("*"), len(entry) - len(prefix))
        at += len(entry) + 1
