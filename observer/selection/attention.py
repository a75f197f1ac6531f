"""Which symbols Track A asks between two full sweeps, and which volume rises it reports. Pure.

A full sweep comes every ten minutes, so a surge waits half of that for its first snapshot, while the
broker's limit is idle. Between sweeps Track A therefore asks again, with a share of the limit:

- **What is asked.** Each symbol has a time at which it is due; the earliest due are asked first, a full request at a
  time, when the last symbol of the request is due. So no symbol starves: it waits at most its interval, and as long as
  the others that are due need. Symbols with a slot are not asked, their trades show all.
- **How often.** The interval is half the expected time to the threshold. At the usual rate that is the time in which a
  surge of `TYPICAL_SURGE` times the usual rate would be evident (`observer.selection.recent_volume`): seconds for a
  symbol with a trade a second, minutes for a quiet one, which shows nothing sooner however often it is asked. A symbol
  whose latest minutes already read higher has the shorter time that this rate needs. Bounds: `ASK_MIN_S`, `ASK_MAX_S`.
- **What is stored.** Track A keeps the latest volumes of each symbol in memory, and compares several intervals that end
  now, the shortest first. The first one with a surge's ratio and evidence is published as one event with both its ends
  (`VolumeRise`), again each `REPORT_S` while the surge lasts without a slot. All other answers are forgotten. Track B's
  triggers see the committed event alone, and judge it by the same rules.

Symbols without an average volume or a profile, and universes without a pace (`UniversePace`), are left to the sweeps.
"""

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from operator import itemgetter
from typing import Final

import msgspec

from bus.events import Snapshot, UniverseMember
from observer.base.lines import stock_of
from observer.base.units import NS_PER_S
from observer.selection.market_state import MarketState
from observer.selection.recent_volume import trades_needed
from observer.selection.triggers import TriggersSettings

TYPICAL_SURGE: Final = 6.0  # times the usual rate: the median surge of `python -m tests.bench slots`
ASK_MIN_S: Final = 10.0  # the interval of Track B's evaluations: a faster answer would wait
ASK_MAX_S: Final = 60.0
REPORT_S: Final = 300.0  # in which a candidate's score halves: a newer rise keeps it
_WINDOWS_S: Final = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)  # least lengths of the compared intervals
_KEPT_S: Final = 600.0


class Request(msgspec.Struct, frozen=True):
    """The symbols of the next request, and when it is due (UTC ns)."""

    symbols: Sequence[str]
    due_ns: int


class Rise(msgspec.Struct, frozen=True):
    """An interval, which ends with the latest answer, with a surge's volume."""

    since_ns: int
    since_volume: float
    usual_volume: float


class _History:
    """A symbol's volumes of the last minutes, at rising times, and when it was reported last."""

    __slots__ = ("reported_ns", "times_ns", "volumes")

    def __init__(self) -> None:
        self.times_ns: list[int] = []
        self.volumes: list[float] = []
        self.reported_ns = 0

    def add(self, at_ns: int, volume: float) -> bool:
        """Add the latest volume. Returns False for one that is older than the last or below it."""
        if self.times_ns and (at_ns <= self.times_ns[-1] or volume < self.volumes[-1]):
            return False
        self.times_ns.append(at_ns)
        self.volumes.append(volume)
        old = bisect_right(self.times_ns, at_ns - _KEPT_S * NS_PER_S) - 1
        if old > 0:  # the last volume before that time begins the longest interval
            del self.times_ns[:old], self.volumes[:old]
        return True

    def beginnings(self, at_ns: int) -> Iterator[int]:
        """The indices at which the compared intervals begin that end now, the latest first."""
        last = -1
        for window_s in _WINDOWS_S:
            index = bisect_right(self.times_ns, at_ns - round(window_s * NS_PER_S)) - 1
            if index < 0:
                return
            if index != last:
                yield index
            last = index


