"""The triggers: their conditions, strength, score and life. Requirement 004, Trigger Types.

A condition measures a symbol's state against its history. `TRIGGERS` is the registry: each entry defines one kind of
trigger completely; the settings, the overflow ledger and the documents derive from it. Thresholds, strength, weight and
life work alike for all kinds. A new kind is one small function and one entry; a test fails until the shipped settings
and the README include it.

A pin measures nothing: it is a request. It stands above all triggers, and the largest symbols, which fill free slots,
stand below them; so neither has a threshold or a weight to set.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import msgspec

from bus.events import TriggerKind, UniverseMember
from observer.selection.indicators import true_range
from observer.units import NS_PER_S

_MARKET_CAP_FACTOR: Final = 0.1  # per power of ten of the currency (requirement 004, Allocation Algorithm)
_NOTHING: Final = 0.0  # the reference of a measurement without a history
OPENING_THRESHOLD: Final = 1.5
"""Times the average symbol of the opening (requirement 004, Baseline metrics): unusual for a symbol without a history.
"""

_PIN_WEIGHT: Final = 5.0  # requirement 004, Priority Levels; like the next one it only places scores on one scale
_MARKET_CAP_WEIGHT: Final = 1.0

WITHOUT_END: Final = -1.0  # a time to live of this many seconds never ends (the requirement's notation)

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


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
        _check_life(self.ttl_seconds)


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
        _check_life(self.ttl_seconds)


def _check_life(ttl_seconds: float) -> None:
    if ttl_seconds <= 0 and ttl_seconds != WITHOUT_END:
        raise ValueError(f"ttl_seconds: {ttl_seconds:g} is neither positive nor -1 (without end)")


class SymbolView(Protocol):
    """A symbol's day until now; None for unknown values. Prices in the currency, volume in shares.

    `opening_volume_by_now` and `opening_range_by_now` (as a fraction of the price) are the average symbol's, continued
    from the opening; known only for symbols without a history of their own.
    """

    # ruff: disable[D102] - the words are the fields' own
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

    # ruff: enable[D102]


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Satisfies `SymbolView`."""

    cumulative_volume: float | None = None
    average_volume_by_now: float | None = None
    high: float | None = None
    low: float | None = None
    trades_per_second: float | None = None
    opening_volume_by_now: float | None = None
    opening_range_by_now: float | None = None


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A symbol that wants a slot, why, and until when (UTC ns; None without end). `strength` is 0 to 1."""

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

    def alive(self, now_ns: int) -> bool:
        """Whether its life has not ended."""
        return self.expires_ns is None or self.expires_ns > now_ns


class Condition(msgspec.Struct, frozen=True):
    """A trigger's measure (in the unit of its threshold; None if not measurable) and its reference.

    `basis` distinguishes conditions of one kind: the one with the larger measure represents the kind. `levels` are
    named thresholds, the highest first (requirement 004, the kinds' lists of thresholds). `threshold` is the
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
    """

    kind: TriggerKind
    documentation: str
    overflow_measure: str
    defaults: TriggerSettings
    conditions: tuple[Condition, ...]


def _volume_against_day(member: UniverseMember, view: SymbolView) -> float | None:
    """The day's volume so far against the average day: the written rule, which fires late (design.md 6.8)."""
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
    high, low, average = view.high, view.low, view.opening_range_by_now
    return (high - low) / member.previous_close / average if average and high and low else None


def _trades_per_second(_member: UniverseMember, view: SymbolView) -> float | None:
    return view.trades_per_second


def _range_against_average(member: UniverseMember, view: SymbolView) -> float | None:
    """The day's true range so far against the average true range."""
    high, low, average = view.high, view.low, member.average_true_range_14d
    return true_range(high, low, member.previous_close) / average if average and high and low else None


def _nothing(_member: UniverseMember, _view: SymbolView) -> float:
    return _NOTHING


_SURGE_LEVELS: Final = ((5.0, "severe"), (3.0, "moderate"), (2.0, "mild"))

TRIGGERS: Final = (
    Trigger(
        kind="volume_surge",
        documentation="the volume of the day so far is a multiple of the average, of the day or by this time of day; "
        "for a symbol without a history: of the average symbol's opening",
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
        ),
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
    ),
)

OVERFLOW_MEASURES: Final = {each.kind: each.overflow_measure for each in TRIGGERS}
"""The name of each kind's measure in the overflow ledger."""


class ProfileSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The volume surge's other reference: the average volume by this time of day, over the last `days` sessions, for
    symbols with snapshots on at least `days_min` of them.
    """

    enabled: bool = True
    days: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    days_min: Annotated[int, msgspec.Meta(ge=1)] = 5


class CommonTriggerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of all triggers, and of pins. `velocity_window_seconds` is that of trade rates."""

    manual: PinSettings = PinSettings()
    time_of_day: ProfileSettings = ProfileSettings()
    velocity_window_seconds: Positive = 1.0

    def of(self, kind: TriggerKind) -> TriggerSettings:
        """The settings of one kind of `TRIGGERS`; pins and market capitalisation are none."""
        settings: TriggerSettings = getattr(self, kind)
        return settings


if TYPE_CHECKING:

    class TriggersSettings(CommonTriggerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """All kinds of triggers (requirement 004, Trigger Types and Priority Levels), each a field by its kind."""

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
        self._settings = settings
        self._checks = [
            (condition.measure, condition.threshold or settings.of(trigger.kind).threshold, trigger.kind, condition)
            for trigger in TRIGGERS
            if settings.of(trigger.kind).enabled
            for condition in trigger.conditions
        ]

    def evaluate(self, member: UniverseMember, view: SymbolView, now_ns: int) -> Sequence[Candidate]:
        """One candidate for each kind with a condition that holds, in the order of the registry.

        While a condition holds, each evaluation renews its full life.
        """
        fired: dict[TriggerKind, Candidate] = {}
        for measured, threshold, kind, condition in self._checks:
            measure = measured(member, view)
            if measure is not None and measure >= threshold:
                rival = fired.get(kind)
                if rival is None or measure > rival.measure:
                    reference = condition.reference(member, view) or _NOTHING
                    fired[kind] = self._candidate(member, kind, condition, threshold, measure, reference, now_ns)
        return tuple(fired.values()) if fired else ()

    def _candidate(
        self,
        member: UniverseMember,
        kind: TriggerKind,
        condition: Condition,
        threshold: float,
        measure: float,
        reference: float,
        now_ns: int,
    ) -> Candidate:
        own = self._settings.of(kind)
        strength = min(measure / own.full_strength, 1.0)
        return Candidate(
            symbol=member.symbol,
            kind=kind,
            score=score(own.weight, strength, member.market_cap),
            strength=strength,
            measure=measure,
            threshold=threshold,
            reference=reference,
            expires_ns=expiry(now_ns, own.ttl_seconds),
            market_cap=member.market_cap,
            severity=condition.severity(measure),
            basis=condition.basis,
        )


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
