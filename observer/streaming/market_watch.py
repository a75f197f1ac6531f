"""One line of each market whose state is streamed for the market's sake, where subscriptions are left. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from observer.providers.broker import RecordKind
from observer.selection.selector import Selector


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
