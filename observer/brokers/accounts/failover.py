"""Decides which accounts cannot stream for now, so that their symbols should move. Pure.

A connection that is lost for a moment is no reason: its symbols are subscribed again when it is back, in less time than
a move takes. An account is *closed* when its stream has been down for `after_s` market seconds while another one's was
up; it opens again when its stream is up. Before its stream has come up for the first time, the time counts from the
first check. Failed REST calls are no reason: a stream needs none, and each move costs two subscriptions.

While no stream is up, no account closes or opens: a broker's outage ends all streams, each at another moment, and a
symbol that moves to an account without a stream gains nothing and may cost another symbol its slot. After it the
streams come up one by one: each account has its time from the first of them on, or all symbols would move to that one,
and home again moments later.
"""

from collections.abc import Iterable

from observer.base.units import NS_PER_S


class StreamOutages:
    """The start of each account's stream outage; explicit state, no clock."""

    __slots__ = ("_after_ns", "_any_up_since_ns", "_closed", "_down_since_ns")

    def __init__(self, accounts: Iterable[str], now_ns: int, after_s: float) -> None:
        self._after_ns = round(after_s * NS_PER_S)
        self._down_since_ns: dict[str, int | None] = dict.fromkeys(accounts, now_ns)
        self._any_up_since_ns = now_ns
        self._closed: frozenset[str] = frozenset()

    def came_up(self, account: str, now_ns: int) -> None:
        if None not in self._down_since_ns.values():
            self._any_up_since_ns = now_ns
        self._down_since_ns[account] = None

    def went_down(self, account: str, now_ns: int) -> None:
        """The account's stream is not connected any more, or could not be connected again."""
        if self._down_since_ns[account] is None:
            self._down_since_ns[account] = now_ns

    def stay_down(self, accounts: Iterable[str]) -> None:
        """Keep accounts that an earlier process had closed as they are until their stream is up."""
        self._closed |= {account for account in accounts if self._down_since_ns.get(account) is not None}

    def closed(self, now_ns: int) -> frozenset[str]:
        """The accounts that cannot stream while another account can. While no account can stream, the result of the
        last call.
        """
        down = {account: since_ns for account, since_ns in self._down_since_ns.items() if since_ns is not None}
        if len(down) < len(self._down_since_ns):
            until_ns = now_ns - self._after_ns
            long_down = {each for each, since_ns in down.items() if max(since_ns, self._any_up_since_ns) <= until_ns}
            self._closed = frozenset(long_down | (self._closed & down.keys()))
        return self._closed
