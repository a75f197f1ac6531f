"""The triggers: their conditions, strength, score and life. See docs/requirement.md.

A condition measures a symbol's state against its history. `TRIGGERS` is the registry: each entry defines one kind of
trigger; the overflow ledger and the documents derive from it. Thresholds, strength, weight and life work alike for all
kinds. A new kind is one small function, one entry and its settings; a test fails until the shipped settings and
docs/data.md include it.

A pin is a request and stands above all triggers, and the largest symbols, which fill free slots, stand below them; so
neither has a threshold or a weight to set.
"""

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Annotated, Final

import msgspec

from bus.events import TriggerEnded, TriggerFired, TriggerKind, UniverseMember
from observer.base.units import NS_PER_S
from observer.selection.indicators import true_range

# --- trigger settings ---
#
# The settings of triggers and pins. Pure.
#
# Each kind of trigger has the settings of `TriggerSettings`; its defaults stand in `TriggersSettings`.

WITHOUT_END: Final = -1.0  # a time to live of this many seconds never ends (the requirement's notation)

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class TriggerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of trigger: it fires at `threshold`, is at full strength at `full_strength`, and lives `ttl_seconds`.

    Raises:
        ValueError: the time to live is neither positive nor -1 (without end).
    """

    enabled: bool = True
    threshold: Positive
    full_strength: Positive
    ttl_seconds: float
    weight: NotNegative

    def __post_init__(self) -> None:
        """Checks the time to live, whose valid values are not an interval."""
        check_life("ttl_seconds", self.ttl_seconds)


class PinSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pins by hand, in the file under `manual`: whether they are allowed, and after how many seconds a pin ends; -1:
    it lasts until it is removed.

    Raises:
        ValueError: the time to live is neither positive nor -1 (without end).
    """

    enabled: bool = True
    ttl_seconds: float = WITHOUT_END

    def __post_init__(self) -> None:
        """Checks the time to live, whose valid values are not an interval."""
        check_life("ttl_seconds", self.ttl_seconds)


def check_life(name: str, seconds: float) -> None:
    """Check a setting in seconds.

    Raises:
        ValueError: it is neither positive nor -1 (without end).
    """
    if seconds <= 0 and seconds != WITHOUT_END:
        raise ValueError(f"{name}: {seconds:g} is neither positive nor -1 (without end)")


class ProfileSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The volume surge's other reference: the average volume by this time of day, over the last `days` sessions, for
    symbols with snapshots on at least `days_min` of them.
    """

    enabled: bool = True
    days: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    days_min: Annotated[int, msgspec.Meta(ge=1)] = 5


class RecentVolumeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a volume surge begins and ends: it is renewed while the latest minutes have `hold_threshold` times their
    usual volume (docs/requirement.md: mild), which is at least the part `usual_min` of what the average day has in
    them.

    Of a streamed symbol the latest minutes are between half of `window_seconds` and the whole; of another one they are
    the time between its last two snapshots, or half of the window if these come more often. A surge begins only where
    the volume exceeds that multiple by `deviations_min` standard deviations of a sum of trades, if their mean volume is
    known. The usual volume of a symbol without a profile needs a universe of 20 symbols with an average; in a smaller
    one the written rule remains.

    Switched off, the rule is the written one: the day's ratio renews a surge, strength ends at 1, and scores have no
    age.
    """

    enabled: bool = True
    hold_threshold: Positive = 2.0
    window_seconds: Positive = 300.0
    usual_min: Share = 0.5
    deviations_min: NotNegative = 3.5


class TriggersSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of all triggers, of pins, and of each kind of `TRIGGERS` by its name. `velocity_window_seconds` is that
    of trade rates.
    """

    manual: PinSettings = PinSettings()
    time_of_day: ProfileSettings = ProfileSettings()
    recent_volume: RecentVolumeSettings = RecentVolumeSettings()
    velocity_window_seconds: Positive = 1.0
    volume_surge: TriggerSettings = TriggerSettings(threshold=3.0, full_strength=5.0, ttl_seconds=300.0, weight=10.0)
    trade_velocity: TriggerSettings = TriggerSettings(threshold=10.0, full_strength=20.0, ttl_seconds=180.0, weight=8.0)
    volatility_spike: TriggerSettings = TriggerSettings(threshold=2.0, full_strength=3.0, ttl_seconds=300.0, weight=6.0)

    def of(self, kind: TriggerKind) -> TriggerSettings:
        """The settings of one kind of `TRIGGERS`; pins and market capitalisation are none."""
        settings: TriggerSettings = getattr(self, kind)
        return settings


_MARKET_CAP_FACTOR: Final = 0.1  # per power of ten of the currency
_NOTHING: Final = 0.0  # the reference of a measurement without a history
OPENING_THRESHOLD: Final = 1.5
"""Times the average symbol's opening (docs/requirement.md): unusual for a symbol without a history."""

