"""Which lines may hold no slot now because their venue is closed while another one trades. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from observer.lines import line_of
from observer.selection.settings import VenueWindow

_NEVER_NS: Final = 2**63


class VenueHours:
    """The lines of closed venues.

    Only venues of the universe's lines count: with lines of one venue alone, its break is no reason to give up slots.
    """

    def __init__(self, windows: Sequence[VenueWindow], line_ids: Iterable[str]) -> None:
        self._lines: dict[str, list[str]] = {}
        for line_id in line_ids:
            self._lines.setdefault(line_of(line_id).venue, []).append(line_id)
        self._windows = [each for each in windows if each.venue in self._lines]
        self._until_ns = 0 if self._windows else _NEVER_NS  # nothing changes before

    def closed(self, now_ns: int) -> frozenset[str] | None:
        """The lines whose venue is closed now while another one is open; None where no venue has opened or closed
        since the last call.
        """
        if now_ns < self._until_ns:
            return None
        bounds = (moment_ns for each in self._windows for moment_ns in (each.from_ns, each.to_ns))
        self._until_ns = min((moment_ns for moment_ns in bounds if moment_ns > now_ns), default=_NEVER_NS)
        opened = {each.venue for each in self._windows if each.from_ns <= now_ns < each.to_ns}
        closed = self._lines.keys() - opened if opened else ()
        return frozenset(line_id for venue in closed for line_id in self._lines[venue])
