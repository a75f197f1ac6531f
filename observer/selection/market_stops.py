"""Stops of a whole market (circuit breaker), as the exchange reports them with a symbol of it. Pure.

In a stop no symbol of the market trades, and each may be reported as halted. That is no reason to take a slot away: no
other symbol of the market can use it, and it is needed when trading resumes.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from bus.events import MarketNotice, MarketStateChanged, UniverseMember
from observer.lines import line_of
from observer.units import NS_PER_S

Market: TypeAlias = tuple[str, str]
"""A venue, empty for the main one, and the exchange that lists what is traded there."""

_BEGIN: Final[frozenset[MarketNotice | None]] = frozenset({"halted", "breaker", "breaker_to_close"})
# An opening is none of them: each symbol of a stopped market may be reported again with it.
_END: Final[frozenset[MarketNotice | None]] = frozenset({"breaker_ended", "closing_auction", "closed"})
_DEALT_AFTER_NS: Final = 60 * NS_PER_S  # what was dealt just before a stop may arrive in it


class MarketStop(msgspec.Struct, frozen=True):
    """A running stop: the market's name, the exchange's notice, and when it was first received (UTC ns)."""

    name: str
    notice: MarketNotice
    since_ns: int


class MarketStops:
    """The `running` stops by market. A stop ends with the exchange's notice, or with a trade that was dealt a minute or
    more after its begin: the notice may have been lost with a connection.
    """

    def __init__(self, members: Mapping[str, UniverseMember]) -> None:
        self._members = members
        self.running: dict[Market, MarketStop] = {}

    def market_of(self, symbol: str) -> Market:
        """The market of a line of the universe."""
        member = self._members.get(symbol)
        return line_of(symbol).venue, "" if member is None else member.exchange

    def is_stopped(self, symbol: str) -> bool:
        """Whether the market of the line is stopped."""
        return bool(self.running) and self.market_of(symbol) in self.running

    def apply(self, state: MarketStateChanged) -> None:
        """Apply what the exchange reports with one symbol."""
        market, notice = self.market_of(state.symbol), state.market_notice
        if notice is not None and notice in _BEGIN:
            since_ns = self.running[market].since_ns if market in self.running else state.receive_time_ns
            self.running[market] = MarketStop(f"{state.venue} {market[1]}".strip(), notice, since_ns)
        elif notice in _END:
            self.running.pop(market, None)

    def traded(self, symbol: str, exchange_time_ns: int) -> None:
        """Apply a streamed trade."""
        market = self.market_of(symbol)
        stop = self.running.get(market)
        if stop is not None and exchange_time_ns >= stop.since_ns + _DEALT_AFTER_NS:
            del self.running[market]