class Attention:
    """The symbols' latest answers, and when each is due again. Explicit state, no clock.

    Args:
        market: the day's state by Track A's own sweeps; it states usual volumes and the size of trades.
        triggers: of the volume surge.
    """

    def __init__(self, market: MarketState, triggers: TriggersSettings) -> None:
        self._market = market
        self._surge = triggers.of("volume_surge").threshold
        self._hold = triggers.recent_volume.hold_threshold
        self._deviations_min = triggers.recent_volume.deviations_min
        self._histories: dict[str, _History] = {}
        self._due_ns: dict[str, int] = {}

    def update_sweep(self, swept: Sequence[Snapshot]) -> None:
        """Apply a full sweep: every symbol with an answer and a usual volume is due one interval after it."""
        for snapshot in swept:
            self._market.update_snapshot(snapshot)
        self._market.update_pace()
        for snapshot in swept:
            if snapshot.symbol in self._market.members:
                self._update(snapshot.symbol, snapshot.cumulative_volume, snapshot.receive_time_ns)

    def update_history(self, members: Iterable[UniverseMember]) -> None:
        """Apply the closes and averages of a later build; the next sweep makes the symbols due."""
        self._market.update_history(members)

    def update_trade_volumes(self, volumes: Mapping[str, float]) -> None:
        """Apply the mean volumes of the day's streamed trades, by symbol; the first ones make symbols due."""
        for symbol, volume in volumes.items():
            self._market.of(symbol).trade_volume = volume
        self._market.update_trade_value()
        for symbol in self._histories.keys() - self._due_ns.keys():
            history = self._histories[symbol]
            self._plan(symbol, 0.0, history.times_ns[-1])

    def next_request(self, size: int, streamed: Container[str]) -> Request | None:
        """The next request of at most so many symbols, without those that are streamed; None if there is no symbol. Two
        lines of one stock are in requests of their own: together they can cost a call more (`QuoteSource.quotes`).
        """
        waiting = (item for item in self._due_ns.items() if item[0] not in streamed)
        chosen: dict[str, tuple[str, int]] = {}
        for symbol, due_ns in nsmallest(size, waiting, key=itemgetter(1)):
            chosen.setdefault(stock_of(symbol), (symbol, due_ns))
        if not chosen:
            return None
        return Request([symbol for symbol, _ in chosen.values()], max(due_ns for _, due_ns in chosen.values()))

    def requested(self, symbols: Iterable[str], now_ns: int) -> None:
        """Put off symbols whose answer is awaited; without one they are due after the longest interval."""
        for symbol in symbols:
            self._due_ns[symbol] = now_ns + round(ASK_MAX_S * NS_PER_S)

    def answered(self, symbol: str, volume: float, at_ns: int) -> Rise | None:
        """Apply a symbol's volume. Returns the interval with a surge's volume, if there is one to report; None for a
        symbol that no sweep had: a broker may answer more than it was asked.
        """
        if symbol not in self._histories:
            return None
        found = self._update(symbol, volume, at_ns)
        history = self._histories[symbol]
        if found is None or at_ns - history.reported_ns < REPORT_S * NS_PER_S:
            return None
        history.reported_ns = at_ns
        return found

    def _update(self, symbol: str, volume: float, at_ns: int) -> Rise | None:
        history = self._histories.setdefault(symbol, _History())
        if not history.add(at_ns, volume):
            return None
        found, highest = self._found(symbol, history, volume, at_ns)
        self._plan(symbol, highest, at_ns)
        return found

    def _plan(self, symbol: str, ratio: float, at_ns: int) -> None:
        interval_s = self._interval_s(symbol, ratio, at_ns)
        if interval_s is None:
            self._due_ns.pop(symbol, None)  # until more is known
        else:
            self._due_ns[symbol] = at_ns + round(interval_s * NS_PER_S)

    def _found(self, symbol: str, history: _History, volume: float, at_ns: int) -> tuple[Rise | None, float]:
        """The shortest interval with the ratio and the evidence of a surge, and the highest ratio of those compared."""
        member, highest = self._market.members[symbol], 0.0
        threshold = self._threshold(member, volume)
        for index in history.beginnings(at_ns):
            since_ns, risen = history.times_ns[index], volume - history.volumes[index]
            usual = self._market.usual_between(symbol, since_ns, at_ns)
            if usual is None:
                continue
            ratio = risen / usual
            highest = max(highest, ratio)
            if ratio >= threshold and (self._market.certain_ratio(member, ratio, usual) or 0.0) >= self._hold:
                return Rise(since_ns, history.volumes[index], usual), highest
        return None, highest

    def _threshold(self, member: UniverseMember, volume: float) -> float:
        """The ratio that fires the trigger: the renewing one once the day so far has a surge's ratio."""
        average = member.average_volume_20d
        return self._hold if average and volume >= average * self._surge else self._surge

    def _interval_s(self, symbol: str, ratio: float, at_ns: int) -> float | None:
        """Half the time in which a rate of this many times the usual one, or a typical surge, would be evident; None if
        nothing can be.
        """
        usual = self._market.usual_between(symbol, at_ns - round(_KEPT_S * NS_PER_S), at_ns)
        trade_volume = self._market.trade_volume(self._market.members[symbol])
        if usual is None or trade_volume is None:
            return None
        expected = max(TYPICAL_SURGE, 2 * self._hold, ratio)
        needed = trades_needed(expected, self._hold, self._deviations_min) * trade_volume
        return min(ASK_MAX_S, max(ASK_MIN_S, needed / usual * _KEPT_S / 2))
