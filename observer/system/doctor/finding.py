"""A finding: what one check says, and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

Level = Literal["ok", "warning", "critical"]


class Finding(msgspec.Struct, frozen=True):
    """The result of one check, in a sentence; `remedy` says what to do, and is empty where all is well. `days` has the
    places that hold each day, by its date, where the check is about that.
    """

    check: str
    level: Level
    text: str
    remedy: str = ""
    days: Mapping[str, Sequence[str]] | msgspec.UnsetType = msgspec.UNSET


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """The system works, and something should be done."""
    return Finding(check, "warning", text, remedy)


def critical(check: str, text: str, remedy: str) -> Finding:
    """Data are lost, or the system cannot work as it is."""
    return Finding(check, "critical", text, remedy)
