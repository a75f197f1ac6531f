"""When places change hands too often, and what is done about it. Requirement 004, Edge Case 3: Rapid Symbol Churn.

Each replacement costs two requests to a broker that blocks keys which re-subscribe in loops, and the seconds in which
neither symbol is streamed. Pure: the moments of the latest replacements are the whole state.
"""

import msgspec

from observer.selection.settings import SlotSettings
from observer.selection.triggers import Candidate

_NS_PER_S = 1_000_000_000


class Churn(msgspec.Struct, frozen=True):
    """When (UTC ns) the replacements of the last window happened, oldest first."""

    replaced_ns: tuple[int, ...] = ()

    def after(self, replacements: int, now_ns: int, settings: SlotSettings) -> "Churn":
        """So many more happened now; those before the window are forgotten."""
        return Churn((*self._recent(now_ns, settings), *(now_ns for _ in range(replacements))))

    def count(self, now_ns: int, settings: SlotSettings) -> int:
        """Replacements in the window that ends now."""
        return len(self._recent(now_ns, settings))

    def _recent(self, now_ns: int, settings: SlotSettings) -> tuple[int, ...]:
        horizon_ns = now_ns - round(settings.churn_window_seconds * _NS_PER_S)
        return tuple(moment_ns for moment_ns in self.replaced_ns if moment_ns > horizon_ns)


def is_rapid(churn: Churn, now_ns: int, settings: SlotSettings) -> bool:
    """Whether more replacements than allowed happened in the window that ends now."""
    return churn.count(now_ns, settings) > settings.churn_max_replacements


def lengthened(candidate: Candidate, now_ns: int, settings: SlotSettings) -> Candidate:
    """The candidate with a longer life."""
    if candidate.expires_ns is None:
        return candidate
    life_ns = candidate.expires_ns - now_ns
    return msgspec.structs.replace(candidate, expires_ns=now_ns + round(life_ns * settings.churn_ttl_factor))
