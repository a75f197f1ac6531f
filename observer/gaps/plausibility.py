"""Whether a streamed trade can be real, before the gap detector sees it. Pure.

One false trade with a large volume of the day would make all real trades after it duplicates. So a trade of another day
or hour is refused, and one that no ordinary market explains is held until the broker's quote or the next trades decide:

* *price*: outside the day's limits, as the broker's quotes state them. A quote's own prices widen them.
* *volume*: the day's volume grows by more than `SURGE` times the symbol's usual rate in the time since the last known
  volume. The usual rate is the larger one of the 20 days' average and the day so far, both from the broker's REST
  calls. `GRACE_S` is added to that time: it lets through auctions and blocks of up to a quarter of a usual day.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Final, Literal

import msgspec

from bus.events import Snapshot, Trade
from observer.base.lines import line_of
from observer.base.units import NS_PER_S
from observer.gaps.intervals import VOLUME_NOISE

AHEAD_MAX_NS: Final = 1_800 * NS_PER_S  # of the machine's clock; a clock that is wrong must not refuse a whole day
SURGE: Final = 20.0
GRACE_S: Final = 300.0
USUAL_SESSION_S: Final = 23_400.0  # six and a half hours, the days of the 20 days' average
SHORTEST_RATE_S: Final = 1_800.0  # the opening's volume is no rate: the day so far counts as at least half an hour
VOTES: Final = 2  # consecutive trades that decide about a held one while the broker does not answer


class TradingHours(msgspec.Struct, frozen=True):
    """One session day, and the span (UTC nanoseconds) in which its trades can lie. `opens_ns` is the begin of the
    regular session. `others` holds the hours of further venues by name.
    """

    session_date: str
    from_ns: int
    to_ns: int
    opens_ns: int
    others: "Mapping[str, TradingHours]" = {}

    def of(self, line_id: str) -> "TradingHours":
        return self.others.get(line_of(line_id).venue, self) if self.others else self


class ObservedState(msgspec.Struct, frozen=True):
    """What a quote or a sweep says of a symbol: the range its prices can have, and the day's volume at a time."""

    lower: float
    upper: float
    volume: float
    at_ns: int


def observed_state(
    volume: float, at_ns: int, limits: tuple[float | None, float | None], prices: Sequence[float | None]
) -> ObservedState:
    """The state that a quote shows. `limits` are the lower and the upper one, None where there is none; `prices` are
    those of the day that the quote names, which can lie outside limits that are wrong.
    """
    lower, upper = limits
    named = [price for price in prices if price]
    return ObservedState(min([lower, *named]) if lower else -inf, max([upper, *named]) if upper else inf, volume, at_ns)


def state_of(snapshot: Snapshot) -> ObservedState:
    """The state that a sweep shows."""
    return observed_state(
        snapshot.cumulative_volume,
        snapshot.receive_time_ns,
        (snapshot.lower_limit, snapshot.upper_limit),
        (snapshot.price, snapshot.high, snapshot.low),
    )


class Bounds:
    """The bounds within which a symbol's trade is plausible without a further check: price, volume of the day after it,
    and time, which lies within `hours`.
    """

    __slots__ = ("average_per_s", "ceiling", "hours", "lower", "observed", "upper", "usual_per_s")

    def __init__(self, hours: TradingHours) -> None:
        self.hours = hours
        self.lower = -inf
        self.upper = inf
        self.ceiling = inf
        self.observed: ObservedState | None = None
        self.average_per_s = 0.0  # of the 20 days; shares a market second; 0 while unknown
        self.usual_per_s = 0.0  # the larger one of that and the day so far


