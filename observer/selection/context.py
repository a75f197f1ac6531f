"""Track A's snapshots of the opening, for Track B's start half an hour later. See docs/requirement.md.

The documents add up the snapshots' volumes; these are cumulative, so the last one already is the opening's volume.

The thresholds go to the triggers: a symbol without a history of its own is compared with the average symbol. To hold
after the opening, that one's volume grows at the pace of the opening, and its range with the square root of the time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from bus.events import ContextSynced, UniverseMember
from observer.selection.allocation import CONTEXT
from observer.selection.indicators import ratio
from observer.selection.settings import SelectionSettings
from observer.selection.triggers import OPENING_THRESHOLD, Candidate, expiry, score


class OpeningPoint(NamedTuple):
    """One snapshot: the price (None before the first trade), the day's volume until then in shares, and its receipt in
    UTC ns.
    """

    price: float | None
    cumulative_volume: float
    received_ns: int = 0


# Symbol -> its snapshots between the opening and the synchronisation, oldest first.
Opening = Mapping[str, Sequence[OpeningPoint]]


class Baseline(msgspec.Struct, frozen=True):
    """The average symbol's opening: volume in shares, volatility as (high - low) / open, from the first to the last
    snapshot (UTC ns).
    """

    symbols: int
    snapshots: int
    average_volume: float
    average_volatility: float
    from_ns: int = 0
    to_ns: int = 0

    @property
    def volume_threshold(self) -> float:
        """The volume above which a symbol's opening is unusual."""
        return self.average_volume * OPENING_THRESHOLD

    @property
    def volatility_threshold(self) -> float:
        """The volatility above which a symbol's opening is unusual."""
        return self.average_volatility * OPENING_THRESHOLD

    def volume_by(self, now_ns: int) -> float | None:
        """The average symbol's volume until now, at the pace of the opening; None without a pace."""
        return self.average_volume * self._openings(now_ns) or None

    def volume_between(self, since_ns: int, until_ns: int) -> float | None:
        """The average symbol's volume between two moments, at the pace of the opening; None without a pace."""
        span_ns = self.to_ns - self.from_ns
        return self.average_volume * (until_ns - since_ns) / span_ns or None if span_ns > 0 else None

    def volatility_by(self, now_ns: int) -> float | None:
        """The average symbol's volatility until now; None without a pace."""
        return self.average_volatility * math.sqrt(self._openings(now_ns)) or None

    def _openings(self, now_ns: int) -> float:
        """The time since the first snapshot, in lengths of the opening, at least 1; 0 if that has none."""
        span_ns = self.to_ns - self.from_ns
        return max(1.0, (now_ns - self.from_ns) / span_ns) if span_ns > 0 else 0.0


class Mover(msgspec.Struct, frozen=True):
    """One symbol's opening: ratios to the average symbol, and the price change as a fraction of the first price."""

    symbol: str
    activity: float
    volume_ratio: float
    volatility_ratio: float
    price_change: float


def baseline(opening: Opening) -> Baseline:
    """The averages over the symbols with snapshots; all 0 without any."""
    seen = [points for points in opening.values() if points]
    average_volume = _mean([points[-1].cumulative_volume for points in seen])
    average_volatility = _mean([_volatility(points) for points in seen if _prices(points)])
    received_ns = [point.received_ns for points in seen for point in points]
    return Baseline(
        symbols=len(seen),
        snapshots=sum(len(points) for points in seen),
        average_volume=average_volume,
        average_volatility=average_volatility,
        from_ns=min(received_ns, default=0),
        to_ns=max(received_ns, default=0),
    )


def movers(opening: Opening, base: Baseline, settings: SelectionSettings) -> tuple[Mover, ...]:
    """All symbols with snapshots, the most active opening first; equals by symbol."""
    ranked = [_mover(symbol, points, base, settings) for symbol, points in opening.items() if points]
    return tuple(sorted(ranked, key=lambda mover: (-mover.activity, mover.symbol)))


def opening_candidates(
    ranked: Iterable[Mover],
    members: Mapping[str, UniverseMember],
    base: Baseline,
    slots: int,
    now_ns: int,
    settings: SelectionSettings,
) -> tuple[Candidate, ...]:
    """Candidates for the first slots from the ranking: members of the universe, as many as there are slots.

    Their scores are those of volume surges against the market's opening (`reference`), so that triggers compete with
    them fairly; the ranking selects them.
    """
    chosen = [mover for mover in ranked if mover.symbol in members][:slots]
    return tuple(_candidate(mover, members[mover.symbol], base, now_ns, settings) for mover in chosen)


def synced_event(base: Baseline, session_date: str, synced_ns: int) -> ContextSynced:
    """The event that Track B synchronised its context; degraded if Track A has no snapshots."""
    return ContextSynced(
        session_date=session_date,
        synced_ns=synced_ns,
        symbols=base.symbols,
        snapshots=base.snapshots,
        average_volume=base.average_volume,
        average_volatility=base.average_volatility,
        degraded=base.symbols == 0,
        volume_threshold=base.volume_threshold,
        volatility_threshold=base.volatility_threshold,
    )


def _mover(symbol: str, points: Sequence[OpeningPoint], base: Baseline, settings: SelectionSettings) -> Mover:
    volume_ratio = ratio(points[-1].cumulative_volume, base.average_volume) or 0.0
    volatility_ratio = ratio(_volatility(points), base.average_volatility) or 0.0
    prices = _prices(points)
    price_change = abs(prices[-1] - prices[0]) / prices[0] if prices else 0.0
    weights = settings.context
    activity = (
        weights.volume_weight * volume_ratio
        + weights.volatility_weight * volatility_ratio
        + weights.price_change_weight * price_change * 100
    )
    return Mover(symbol, activity, volume_ratio, volatility_ratio, price_change)


def _candidate(
    mover: Mover, member: UniverseMember, base: Baseline, now_ns: int, settings: SelectionSettings
) -> Candidate:
    strength = min(mover.volume_ratio / settings.context.full_strength, 1.0)
    full_score = score(settings.triggers.of("volume_surge").weight, strength, member.market_cap)
    return Candidate(
        symbol=mover.symbol,
        kind=CONTEXT,
        score=full_score,
        strength=strength,
        measure=mover.volume_ratio,
        reference=base.average_volume,
        expires_ns=expiry(now_ns, settings.context.ttl_seconds),
        market_cap=member.market_cap,
        evidence_ns=now_ns if settings.triggers.recent_volume.enabled else None,
        full_score=full_score,
    )


def _volatility(points: Sequence[OpeningPoint]) -> float:
    """(high - low) / open of the snapshots' prices; 0 without a price."""
    prices = _prices(points)
    return (max(prices) - min(prices)) / prices[0] if prices else 0.0


def _prices(points: Sequence[OpeningPoint]) -> Sequence[float]:
    """The prices of the points from the first trade on."""
    return [point.price for point in points if point.price]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
