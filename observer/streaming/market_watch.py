"""One line of each market whose state is streamed for the market's sake, where subscriptions are left. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from observer.providers.broker import RecordKind
from observer.selection.market_stops import Market
from observer.selection.selector import Selector


def watched(
    selector: Selector, records: Sequence[RecordKind], subscriptions: Mapping[str, int]
) -> Mapping[str, Sequence[str]]:
    """The lines to watch by account: one of each market that has none in a slot whose market state is streamed, where
    the slots leave a subscription. `subscriptions` are the accounts' in all.
    """
    wanted, market_of = selector.wanted_by_account, selector.market.stops.market_of
    covered = {market_of(symbol) for symbol in selector.wanted} if "market_state" in records else set()
    lines = largest_lines(selector.market.members, market_of).items()
    left = {name: count - len(records) * len(wanted.get(name, ())) for name, count in subscriptions.items()}
    return placed([line for market, line in lines if market not in covered], left)


def largest_lines(lines: Iterable[str], market_of: Callable[[str], Market]) -> Mapping[Market, str]:
    """The first line of each market, those of the main venue first. `lines` are the universe by rank."""
    first: dict[Market, str] = {}
    for line in lines:
        first.setdefault(market_of(line), line)
    return {market: first[market] for market in sorted(first)}


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