_PIN_WEIGHT: Final = 5.0  # like the next one it only places scores on one scale
_MARKET_CAP_WEIGHT: Final = 1.0


class SymbolView(msgspec.Struct, kw_only=True):
    """A symbol's day until now; None for unknown values. Prices in the currency, volume in shares.

    `opening_volume_by_now` and `opening_range_by_now` (as a fraction of the price) are the average symbol's, continued
    from the opening; known only for symbols without a history of their own. `recent_ratio` is the volume of the latest
    minutes until `recent_ns` in units of `usual_recent_volume`, and `recent_certain` its certain part;
    `recent_awaited`: where it is unknown, a sweep makes it known, and the day so far says nothing of these minutes.
    `range_ns` is when the day's range grew last.
    """

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
    expires_ns: int | None
    market_cap: float
    strength: float = 0.0
    measure: float = 0.0
    threshold: float = 0.0
    reference: float = _NOTHING
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
    measure in the overflow ledger; its settings are those of `TriggersSettings`.

    A kind that `is_recent` fires and is renewed only while the recent volume holds (`RecentVolumeSettings`). While that
    is awaited it does not fire, and the other conditions renew it; where nothing makes it known, they decide.
    `evidence_ns` is the time of the newest data that show it; None: that of the evaluation.
    """

    kind: TriggerKind
    documentation: str
    overflow_measure: str
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
        conditions=(Condition(_trades_per_second, _nothing, levels=((20.0, "high"), (10.0, "basic"))),),
    ),
    Trigger(
        kind="volatility_spike",
        documentation="the true range of the day so far is a multiple of the average true range; for a symbol without "
        "a history: the range of the average symbol's opening",
        overflow_measure="atr_ratio",
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
        expires_ns=until_ns,
        market_cap=member.market_cap,
    )


def by_market_cap(member: UniverseMember) -> Candidate:
    """The default placement (P5), which fills the slots that triggers leave free. Without end, at strength 0."""
    return Candidate(
        symbol=member.symbol,
        kind="market_cap",
        score=score(_MARKET_CAP_WEIGHT, 0.0, member.market_cap),
        measure=member.market_cap,
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


# --- active triggers ---
#
# The triggers that hold, and the events that one began to and that it ended. Pure.
#
# A trigger that nothing renews ends after its `ttl_seconds` (300). So an outage of the stream and of the sweeps that
# lasts longer ends a surge without evidence that the surge is over; it fires again with the first data that show it.

TriggerKey = tuple[str, TriggerKind]
"""The symbol and the kind of its trigger."""


def fired_event(candidate: Candidate, fired_ns: int) -> TriggerFired:
    """The event that a candidate's condition began to hold."""
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


class ActiveTrigger(msgspec.Struct, frozen=True, gc=False):
    """When a condition fired, until when it held as far as is known, and when its life ends (UTC ns; None: never)."""

    fired_ns: int
    held_until_ns: int
    expires_ns: int | None


class ActiveTriggers:
    """The conditions that hold already, so that a lasting condition fires only once. Explicit state, no clock.

    A condition is active from its first candidate until its life runs out.
    """

    __slots__ = ("_active",)

    def __init__(self) -> None:
        self._active: dict[TriggerKey, ActiveTrigger] = {}

    def __contains__(self, key: object) -> bool:
        """Whether the kind is active for the symbol."""
        return key in self._active

    def resume(self, active: Mapping[TriggerKey, ActiveTrigger]) -> None:
        """Resume those of an earlier process."""
        self._active = dict(active)

    def ended(self, now_ns: int) -> Sequence[TriggerEnded]:
        """The conditions whose lives are over; they are not active any more."""
        over = [
            key for key, active in self._active.items() if active.expires_ns is not None and active.expires_ns <= now_ns
        ]
        return [self._ended(key, now_ns) for key in over]

    def all_ended(self, now_ns: int) -> Sequence[TriggerEnded]:
        """End every condition."""
        return [self._ended(key, now_ns) for key in list(self._active)]

    def _ended(self, key: TriggerKey, now_ns: int) -> TriggerEnded:
        active = self._active.pop(key)
        return TriggerEnded(*key, active.fired_ns, active.held_until_ns, now_ns)

    def begun(self, candidates: Iterable[Candidate], now_ns: int) -> list[Candidate]:
        """The candidates whose conditions become active; the others' active times are prolonged."""
        beginning = []
        for candidate in candidates:
            key = (candidate.symbol, candidate.kind)
            before = self._active.get(key)
            held_until_ns = now_ns if candidate.evidence_ns is None else candidate.evidence_ns
            if before is None:
                beginning.append(candidate)
                before = ActiveTrigger(now_ns, held_until_ns, None)
            held_until_ns = max(before.held_until_ns, held_until_ns)
            self._active[key] = ActiveTrigger(before.fired_ns, held_until_ns, candidate.expires_ns)
        return beginning
