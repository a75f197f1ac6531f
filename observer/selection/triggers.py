"""What makes a symbol matter now: the conditions, their strength, score and life. Requirement 004, Trigger Types.

A condition is a function from what is known of a symbol to a measurement; `CONDITIONS` is the list of them. Everything
else (threshold, strength, weight, life) is the same for all kinds and comes from the settings. A new kind is one
function, one line in the table, and its settings.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from bus.events import TriggerFired, TriggerKind, UniverseMember
from observer.selection.indicators import ratio, true_range
from observer.selection.settings import WITHOUT_END, TriggersSettings

_NS_PER_S: Final = 1_000_000_000
_MARKET_CAP_FACTOR: Final = 0.1  # per power of ten of won (requirement 004, Allocation Algorithm)
_NOTHING: Final = 0.0  # the reference of a measurement that is compared with no history


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a symbol's day until now; None for what is not. Prices in won, volume in shares."""

    cumulative_volume: float | None = None
    high: float | None = None
    low: float | None = None
    trades_per_second: float | None = None
    pinned: bool = False


class Measurement(msgspec.Struct, frozen=True):
    """What a condition measured (in the unit of its threshold), and the history it was compared with."""

    measure: float
    reference: float


class Candidate(msgspec.Struct, frozen=True):
    """A symbol that wants a place, why, and until when (UTC ns; None without end). `strength` is 0 to 1."""

    symbol: str
    kind: TriggerKind
    score: float
    strength: float
    measure: float
    threshold: float
    reference: float
    expires_ns: int | None
    market_cap_krw: float

    def alive(self, now_ns: int) -> bool:
        """Whether its time has not run out."""
        return self.expires_ns is None or self.expires_ns > now_ns


def _volume_surge(member: UniverseMember, observation: Observation) -> Measurement | None:
    """The day's volume so far against the average day: the written rule, which fires late (design.md 6.8)."""
    if observation.cumulative_volume is None:
        return None
    return _compared(observation.cumulative_volume, member.average_volume_20d)


def _trade_velocity(_member: UniverseMember, observation: Observation) -> Measurement | None:
    """Trades per second."""
    if observation.trades_per_second is None:
        return None
    return Measurement(observation.trades_per_second, _NOTHING)


def _volatility_spike(member: UniverseMember, observation: Observation) -> Measurement | None:
    """The day's true range so far against the average true range."""
    if observation.high is None or observation.low is None:
        return None
    return _compared(
        true_range(observation.high, observation.low, member.previous_close), member.average_true_range_14d
    )


def _manual(_member: UniverseMember, observation: Observation) -> Measurement | None:
    """A person wants it: no matter of degree."""
    return Measurement(1.0, _NOTHING) if observation.pinned else None


Condition = Callable[[UniverseMember, Observation], Measurement | None]

CONDITIONS: Final[Mapping[TriggerKind, Condition]] = {
    "volume_surge": _volume_surge,
    "trade_velocity": _trade_velocity,
    "volatility_spike": _volatility_spike,
    "manual": _manual,
}


def evaluate(
    member: UniverseMember, observation: Observation, now_ns: int, settings: TriggersSettings
) -> tuple[Candidate, ...]:
    """A candidate for each condition that holds, in the order of the table.

    While a condition holds, each evaluation gives it its full life again: that is the renewal.
    """
    fired = []
    for kind, condition in CONDITIONS.items():
        measurement = condition(member, observation) if settings.of(kind).enabled else None
        if measurement is not None and measurement.measure >= settings.of(kind).threshold:
            fired.append(_candidate(member, kind, measurement, now_ns, settings))
    return tuple(fired)


def by_market_cap(member: UniverseMember, settings: TriggersSettings) -> Candidate:
    """The default placement (P5): what fills the places that triggers leave free. Without end, at strength 0."""
    return Candidate(
        symbol=member.symbol,
        kind="market_cap",
        score=score(settings.market_cap_weight, 0.0, member.market_cap_krw),
        strength=0.0,
        measure=member.market_cap_krw,
        threshold=0.0,
        reference=_NOTHING,
        expires_ns=None,
        market_cap_krw=member.market_cap_krw,
    )


def score(weight: float, strength: float, market_cap_krw: float | None) -> float:
    """Priority on the one scale of all kinds: weight x (1 + strength) + log10(market cap in won) x 0.1.

    A capitalisation that is missing (or below one won, which is the same) adds nothing.
    """
    factor = (
        math.log10(market_cap_krw) * _MARKET_CAP_FACTOR if market_cap_krw is not None and market_cap_krw >= 1 else 0.0
    )
    return weight * (1 + strength) + factor


def expiry(now_ns: int, ttl_seconds: float) -> int | None:
    """When a life that begins now ends; None when it never does."""
    return None if ttl_seconds == WITHOUT_END else now_ns + round(ttl_seconds * _NS_PER_S)


def fired_event(candidate: Candidate, fired_ns: int) -> TriggerFired:
    """The fact that a candidate's condition began to hold."""
    return TriggerFired(
        symbol=candidate.symbol,
        kind=candidate.kind,
        fired_ns=fired_ns,
        expires_ns=candidate.expires_ns,
        measure=candidate.measure,
        threshold=candidate.threshold,
        reference=candidate.reference,
        strength=candidate.strength,
        score=candidate.score,
    )


class Spells:
    """Which conditions hold already, so that one which goes on holding is news only once. Explicit state, no clock.

    A spell is the unbroken time in which a condition's life has not run out.
    """

    __slots__ = ("_expiries_ns",)

    def __init__(self) -> None:
        self._expiries_ns: dict[tuple[str, TriggerKind], int | None] = {}

    def begun(self, candidates: Iterable[Candidate], now_ns: int) -> list[Candidate]:
        """Those of the candidates with which a spell begins; the others' spells are prolonged."""
        self._expiries_ns = {
            key: expires_ns
            for key, expires_ns in self._expiries_ns.items()
            if expires_ns is None or expires_ns > now_ns
        }
        beginning = []
        for candidate in candidates:
            key = (candidate.symbol, candidate.kind)
            if key not in self._expiries_ns:
                beginning.append(candidate)
            self._expiries_ns[key] = candidate.expires_ns
        return beginning


def _compared(value: float, reference: float | None) -> Measurement | None:
    measure = ratio(value, reference)
    return None if measure is None or reference is None else Measurement(measure, reference)


def _candidate(
    member: UniverseMember, kind: TriggerKind, measurement: Measurement, now_ns: int, settings: TriggersSettings
) -> Candidate:
    own = settings.of(kind)
    strength = min(measurement.measure / own.full_strength, 1.0)
    return Candidate(
        symbol=member.symbol,
        kind=kind,
        score=score(own.weight, strength, member.market_cap_krw),
        strength=strength,
        measure=measurement.measure,
        threshold=own.threshold,
        reference=measurement.reference,
        expires_ns=expiry(now_ns, own.ttl_seconds),
        market_cap_krw=member.market_cap_krw,
    )
