"""What makes a symbol matter now: the conditions, their strength, score and life. Requirement 004, Trigger Types.

A condition measures what is known of a symbol against its history; `CONDITIONS` is the list of them. Everything else
(threshold, strength, weight, life) is the same for all kinds and comes from the settings. A new kind is one small
function, one line in the table, and its settings.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from bus.events import TriggerFired, TriggerKind, UniverseMember
from observer.selection.indicators import true_range
from observer.selection.settings import WITHOUT_END, TriggersSettings

_NS_PER_S: Final = 1_000_000_000
_MARKET_CAP_FACTOR: Final = 0.1  # per power of ten of won (requirement 004, Allocation Algorithm)
_NOTHING: Final = 0.0  # the reference of a measurement that is compared with no history


class Observed(Protocol):
    """What is known of a symbol's day until now; None for what is not. Prices in won, volume in shares."""

    @property
    def cumulative_volume(self) -> float | None: ...  # noqa: D102 - the words are the field's own
    @property
    def average_volume_by_now(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def trades_per_second(self) -> float | None: ...  # noqa: D102
    @property
    def pinned(self) -> bool: ...  # noqa: D102


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Satisfies `Observed`."""

    cumulative_volume: float | None = None
    average_volume_by_now: float | None = None
    high: float | None = None
    low: float | None = None
    trades_per_second: float | None = None
    pinned: bool = False


class Candidate(msgspec.Struct, frozen=True, gc=False):
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
    severity: str = ""
    basis: str = ""

    def alive(self, now_ns: int) -> bool:
        """Whether its time has not run out."""
        return self.expires_ns is None or self.expires_ns > now_ns


class Condition(msgspec.Struct, frozen=True):
    """What a kind of trigger measures (in the unit of its threshold; None where it cannot), and against what.

    `basis` tells conditions of one kind apart: the one that measures more speaks for the kind. `levels` are named
    thresholds, the highest first (requirement 004, the kinds' lists of thresholds).
    """

    kind: TriggerKind
    measure: Callable[[UniverseMember, Observed], float | None]
    reference: Callable[[UniverseMember, Observed], float | None]
    basis: str = ""
    levels: tuple[tuple[float, str], ...] = ()

    def severity(self, measure: float) -> str:
        """The name of the highest level that was reached; empty where there is none."""
        return next((name for threshold, name in self.levels if measure >= threshold), "")


def _volume_against_day(member: UniverseMember, observed: Observed) -> float | None:
    """The day's volume so far against the average day: the written rule, which fires late (design.md 6.8)."""
    volume, average = observed.cumulative_volume, member.average_volume_20d
    return volume / average if average and volume is not None else None


def _volume_against_time_of_day(_member: UniverseMember, observed: Observed) -> float | None:
    """The day's volume so far against what is usual by this time of day."""
    volume, average = observed.cumulative_volume, observed.average_volume_by_now
    return volume / average if average and volume is not None else None


def _trades_per_second(_member: UniverseMember, observed: Observed) -> float | None:
    return observed.trades_per_second


def _range_against_average(member: UniverseMember, observed: Observed) -> float | None:
    """The day's true range so far against the average true range."""
    high, low, average = observed.high, observed.low, member.average_true_range_14d
    return true_range(high, low, member.previous_close) / average if average and high and low else None


def _wish(_member: UniverseMember, observed: Observed) -> float | None:
    """A person wants it: no matter of degree."""
    return 1.0 if observed.pinned else None


def _nothing(_member: UniverseMember, _observed: Observed) -> float:
    return _NOTHING


_SURGE_LEVELS: Final = ((5.0, "severe"), (3.0, "moderate"), (2.0, "mild"))

CONDITIONS: Final = (
    Condition("volume_surge", _volume_against_day, lambda member, _: member.average_volume_20d, "day", _SURGE_LEVELS),
    Condition(
        "volume_surge",
        _volume_against_time_of_day,
        lambda _, observed: observed.average_volume_by_now,
        "time_of_day",
        _SURGE_LEVELS,
    ),
    Condition("trade_velocity", _trades_per_second, _nothing, levels=((20.0, "high"), (10.0, "basic"))),
    Condition("volatility_spike", _range_against_average, lambda member, _: member.average_true_range_14d),
    Condition("manual", _wish, _nothing),
)


class TriggerRules:
    """The conditions that are switched on, with their thresholds."""

    def __init__(self, settings: TriggersSettings) -> None:
        self._settings = settings
        self._checks = [
            (condition.measure, settings.of(condition.kind).threshold, condition)
            for condition in CONDITIONS
            if settings.of(condition.kind).enabled
        ]

    def evaluate(self, member: UniverseMember, observed: Observed, now_ns: int) -> Sequence[Candidate]:
        """A candidate for each kind of which a condition holds, in the order of the table.

        While a condition holds, each evaluation gives it its full life again: that is the renewal.
        """
        fired: dict[TriggerKind, Candidate] = {}
        for measured, threshold, condition in self._checks:
            measure = measured(member, observed)
            if measure is not None and measure >= threshold:
                rival = fired.get(condition.kind)
                if rival is None or measure > rival.measure:
                    reference = condition.reference(member, observed) or _NOTHING
                    fired[condition.kind] = self._candidate(member, condition, measure, reference, now_ns)
        return tuple(fired.values()) if fired else ()

    def _candidate(
        self, member: UniverseMember, condition: Condition, measure: float, reference: float, now_ns: int
    ) -> Candidate:
        own = self._settings.of(condition.kind)
        strength = min(measure / own.full_strength, 1.0)
        return Candidate(
            symbol=member.symbol,
            kind=condition.kind,
            score=score(own.weight, strength, member.market_cap_krw),
            strength=strength,
            measure=measure,
            threshold=own.threshold,
            reference=reference,
            expires_ns=expiry(now_ns, own.ttl_seconds),
            market_cap_krw=member.market_cap_krw,
            severity=condition.severity(measure),
            basis=condition.basis,
        )


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
        severity=candidate.severity,
        basis=candidate.basis,
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