class TradeScreen:
    """Judges the streamed trades of one session day. Explicit state, no clock.

    `bounds` are those of each symbol that was streamed, for the caller's hot path: within them, and within the hours,
    `doubt` finds nothing.
    """

    def __init__(self, hours: TradingHours) -> None:
        self.hours = hours
        self.unbounded: Final = Bounds(hours)  # of symbols that were not streamed
        self.bounds: dict[str, Bounds] = {}
        self._observed: dict[str, ObservedState] = {}  # also of symbols that are not streamed

    def expect(self, symbol: str, average_volume: float | None) -> None:
        """Begin to judge a symbol's volume; `average_volume` is that of a usual day, None if unknown."""
        bounds = self._of(symbol)
        bounds.average_per_s = (average_volume or 0.0) / USUAL_SESSION_S
        bounds.usual_per_s = max(bounds.usual_per_s, bounds.average_per_s)
        if bounds.usual_per_s:
            bounds.ceiling = -inf  # the next trade sets it
        if (state := self._observed.get(symbol)) is not None:
            self._apply(bounds, state)

    def observe(self, symbol: str, state: ObservedState) -> None:
        """Apply a quote or a sweep."""
        self._observed[symbol] = state
        if (bounds := self.bounds.get(symbol)) is not None:
            self._apply(bounds, state)

    def misdated(self, trade: Trade) -> str:
        """Why the trade's day or time cannot be; empty if it can."""
        hours = self.hours.of(trade.symbol)
        if trade.session_date != hours.session_date:
            return f"a trade of {trade.session_date}, and the session is that of {hours.session_date}"
        if not hours.from_ns <= trade.exchange_time_ns <= hours.to_ns:
            return "its time is outside the market's hours"
        if trade.exchange_time_ns > trade.receive_time_ns + AHEAD_MAX_NS:
            ahead_s = (trade.exchange_time_ns - trade.receive_time_ns) / NS_PER_S
            return f"its time is {ahead_s:,.0f} s ahead of this machine's clock: if that is slow, set it with chrony"
        return ""

    def doubt(self, trade: Trade, known: tuple[float, int] | None) -> str:
        """Why the trade is to be held; empty if it is plausible. `known` is the symbol's last known volume and its
        time, from the stream.
        """
        bounds = self.bounds.get(trade.symbol, self.unbounded)
        if not bounds.lower <= trade.price <= bounds.upper:
            return f"price {trade.price:,.10g} outside {bounds.lower:,.10g} to {bounds.upper:,.10g}"
        if not bounds.usual_per_s:
            return ""
        volume, at_ns = _last_known(known, bounds)
        allowed = allowed_volume(bounds.usual_per_s, trade.receive_time_ns - at_ns)
        if trade.cumulative_volume - volume <= allowed:
            return ""
        return (
            f"the day's volume grows from {volume:,.10g} to {trade.cumulative_volume:,.10g}, "
            f"plausible are {allowed:,.0f} more"
        )

    def passed(self, trade: Trade) -> None:
        """Raise the symbol's ceiling over a trade that `doubt` let through."""
        if (bounds := self.bounds.get(trade.symbol)) is not None:
            allowed = allowed_volume(bounds.usual_per_s, 0) if bounds.usual_per_s else inf
            bounds.ceiling = trade.cumulative_volume + allowed

    def look_closely(self, symbol: str) -> None:
        """Judge each trade of the symbol until the next that passes."""
        self._of(symbol).ceiling = -inf

    def _of(self, symbol: str) -> Bounds:
        bounds = self.bounds.get(symbol)
        if bounds is None:
            bounds = self.bounds[symbol] = Bounds(self.hours.of(symbol))
        return bounds

    def _apply(self, bounds: Bounds, state: ObservedState) -> None:
        bounds.observed, bounds.lower, bounds.upper = state, state.lower, state.upper
        traded_s = max((state.at_ns - bounds.hours.opens_ns) / NS_PER_S, SHORTEST_RATE_S)
        bounds.usual_per_s = max(bounds.average_per_s, state.volume / traded_s)
        if bounds.ceiling == inf:
            bounds.ceiling = -inf  # the next trade sets it


def _last_known(known: tuple[float, int] | None, bounds: Bounds) -> tuple[float, int]:
    """The largest known volume of the day and its time; the opening and 0 if no volume is known."""
    found, observed = known or (0.0, bounds.hours.opens_ns), bounds.observed
    if observed is None or found[0] >= observed.volume:
        return found
    return observed.volume, observed.at_ns


def allowed_volume(usual_per_s: float, elapsed_ns: int) -> float:
    """By how many shares the day's volume can plausibly grow in this time."""
    return SURGE * usual_per_s * (max(0, elapsed_ns) / NS_PER_S + GRACE_S)


def continues(trade: Trade, volume: float) -> bool:
    """Whether the trade is the next one after this volume of the day."""
    return abs(trade.cumulative_volume - trade.volume - volume) <= VOLUME_NOISE


def run_length(held: Sequence[Trade]) -> int:
    """How many of these trades, in the order of the day's volume, continue each other from the first one on."""
    pairs = enumerate(pairwise(held), 1)
    return next((number for number, (one, other) in pairs if not continues(other, one.cumulative_volume)), len(held))


def vote(
    held: Sequence[Trade], continuing: int, waiting: Sequence[Trade] = ()
) -> Literal["confirmed", "refuted"] | None:
    """Decide about held trades by the other trades, in the order of the day's volume.

    Two successive trades that continue the first held trade confirm it and each other. Two trades that continued the
    chain without the held trade refute it. So do three successive trades among the plausible trades `waiting` behind
    it.
    """
    if continuing >= VOTES:
        return "refuted"
    if run_length(held) > VOTES:
        return "confirmed"
    return "refuted" if run_length(waiting) > VOTES else None
