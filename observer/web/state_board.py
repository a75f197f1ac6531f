"""The board of slots: which lines hold them, why, and what they trade. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, get_args

import msgspec

from bus.events import (
    CloseReason,
    ConnectionChanged,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    TokenRenewed,
    TriggerEnded,
    TriggerFired,
)
from observer.base.units import NS_PER_S
from observer.selection.allocation import PINNED
from observer.selection.slot_projection import SlotProjection
from observer.web.model import Account, Board, Slot
from observer.web.state_prices import LinePrices, Prices
from observer.web.state_system import local_time

BoardEvent = (
    SlotAssigned
    | SlotExtended
    | SlotReleased
    | SlotOverflowed
    | TriggerFired
    | TriggerEnded
    | ConnectionChanged
    | TokenRenewed
)

_CLOSED: Final = get_args(CloseReason)
_UP: Final = "connected"


class BoardFold:
    """Folds a day's slots, connections and tokens.

    Args:
        capacities: the number of slots of each account, in the order of use.
        keeps_last: whether the slots that the day's end releases stay on the board, as of a past day.
    """

    def __init__(self, capacities: Mapping[str, int], *, keeps_last: bool = False) -> None:
        self._capacities = capacities
        self._keeps_last = keeps_last
        self._slots = SlotProjection()
        self._connected: dict[str, bool] = {}
        self._expires_ns: dict[str, int | None] = {}

    def apply(self, event: BoardEvent) -> None:
        """Apply the next event of the day."""
        match event:
            case ConnectionChanged():
                self._connected[event.account] = event.state == _UP
            case TokenRenewed():
                if event.succeeded:
                    self._expires_ns[event.account] = event.expires_ns
            case SlotReleased(reason=reason) if self._keeps_last and reason in _CLOSED:
                pass
            case _:
                self._slots.apply(event)

    @property
    def waiting(self) -> int:
        """The lines without a slot for which a condition holds."""
        holding = {line for line, _ in self._slots.active}
        return sum(line in holding for line in self._slots.waiting)

    @property
    def slots_held(self) -> int:
        """The number of lines with a slot."""
        return len(self._slots.held)

    def board(self, prices: Prices, now_ns: int, known_ms: int, name_of: Callable[[str], str]) -> Board:
        """The board at this moment (UTC ns)."""
        held: dict[str, list[Slot]] = {}
        for slot_id, holder in sorted(self._slots.held.items()):
            account = slot_id.partition(":")[0]
            held.setdefault(account, []).append(_slot(holder, prices, now_ns, name_of))
        names = [*self._capacities, *sorted(held.keys() - self._capacities.keys())]
        accounts = [self._account(name, held.get(name, ())) for name in names]
        return Board(known_ms=known_ms, accounts=accounts, waiting=self.waiting)

    def _account(self, name: str, slots: Sequence[Slot]) -> Account:
        expires_ns = self._expires_ns.get(name)
        return Account(
            name=name,
            slots_max=self._capacities.get(name, len(slots)),
            is_connected=self._connected.get(name),
            token_expires=None if expires_ns is None else local_time(expires_ns),
            slots=slots,
        )


def _slot(holder: SlotAssigned, prices: Prices, now_ns: int, name_of: Callable[[str], str]) -> Slot:
    line = prices.lines.get(holder.symbol, _NEVER_SEEN)
    return Slot(
        line=holder.symbol,
        name=name_of(holder.symbol),
        why="pin" if holder.trigger == PINNED else holder.trigger,
        score=holder.score,
        since=local_time(holder.assigned_ns),
        trades_per_minute=float(line.trades_in_minute(now_ns)),
        price=line.price,
        price_age_s=None if line.price is None else round(max(0, now_ns - line.at_ns) / NS_PER_S, 1),
        change_percent=line.change_percent,
        prices=line.points,
    )


_NEVER_SEEN: Final = LinePrices()


def without_connections(board: Board) -> Board:
    """The board while the process that holds the connections does not run."""
    accounts = [msgspec.structs.replace(account, is_connected=None) for account in board.accounts]
    return msgspec.structs.replace(board, accounts=accounts)


def without_live_figures(board: Board) -> Board:
    """The board of a past day: rates and ages are of a running one."""
    replace = msgspec.structs.replace
    accounts = [
        replace(
            account,
            is_connected=None,
            token_expires=None,
            slots=[replace(slot, trades_per_minute=None, price_age_s=None) for slot in account.slots],
        )
        for account in board.accounts
    ]
    return replace(board, accounts=accounts)
