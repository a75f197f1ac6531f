"""Stops of a whole market (circuit breaker), as the exchange reports them with a symbol of it. Pure.

In a stop no symbol of the market trades, and each may be reported as halted. That is no reason to take a slot away: no
other symbol of the market can use it, and it is needed when trading resumes.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Final, TypeAlias

import msgspec

from bus.events import MarketNotice, MarketStateChanged, Snapshot, UniverseMember
from observer.base.lines import line_of
from observer.base.units import NS_PER_S

Market: TypeAlias = tuple[str, str]
"""A venue, empty for the main one, and the exchange that lists what is traded there."""

BEGIN: Final[frozenset[MarketNotice | None]] = frozenset({"halted", "breaker", "breaker_to_close"})
# An opening is none of them: each symbol of a stopped market may be reported again with it.
_END: Final[frozenset[MarketNotice | None]] = frozenset({"breaker_ended", "closing_auction", "closed"})
AROUND_NS: Final = 60 * NS_PER_S
"""What belongs to a stop comes at most so long before its notice, what was dealt before it at most so long after."""


class MarketStop(msgspec.Struct, frozen=True):
    """A running stop: the market's name, the exchange's notice, and when it was first received (UTC ns)."""

    name: str
    notice: MarketNotice
    since_ns: int


class MarketStops:
    """The `running` stops by market. A stop ends with the exchange's notice, which may be lost with a connection and
    which not every stop has; or with a symbol of its market that traded between two sweeps in it. Trades of the stream
    end none: a market without a slot has none, and a process that resumes reads notices and sweeps alone.
    """

    def __init__(self, members: Mapping[str, UniverseMember]) -> None:
        self._members = members
        self.running: dict[Market, MarketStop] = {}
        self._volumes: dict[Market, dict[str, float]] = {}  # the first ones in each stop

    @cached_property
    def largest_lines(self) -> Mapping[Market, str]:
        """The first line of each market by rank, those of the main venue first."""
        first: dict[Market, str] = {}
        for line in self._members:
            first.setdefault(self.market_of(line), line)
        return {market: first[market] for market in sorted(first)}

    def market_of(self, symbol: str) -> Market:
        """The market of a line of the universe."""
        member = self._members.get(symbol)
        return line_of(symbol).venue, "" if member is None else member.exchange

    def is_stopped(self, symbol: str) -> bool:
        """Whether the market of the line is stopped."""
        return bool(self.running) and self.market_of(symbol) in self.running

    def apply(self, state: MarketStateChanged) -> bool:
        """Apply what the exchange reports with one symbol; returns whether a stop begins."""
        market, notice = self.market_of(state.symbol), state.market_notice
        begins = notice in BEGIN and market not in self.running
        if notice is not None and notice in BEGIN:
            since_ns = state.receive_time_ns if begins else self.running[market].since_ns
            self.running[market] = MarketStop(f"{state.venue} {market[1]}".strip(), notice, since_ns)
        elif notice in _END:
            self.running.pop(market, None)
        if begins:
            self._volumes[market] = {}
        return begins

    def swept(self, snapshot: Snapshot) -> None:
        """Apply a snapshot of Track A."""
        if not self.running:
            return
        market, volume = self.market_of(snapshot.symbol), snapshot.cumulative_volume
        stop = self.running.get(market)
        if stop is None or snapshot.receive_time_ns < stop.since_ns + AROUND_NS:
            return
        if volume > self._volumes[market].setdefault(snapshot.symbol, volume):
            del self.running[market]
