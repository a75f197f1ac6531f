"""The differences between the universes of two days: new symbols, removed ones with the reason, changed ranks. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from bus.events import UniverseMember
from observer.base.lines import stock_of
from observer.reference.listings.model import Listing
from observer.reference.universe.eligibility import exclusion, judged_close
from observer.selection.settings import UniverseSettings


class Came(msgspec.Struct, frozen=True):
    """A symbol of the later universe that is not in the earlier one."""

    symbol: str
    name: str
    rank: int


class Left(msgspec.Struct, frozen=True):
    """A symbol of the earlier universe that is not in the later one. `reason` is an exclusion's, `delisted`, `venue`
    (the stock is still a member, and this line's venue does not trade it), or `unknown` if today's listings do not show
    one (a suspension of that day that has ended, for example).
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
    def ranks(self) -> int:
        """How many ranks it rose; negative for a fall."""
        return self.rank_before - self.rank_after


class UniverseChanges(msgspec.Struct, frozen=True):
    """All differences: new symbols by rank, removed ones by their old rank, moved ones by the size of the move."""

    stayed: int
    came: Sequence[Came]
    left: Sequence[Left]
    moved: Sequence[Moved]


def changes_between(
    earlier: Sequence[UniverseMember],
    later: Sequence[UniverseMember],
    listed: Mapping[str, Listing],
    closes: Mapping[str, float],
    settings: UniverseSettings,
) -> UniverseChanges:
    """The changes from one universe to another; `listed` are the current listings, `closes` the closes that the later
    universe was judged by.
    """
    before = {member.symbol: member for member in earlier}
    after = {member.symbol: member for member in later}

    def reason(line: str) -> str:
        stock = stock_of(line)
        return "venue" if stock in after else why_not(listed.get(stock), closes.get(stock), settings)

    both = [(before[symbol], member) for symbol, member in after.items() if symbol in before]
    moved = [Moved(new.symbol, new.name, old.rank, new.rank) for old, new in both if old.rank != new.rank]
    return UniverseChanges(
        stayed=len(both),
        came=[Came(member.symbol, member.name, member.rank) for member in later if member.symbol not in before],
        left=[
            Left(each.symbol, each.name, each.rank, reason(each.symbol)) for each in earlier if each.symbol not in after
        ],
        moved=sorted(moved, key=lambda each: (-abs(each.ranks), each.rank_after)),
    )


def why_not(security: Listing | None, close: float | None, settings: UniverseSettings) -> str:
    """The reason for a listing's exclusion, as far as the listings show it; the close is the previous session's (None:
    no bar).
    """
    if security is None:
        return "delisted"
    return exclusion(security, judged_close(security, close), settings) or "unknown"
