"""The triggers: their conditions, strength, score and life. See docs/requirement.md.

A condition measures a symbol's state against its history. `TRIGGERS` is the registry: each entry defines one kind of
trigger completely; the settings, the overflow ledger and the documents derive from it. Thresholds, strength, weight and
life work alike for all kinds. A new kind is one small function and one entry; a test fails until the shipped settings
and docs/data.md include it.

A pin is a request and stands above all triggers, and the largest symbols, which fill free slots, stand below them; so
neither has a threshold or a weight to set.
"""

import math
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from bus.events import TriggerKind, UniverseMember
from observer.base.units import NS_PER_S
from observer.selection.indicators import true_range
from observer.selection.trigger_settings import WITHOUT_END, CommonTriggerSettings, TriggerSettings

_MARKET_CAP_FACTOR: Final = 0.1  # per power of ten of the currency
_NOTHING: Final = 0.0  # the reference of a measurement without a history
OPENING_THRESHOLD: Final = 1.5
"""Times the average symbol's opening (docs/requirement.md): unusual for a symbol without a history."""

_PIN_WEIGHT: Final = 5.0  # like the next one it only places scores on one scale
_MARKET_CAP_WEIGHT: Final = 1.0


class SymbolView(Protocol):
    """A symbol's day until now; None for unknown values. Prices in the currency, volume in shares.

    `opening_volume_by_now` and `opening_range_by_now` (as a fraction of the price) are the average symbol's, continued
    from the opening; known only for symbols without a history of their own. `recent_ratio` is the volume of the latest
    minutes until `recent_ns` in units of `usual_recent_volume`, and `recent_certain` its certain part;
    `recent_awaited`: where it is unknown, a sweep makes it known, and the day so far says nothing of these minutes.
    `range_ns` is when the day's range grew last.
    """

    @property
    def cumulative_volume(self) -> float | None: ...
    @property
    def average_volume_by_now(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def trades_per_second(self) -> float | None: ...
    @property
    def opening_volume_by_now(self) -> float | None: ...
    @property
    def opening_range_by_now(self) -> float | None: ...
    @property
    def recent_ratio(self) -> float | None: ...
    @property
    def recent_certain(self) -> float | None: ...
    @property
    def recent_awaited(self) -> bool: ...
    @property
    def recent_ns(self) -> int | None: ...
    @property
    def usual_recent_volume(self) -> float | None: ...
    @property
    def range_ns(self) -> int | None: ...


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Satisfies `SymbolView`."""

    cumulative_volume: float | None = None
    average_volume_by_now: float | None = None
    high: float | None = None
    low: float | None = None
    trades_per_second: float | None = None
    opening_volume_by_now: float | None = None
    opening_range_by_now: float | None = None
    recent_ratio: float | None = None
    recent_certain: float | None = None
    recent_awaited: bool = False
    recent_ns: int | None = None
    usual_recent_volume: float | None = None
    range_ns: int | None = None


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A symbol that wants a slot, why, and until when (UTC ns; None without end).

    `evidence_ns` is the moment at which the condition held, with the score `full_score`; the score halves with its age.
    None: it has no age.
    """

    symbol: str
    kind: TriggerKind
    score: float
    strength: float
    measure: float
    threshold: float
    reference: float
    expires_ns: int | None
    market_cap: float
    severity: str = ""
    basis: str = ""
    evidence_ns: int | None = None
    full_score: float = 0.0

    def alive(self, now_ns: int) -> bool:
        """Whether its life has not ended."""
        return self.expires_ns is None or self.expires_ns > now_ns


class Condition(msgspec.Struct, frozen=True):
    """A trigger's measure (in the unit of its threshold; None if not measurable) and its reference.

    `basis` distinguishes conditions of one kind: the one with the larger measure represents the kind. `levels` are
    named thresholds, the highest first. `threshold` is the
    condition's own; None: that of its kind.
    """

    measure: Callable[[UniverseMember, SymbolView], float | None]
    reference: Callable[[UniverseMember, SymbolView], float | None]
    basis: str = ""
    levels: tuple[tuple[float, str], ...] = ()
    threshold: float | None = None

    def severity(self, measure: float) -> str:
        """The name of the highest level reached; empty if none."""
        return next((name for threshold, name in self.levels if measure >= threshold), "")


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of trigger: `documentation` states in one line when it fires, `overflow_measure` is the name of its
    measure in the overflow ledger, `defaults` are its settings.

    A kind that `is_recent` fires and is renewed only while the recent volume holds (`RecentVolumeSettings`). While that
    is awaited it does not fire, and the other conditions renew it; where nothing makes it known, they decide.
    `evidence_ns` is the time of the newest data that show it; None: that of the evaluation.
    """

    kind: TriggerKind
    documentation: str
    overflow_measure: str
    defaults: TriggerSettings
    conditions: tuple[Condition, ...]
    is_recent: bool = False
    evidence_ns: Callable[[SymbolView], int | None] = lambda _view: None


def _volume_against_day(member: UniverseMember, view: SymbolView) -> float | None:
    """The day's volume so far against the average day: the written rule, which fires late."""
    volume, average = view.cumulative_volume, member.average_volume_20d
    return volume / average if average and volume is not None else None


def _volume_against_time_of_day(_member: UniverseMember, view: SymbolView) -> float | None:
    """The day's volume so far against the usual volume by this time of day."""
    volume, average = view.cumulative_volume, view.average_volume_by_now
    return volume / average if average and volume is not None else None


def _volume_against_opening(_member: UniverseMember, view: SymbolView) -> float | None:
    """The day's volume so far against the average symbol's, continued from the opening."""
    volume, average = view.cumulative_volume, view.opening_volume_by_now
    return volume / average if average and volume is not None else None


def _range_against_opening(member: UniverseMember, view: SymbolView) -> float | None:
    """The day's range so far against the average symbol's, continued from the opening."""
    if not (average := view.opening_range_by_now):
        return None
    high, low = view.high, view.low
    return (high - low) / member.previous_close / average if high and low else None


def _trades_per_second(_member: UniverseMember, view: SymbolView) -> float | None:
    return view.trades_per_second


def _range_against_average(member: UniverseMember, view: SymbolView) -> float | None:
    """The day's true range so far against the average true range."""
    high, low, average = view.high, view.low, member.average_true_range_14d
    return true_range(high, low, member.previous_close) / average if average and high and low else None


def _recent_ratio(_member: UniverseMember, view: SymbolView) -> float | None:
    return view.recent_ratio


def _nothing(_member: UniverseMember, _view: SymbolView) -> float:
    return _NOTHING


_SURGE_LEVELS: Final = ((5.0, "severe"), (3.0, "moderate"), (2.0, "mild"))
_RECENT: Final = Condition(_recent_ratio, lambda _, view: view.usual_recent_volume, "recent", _SURGE_LEVELS)

TRIGGERS: Final = (
    Trigger(
        kind="volume_surge",
        documentation="the volume of the latest minutes is a multiple of the usual one; a smaller multiple is enough "
        "when the day so far has a multiple of the average, of the day or by this time of day; for a symbol without a "
        "history: of the average symbol's opening",
        overflow_measure="volume_ratio",  # the requirement's name; it names no other
        defaults=TriggerSettings(threshold=3.0, full_strength=5.0, ttl_seconds=300.0, weight=10.0),
        conditions=(
            Condition(_volume_against_day, lambda member, _: member.average_volume_20d, "day", _SURGE_LEVELS),
            Condition(
                _volume_against_time_of_day,
                lambda _, view: view.average_volume_by_now,
                "time_of_day",
                _SURGE_LEVELS,
            ),
            Condition(
                _volume_against_opening,
                lambda _, view: view.opening_volume_by_now,
                "opening",
                _SURGE_LEVELS,
                OPENING_THRESHOLD,
            ),
            _RECENT,
        ),
        is_recent=True,
        evidence_ns=lambda view: None if view.recent_ratio is None else view.recent_ns,
    ),
    Trigger(
        kind="trade_velocity",
        documentation="its trades a second reach the threshold",
        overflow_measure="trades_per_sec",
        defaults=TriggerSettings(threshold=10.0, full_strength=20.0, ttl_seconds=180.0, weight=8.0),
        conditions=(Condition(_trades_per_second, _nothing, levels=((20.0, "high"), (10.0, "basic"))),),
    ),
    Trigger(
        kind="volatility_spike",
        documentation="the true range of the day so far is a multiple of the average true range; for a symbol without "
        "a history: the range of the average symbol's opening",
        overflow_measure="atr_ratio",
        defaults=TriggerSettings(threshold=2.0, full_strength=3.0, ttl_seconds=300.0, weight=6.0),
        conditions=(
            Condition(_range_against_average, lambda member, _: member.average_true_range_14d),
            Condition(
                _range_against_opening,
                lambda _, view: view.opening_range_by_now,
                "opening",
                threshold=OPENING_THRESHOLD,
            ),
        ),
        evidence_ns=lambda view: view.range_ns,
    ),
)

OVERFLOW_MEASURES: Final = {each.kind: each.overflow_measure for each in TRIGGERS}
"""The name of each kind's measure in the overflow ledger."""

if TYPE_CHECKING:

    class TriggersSettings(CommonTriggerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """All kinds of triggers, each a field by its kind."""

else:
    TriggersSettings = msgspec.defstruct(
        "TriggersSettings",
        [(each.kind, TriggerSettings, each.defaults) for each in TRIGGERS],
        bases=(CommonTriggerSettings,),
        module=__name__,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


class TriggerRules:
    """The enabled conditions with their thresholds."""

    def __init__(self, settings: TriggersSettings) -> None:
        recent = settings.recent_volume
        self._has_age = recent.enabled
        # By kind: its settings, the recent ratio that renews it (None: any), its conditions and their thresholds.
        self._kinds = tuple(
            (
                trigger,
                settings.of(trigger.kind),
                recent.hold_threshold if recent.enabled and trigger.is_recent else None,
                tuple(
                    (condition.measure, condition.threshold or settings.of(trigger.kind).threshold, condition)
                    for condition in trigger.conditions
                ),
            )
            for trigger in TRIGGERS
            if settings.of(trigger.kind).enabled
        )

    def evaluate(
        self, member: UniverseMember, view: SymbolView, now_ns: int, active: Container[tuple[str, TriggerKind]] = ()
    ) -> Sequence[Candidate]:
        """One candidate for each kind with a condition that holds, in the order of the registry; of several conditions
        the one with the largest measure. `active` are the symbols and kinds that hold already.

        While a condition holds, each evaluation renews its full life from its evidence on.
        """
        fired: list[Candidate] = []
        for trigger, own, hold_threshold, checks in self._kinds:
            recent, certain, is_active = None, None, (member.symbol, trigger.kind) in active
            if hold_threshold is not None and (recent := view.recent_ratio) is not None:
                certain = recent if view.recent_certain is None else view.recent_certain
                if recent < hold_threshold or (certain < hold_threshold and not is_active):
                    continue
            elif hold_threshold is not None and view.recent_awaited and not is_active:
                continue
            best = None
            measure = threshold = 0.0
            for measured, at_least, condition in checks:
                found = measured(member, view)
                if found is not None and found >= at_least and (best is None or found > measure):
                    best, measure, threshold = condition, found, at_least
            if best is None:
                if recent is None or hold_threshold is None or not is_active:
                    continue
                best, measure, threshold = _RECENT, recent, hold_threshold
            part = (measure if certain is None else certain) / own.full_strength
            strength = _strength(part, is_limited=not self._has_age)
            full_score = score(own.weight, strength, member.market_cap)
            shown_ns = trigger.evidence_ns(view) if self._has_age else None
            evidence_ns = now_ns if shown_ns is None else shown_ns
            candidate = Candidate(
                symbol=member.symbol,
                kind=trigger.kind,
                score=full_score,
                strength=strength,
                measure=measure,
                threshold=threshold,
                reference=best.reference(member, view) or _NOTHING,
                expires_ns=expiry(evidence_ns, own.ttl_seconds),
                market_cap=member.market_cap,
                severity=best.severity(measure),
                basis=best.basis,
                evidence_ns=evidence_ns if self._has_age else None,
                full_score=full_score,
            )
            if candidate.alive(now_ns):
                fired.append(candidate)
        return fired


def _strength(part: float, *, is_limited: bool) -> float:
    """The strength of this part of the full measure: the part itself (docs/requirement.md), and above 1 one more for
    each doubling, or 1 if it is limited.
    """
    return min(part, 1.0) if part <= 1 or is_limited else 1 + math.log2(part)


def aged(candidate: Candidate, now_ns: int, half_life_s: float) -> Candidate:
    """The candidate with its score at this moment: all but the market capitalisation's part halves each half-life."""
    evidence_ns = candidate.evidence_ns
    if evidence_ns is None or half_life_s == WITHOUT_END or now_ns <= evidence_ns:
        return candidate
    lasting = score(0.0, 0.0, candidate.market_cap)
    left = 0.5 ** ((now_ns - evidence_ns) / (half_life_s * NS_PER_S))
    return msgspec.structs.replace(candidate, score=lasting + (candidate.full_score - lasting) * left)


def by_pin(member: UniverseMember, until_ns: int | None) -> Candidate:
    """A pinned symbol, at full strength, until the end of its pin (UTC ns; None: without end)."""
    return Candidate(
        symbol=member.symbol,
        kind="manual",
        score=score(_PIN_WEIGHT, 1.0, member.market_cap),
        strength=1.0,
        measure=1.0,
        threshold=1.0,
        reference=_NOTHING,
        expires_ns=until_ns,
        market_cap=member.market_cap,
    )


def by_market_cap(member: UniverseMember) -> Candidate:
    """The default placement (P5), which fills the slots that triggers leave free. Without end, at strength 0."""
    return Candidate(
        symbol=member.symbol,
        kind="market_cap",
        score=score(_MARKET_CAP_WEIGHT, 0.0, member.market_cap),
        strength=0.0,
        measure=member.market_cap,
        threshold=0.0,
        reference=_NOTHING,
        expires_ns=None,
        market_cap=member.market_cap,
    )


def score(weight: float, strength: float, market_cap: float | None) -> float:
    """Priority on the one scale of all kinds: weight x (1 + strength) + log10(market cap) x 0.1.

    A missing capitalisation (or one below one unit) adds 0.
    """
    factor = math.log10(market_cap) * _MARKET_CAP_FACTOR if market_cap is not None and market_cap >= 1 else 0.0
    return weight * (1 + strength) + factor


def expiry(now_ns: int, ttl_seconds: float) -> int | None:
    """When a life that begins now ends; None if it never does."""
    return None if ttl_seconds == WITHOUT_END else now_ns + round(ttl_seconds * NS_PER_S)
