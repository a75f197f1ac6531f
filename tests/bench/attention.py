"""Track A's requests between sweeps on made-up days, and how soon a surge is detected: a part of `bench slots`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from bus.events import Event, RiseApplied, TriggerEnded, TriggerFired
from observer.selection.attention import Attention
from observer.selection.market_state import MarketState
from observer.selection.profile import EarlierDays
from observer.selection.recent_volume import certain_ratio
from observer.selection.triggers import TriggersSettings
from tests.bench.surges import STEP_S, STEPS, TRADE_VOLUME, Surge, SymbolDay, usual_shares

SYMBOLS_A_REQUEST: Final = 30
_FIRST: Final = 1800 // STEP_S  # Track B's first step, 09:30
_END: Final = STEPS - 1800 // STEP_S  # 15:00
_RATIO: Final = 3.0  # of a crossing: the trigger's threshold
_AT_LEAST: Final = 2.0
_DEVIATIONS: Final = 3.5


class Asking:
    """Track A between the sweeps of one day: at most so many requests a step."""

    def __init__(
        self, market: Sequence[SymbolDay], triggers: TriggersSettings, earlier: EarlierDays, requests_a_step: float
    ) -> None:
        members = [each.member for each in market]
        self.attention = Attention(MarketState(members, triggers, earlier), triggers)
        self.requests = self.found = 0
        self._days = {each.member.symbol: each for each in market}
        self._a_step = requests_a_step
        self._left = 0.0

    def rises(self, step: int, now_ns: int, streamed: Sequence[str]) -> Iterator[RiseApplied]:
        """The volume rises that the requests of this step find."""
        held = frozenset(streamed)
        self._left = min(self._left, 1.0) + self._a_step
        while self._left >= 1:
            request = self.attention.next_request(SYMBOLS_A_REQUEST, held)
            if request is None or request.due_ns > now_ns:
                return
            self._left -= 1
            self.requests += 1
            self.attention.requested(request.symbols, now_ns)
            for symbol in request.symbols:
                day = self._days[symbol]
                volume = day.volumes[step]
                if (rise := self.attention.answered(symbol, volume, now_ns)) is not None:
                    self.found += 1
                    yield RiseApplied(
                        *(symbol, rise.since_ns, rise.since_volume, now_ns, volume),
                        *(day.highs[step], day.lows[step], False),
                    )


class DetectionDelays(msgspec.Struct, frozen=True, kw_only=True):
    """From a surge to its first trigger, in seconds, by percentile; None: that many were not detected.

    `after_begin_s` counts from the surge's beginning. `after_crossing_s` counts from the end of the first step at which
    the volume since the beginning has the trigger's ratio and evidence: an observer who sees each trade and knows the
    beginning finds it then. `surges` are those that cross while no trigger of their symbol holds; `detected` is the
    share of them with a trigger before their end.
    """

    surges: int
    detected: float
    after_begin_s: Mapping[str, float | None]
    after_crossing_s: Mapping[str, float | None]


class Detection:
    """The delays of all days."""

    def __init__(self) -> None:
        self._open: dict[str, list[tuple[Surge, int]]] = {}  # surges with their crossings, not detected yet
        self._active: set[str] = set()
        self._begin: list[float] = []
        self._crossing: list[float] = []
        self._missed = 0

    def begin(self, market: Sequence[SymbolDay]) -> None:
        """Begin a day; what the last one left is not detected."""
        self._miss(STEPS)
        self._active = set()
        shares = usual_shares()
        for each in market:
            found = [(surge, crossing(each, surge, shares)) for surge in each.surges]
            self._open[each.member.symbol] = [
                (surge, at) for surge, at in found if at is not None and surge.first >= _FIRST and surge.end < _END
            ]

    def apply(self, events: Sequence[Event], step: int) -> None:
        """Apply the decisions of one step."""
        for event in events:
            match event:
                case TriggerEnded(symbol, "volume_surge"):
                    self._active.discard(symbol)
                case TriggerFired(symbol, "volume_surge"):
                    self._active.add(symbol)
                    for surge, at in self._open.get(symbol, ()):
                        if surge.first <= step < surge.end:
                            self._begin.append((step + 1 - surge.first) * STEP_S)
                            self._crossing.append(max(0.0, (step - at) * STEP_S))
        for symbol in self._active:
            if any(surge.first <= step for surge, _ in self._open.get(symbol, ())):
                self._open[symbol] = [(surge, at) for surge, at in self._open[symbol] if step < surge.first]
        if step == _END - 1:
            self._miss(step)

    def _miss(self, step: int) -> None:
        self._missed += sum(surge.end <= step for surges in self._open.values() for surge, _ in surges)
        self._open = {}

    def delays(self) -> DetectionDelays:
        """The percentiles over all days."""
        surges = len(self._begin) + self._missed
        return DetectionDelays(
            surges=surges,
            detected=len(self._begin) / max(1, surges),
            after_begin_s=_percentiles(self._begin, surges),
            after_crossing_s=_percentiles(self._crossing, surges),
        )


def crossing(each: SymbolDay, surge: Surge, shares: Sequence[float]) -> int | None:
    """The first step of the surge at whose end the volume since its beginning is evidently three times the usual."""
    volume = usual = 0.0
    for step in range(surge.first, surge.end):
        volume += each.volume(step)
        usual += shares[step] * (each.member.average_volume_20d or 0.0)
        ratio = volume / usual if usual else 0.0
        if ratio >= _RATIO and certain_ratio(ratio, usual, TRADE_VOLUME, _DEVIATIONS) >= _AT_LEAST:
            return step
    return None


def _percentiles(delays: Sequence[float], surges: int) -> Mapping[str, float | None]:
    ordered = sorted(delays)
    ranks = {f"p{percent}": surges * percent // 100 for percent in (25, 50, 75, 90)}
    return {name: ordered[rank] if rank < len(ordered) else None for name, rank in ranks.items()}
