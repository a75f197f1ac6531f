"""Silenced alerts: a file beside the sockets, which also a command without a running system reads and writes.

A silenced alert stays open and listed; it is not printed by `observer run` and does not fail `observer status`.
"""

from collections.abc import Mapping
from pathlib import Path

from observer.base.state_file import StateFile


class Silences:
    """The silenced identities of one system, each with its end in UTC nanoseconds of market time."""

    def __init__(self, runtime: Path) -> None:
        self._file = StateFile(runtime / "alerts" / "silenced.json", dict[str, int])

    def until(self, now_ns: int) -> Mapping[str, int]:
        """The silences that last at this time; none where the file is missing or damaged."""
        return {identity: until_ns for identity, until_ns in (self._file.read() or {}).items() if until_ns > now_ns}

    def silence(self, identity: str, until_ns: int, now_ns: int) -> None:
        """Silence this identity until then; a time that is over ends its silence.

        Raises:
            OSError: the file cannot be written.
        """
        kept = {**self.until(now_ns), identity: until_ns}
        self._file.write({name: end for name, end in kept.items() if end > now_ns})


def silenced_text(identity: str, for_s: float) -> str:
    """The result of a silence, in words."""
    return f"{identity} is silenced for {for_s / 60:g} minutes" if for_s else f"{identity} is not silenced any more"
