"""One line of each market whose state is streamed for the market's sake, with subscriptions that no slot uses. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Final

from bus.events import UniverseMember
from observer.brokers.broker import RecordKind
from observer.selection.market_stops import MarketStops
from observer.selection.selector import Selector

_LEFT_FREE_MAX: Final = 0.1
"""Of the slots: what an account of few slots streams is the user's, not the watches'."""


def watched(
    selector: Selector, records: Sequence[RecordKind], subscriptions: Mapping[str, int]
) -> Mapping[str, Sequence[str]]:
    """The lines to watch by account: one of each market that has none in a slot whose market state is streamed, where
    the slots leave a subscription and the stream is not closed. `subscriptions` are the accounts' in all.
    """
    wanted, stops = selector.wanted_by_account, selector.market.stops
    covered = {stops.market_of(symbol) for symbol in selector.wanted} if "market_state" in records else set()
    lines = [line for market, line in stops.largest_lines.items() if market not in covered]
    left = {
        name: 0 if name in selector.closed_accounts else count - len(records) * len(wanted.get(name, ()))
        for name, count in subscriptions.items()
    }
    return placed(lines, left)


def left_free(
    members: Iterable[UniverseMember],
    records: Sequence[RecordKind],
    slots: Iterable[int],
    subscriptions: Iterable[int],
) -> int:
    """How many slots fillers leave free so that each market has a subscription for its line beside them; 0 where the
    slots' own lines stream market states. `slots` and `subscriptions` are those of each account.
    """
    if "market_state" in records:
        return 0
    lines, held = len(MarketStops({each.symbol: each for each in members}).largest_lines), sum(slots)
    lacking = lines - (sum(subscriptions) - held * len(records))
    return max(0, min(ceil(lacking / len(records)), int(held * _LEFT_FREE_MAX)))


def placed(lines: Iterable[str], left: Mapping[str, int]) -> Mapping[str, Sequence[str]]:
    """The lines by account: each at the first account with a subscription left, as long as there is one. `left` are the
    subscriptions by account that no slot uses.
    """
    free = dict(left)
    found: dict[str, list[str]] = {account: [] for account in free}
    for line in lines:
        account = next((account for account, count in free.items() if count > 0), None)
        if account is None:
            break
        free[account] -= 1
        found[account].append(line)
    return found
