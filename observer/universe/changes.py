"""What is different between the universes of two days: who came, who left and why, who moved. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from bus.events import UniverseMember
from observer.selection.settings import UniverseSettings
from observer.selection.universe import Security, exclusion, judged_close


class Came(msgspec.Struct, frozen=True):
    """A symbol of the later universe that is not in the earlier one."""

    symbol: str
    name: str
    rank: int


class Left(msgspec.Struct, frozen=True):
    """A symbol of the earlier universe that is not in the later one. `reason` is an exclusion's, `delisted`, or
    `unknown` where today's listings tell none: it was suspended that day and is not any more, say.
    """

    symbol: str
    name: str
    rank: int
    reason: str


class Moved(msgspec.Struct, frozen=True):
    """A symbol whose rank changed; ranks count from 1."""

    symbol: str
    name: str
    rank_before: int
    rank_after: int

    @property
    def places(self) -> int:
        """How many places it rose; fewer than none, it fell."""
        return self.rank_before - self.rank_after


class UniverseChanges(msgspec.Struct, frozen=True):
    """All of it: the new by rank, the gone by their old rank, the moved by how far they moved."""

    stayed: int
    came: Sequence[Came]
    left: Sequence[Left]
    moved: Sequence[Moved]


def changes_between(
    earlier: Sequence[UniverseMember],
    later: Sequence[UniverseMember],
    listed: Mapping[str, Security],
    closes: Mapping[str, float],
    settings: UniverseSettings,
) -> UniverseChanges:
    """The changes from one universe to another; `listed` is what is listed now, `closes` are those that the later
    universe was judged by.
    """
    before = {member.symbol: member for member in earlier}
    after = {member.symbol: member for member in later}
    both = [(before[symbol], member) for symbol, member in after.items() if symbol in before]
    moved = [Moved(new.symbol, new.name, old.rank, new.rank) for old, new in both if old.rank != new.rank]
    return UniverseChanges(
        stayed=len(both),
        came=[Came(member.symbol, member.name, member.rank) for member in later if member.symbol not in before],
        left=[
            Left(
                member.symbol,
                member.name,
                member.rank,
                why_not(listed.get(member.symbol), closes.get(member.symbol), settings),
            )
            for member in earlier
            if member.symbol not in after
        ],
        moved=sorted(moved, key=lambda each: (-abs(each.places), each.rank_after)),
    )


def why_not(security: Security | None, close: float | None, settings: UniverseSettings) -> str:
    """Why a listing with this close of the previous session (None: no bar tells it) is in no universe, as far as the
    listings tell.
    """
    if security is None:
        return "delisted"
    return exclusion(security, judged_close(security, close), settings) or "unknown"
