"""Asks for the volume of lines when their slots ended, where that is settled later and the exchange went on trading."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from observer.base.clock import Clock
from observer.base.errors import ProviderError, StoreError
from observer.base.units import NS_PER_MINUTE, NS_PER_S
from observer.brokers.broker import HistorySource, PastTrade
from observer.calendar.phases import DayPlan
from observer.collection.hours import slot_stop
from observer.gaps.intervals import VOLUME_NOISE
from observer.gaps.recovery import volume_at, volumes_after
from observer.monitoring.alerts.process import Alerts, identity_of
from observer.selection.settings import VenueWindow
from observer.store.reader import StoreReader

BESIDE_S: Final = (10.0, 120.0, 1_800.0, 86_400.0)
"""Seconds before and after the stop that are asked for, one after another: a quiet symbol trades far from it."""

SWEPT_BEFORE_NS: Final = 30 * NS_PER_MINUTE  # longer than a sweep's interval: the sweep at the stop is known by it


class Counted(msgspec.Struct, frozen=True):
    """A symbol's volume of the day at a moment (UTC ns)."""

    volume: float
    at_ns: int


class StopVolumes(Protocol):
    """A source of a symbol's volume at a stop of its slot."""

    async def at_stop(self, symbol: str, stop_ns: int, known: float, volume_now: float) -> float | None:
        """The volume at the stop (UTC ns), or an upper bound; None if the source shows neither. `known` is the volume
        up to which nothing is missing.

        Raises:
            ProviderError: the broker does not answer.
        """
        ...


class TradesAroundStop:
    """Today's trades around the stop: they prove the volume exactly. Satisfies `StopVolumes`."""

    def __init__(self, history: HistorySource, clock: Clock, plan: DayPlan) -> None:
        self._history = history
        self._clock = clock
        self._starts_ns = plan.starts_ns

    async def at_stop(self, symbol: str, stop_ns: int, known: float, volume_now: float) -> float | None:
        """The volume at the stop; more trades are asked for on a side that has none yet."""
        before_s, after_s = iter(BESIDE_S), iter(BESIDE_S)
        from_s, to_s = next(before_s), next(after_s)
        while True:
            rows = await self._trades(symbol, stop_ns, from_s, to_s, known)
            if (found := volume_at(rows, stop_ns, known, volume_now)) is not None:
                return found
            later = [row.exchange_time_ns >= stop_ns for row in rows if row.cumulative_volume > known]
            has_before = not all(later) or len(later) < len(rows)
            wider_from = None if has_before else next(before_s, None)
            wider_to = None if any(later) else next(after_s, None)
            if wider_from is None and wider_to is None:
                return None
            from_s, to_s = wider_from or from_s, wider_to or to_s

    async def _trades(self, symbol: str, stop_ns: int, from_s: float, to_s: float, known: float) -> list[PastTrade]:
        from_ns = max(stop_ns - round(from_s * NS_PER_S), self._starts_ns)
        to_ns = min(stop_ns + round(to_s * NS_PER_S), self._clock.now_ns())
        rows = await self._history.trades_between(symbol, from_ns, to_ns, after_volume=known)
        return [row for row in rows if row.symbol == symbol]


class LateEnd:
    """The volumes when the slots of a day of Track B ended: each line's at the end of its venue's window, and at Track
    B's stop at the latest. So what a venue trades in a pause or after a session that is not collected is not missing.

    `windows` are those of the day's lines, set when its universe is known; none: every slot lasts until the stop.
    `stop_ns` is Track B's stop: the planned one, until the slots are released a little later.

    Args:
        source: shows the volume at a stop.
        plan: the moments of the day.
        reader: Track A's sweeps after the stop, which bound a volume that the source does not show.
        clock: market time.
        alerts: of the process.
    """

    def __init__(self, source: StopVolumes, plan: DayPlan, reader: StoreReader, clock: Clock, alerts: Alerts) -> None:
        self.windows: Sequence[VenueWindow] = ()
        self.stop_ns = plan.track_b_stop_ns
        self._source = source
        self._plan = plan
        self._reader = reader
        self._clock = clock
        self._alerts = alerts

    async def bounded(
        self, volumes: Mapping[str, float], known: Mapping[str, float], held_ns: Mapping[str, int] | None = None
    ) -> Mapping[str, Counted]:
        """The volumes (now, by symbol), without what was traded after the stops that are over. A volume up to `known`
        is returned as it is: nothing is missing. For volumes that nothing proves, it reports an alert.

        Args:
            volumes: by symbol, the day's volume now.
            known: by symbol, the volume up to which nothing is missing.
            held_ns: by symbol, when its slot is known to have been held; a symbol that is not in it: now.
        """
        now_ns = self._clock.now_ns()
        stops = {symbol: self._stop(symbol, (held_ns or {}).get(symbol, now_ns), now_ns) for symbol in volumes}
        found = {symbol: Counted(volume, now_ns) for symbol, volume in volumes.items()}
        unproved: list[str] = []
        failures = ["the broker's trades around it do not show it"]
        for symbol, volume in volumes.items():
            reached, stop_ns = known.get(symbol, 0.0), stops[symbol]
            if now_ns < stop_ns or volume - reached <= VOLUME_NOISE:
                continue
            if (at_stop := await self._asked(symbol, stop_ns, reached, volume, failures)) is None:
                unproved.append(symbol)
            elif at_stop < volume:
                found[symbol] = Counted(max(at_stop, reached), stop_ns)
        if not unproved:
            return found
        for stop_ns in sorted({stops[symbol] for symbol in unproved}):
            swept = await asyncio.to_thread(self._swept, stop_ns, failures)
            for symbol in unproved:
                if stops[symbol] == stop_ns and (seen := swept.get(symbol)) and seen[0] < volumes[symbol]:
                    found[symbol] = Counted(max(seen[0], known.get(symbol, 0.0)), seen[1])
        text = f"the volume at the stop is not proved, gaps of {', '.join(unproved)} may be too wide: {failures[-1]}"
        self._alerts.happened(identity_of("unproved_stop", unproved), "warning", text)
        return found

    def _stop(self, symbol: str, held_ns: int, now_ns: int) -> int:
        """The end of the slot. While the venue has a window the slot goes on, also after the end of an earlier window.
        A slot that ends with the planned stop ends when the slots are released.
        """
        latest_ns = slot_stop(self.windows, symbol, now_ns, self.stop_ns)
        ended_ns = latest_ns if now_ns < latest_ns else slot_stop(self.windows, symbol, held_ns, self.stop_ns)
        return self.stop_ns if ended_ns == self._plan.track_b_stop_ns else ended_ns

    async def _asked(
        self, symbol: str, stop_ns: int, known: float, volume_now: float, failures: list[str]
    ) -> float | None:
        try:
            return await self._source.at_stop(symbol, stop_ns, known, volume_now)
        except ProviderError as error:
            failures.append(str(error))
            return None

    def _swept(self, stop_ns: int, failures: list[str]) -> Mapping[str, tuple[float, int]]:
        """The first volumes after the stop; none while the database does not answer."""
        try:
            seen = self._reader.snapshots(self._plan.day.isoformat(), stop_ns - SWEPT_BEFORE_NS, self._plan.ends_ns)
        except StoreError as error:
            failures.append(f"the sweeps after the stop are not read: {error}")
            return {}
        return volumes_after(seen, stop_ns)
