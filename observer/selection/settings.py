"""What can be told to the selection of symbols. Keys and defaults: requirement 004, Configuration Schema."""

from typing import Annotated, Literal

import msgspec

from bus.events import TriggerKind

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
TimeOfDay = Annotated[str, msgspec.Meta(pattern=r"\A([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?\Z")]

WITHOUT_END = -1.0  # a time to live of this many seconds never ends (the requirement's notation)


class UniverseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may be a member of the day's universe, and when it is built (Korean local time). Prices in won.

    Funds and notes (ETF, ETN) and shell companies (SPAC) are out by default, which leaves the companies: 1,700 of 4,281
    listings in the files of January 2026. Preferred shares and administrative issues are in.
    """

    generation_time: TimeOfDay = "05:00"
    min_close_price: NotNegative = 4_000.0
    sort_by: Literal["market_cap"] = "market_cap"
    exclude_suspended: bool = True
    exclude_managed: bool = False
    exclude_etf: bool = True
    exclude_etn: bool = True
    exclude_spac: bool = True
    exclude_preferred: bool = False
    min_symbol_count: Annotated[int, msgspec.Meta(ge=0)] = 100


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
        """Checks the time to live, whose bounds are no interval."""
        if self.ttl_seconds <= 0 and self.ttl_seconds != WITHOUT_END:
            raise ValueError(f"ttl_seconds: {self.ttl_seconds:g} is neither positive nor -1 (without end)")


class ProfileSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The volume surge's other reference: the average volume by this time of day, over the last `days` sessions, for
    symbols that were seen on at least `days_min` of them.
    """

    enabled: bool = True
    days: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    days_min: Annotated[int, msgspec.Meta(ge=1)] = 5


class TriggersSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All kinds of triggers (requirement 004, Trigger Types and Priority Levels), and the default placement.

    Thresholds are ratios, but for trade velocity, which is in trades per second, and manual, which holds or not.
    """

    volume_surge: TriggerSettings = TriggerSettings(threshold=3.0, full_strength=5.0, ttl_seconds=300.0, weight=10.0)
    trade_velocity: TriggerSettings = TriggerSettings(threshold=10.0, full_strength=20.0, ttl_seconds=180.0, weight=8.0)
    volatility_spike: TriggerSettings = TriggerSettings(threshold=2.0, full_strength=3.0, ttl_seconds=300.0, weight=6.0)
    manual: TriggerSettings = TriggerSettings(threshold=1.0, full_strength=1.0, ttl_seconds=WITHOUT_END, weight=5.0)
    time_of_day: ProfileSettings = ProfileSettings()
    market_cap_weight: NotNegative = 1.0
    velocity_window_seconds: Positive = 1.0

    def of(self, kind: TriggerKind) -> TriggerSettings:
        """The settings of one kind; market capitalisation is no trigger and has none."""
        assert kind != "market_cap"
        settings: TriggerSettings = getattr(self, kind)
        return settings


class SlotSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Places that an account gives at most, and by which factor a newcomer must outscore whom it replaces.

    After more than `churn_max_replacements` replacements in `churn_window_seconds`, the factor is `churn_threshold` and
    triggers live `churn_ttl_factor` times as long (requirement 004, Edge Case 3). When more than `overflow_alert_rate`
    of the symbols that wanted a place in an hour had none, somebody is told.
    """

    max_slots: Annotated[int, msgspec.Meta(ge=1)] = 41
    replacement_threshold: Annotated[float, msgspec.Meta(ge=1)] = 1.2
    churn_threshold: Annotated[float, msgspec.Meta(ge=1)] = 1.5
    churn_window_seconds: Positive = 600.0
    churn_max_replacements: Annotated[int, msgspec.Meta(ge=1)] = 41
    churn_ttl_factor: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    overflow_alert_rate: Share = 0.1


class ContextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the opening's movers are ranked (requirement 004, Track B Context Synchronization)."""

    volume_weight: NotNegative = 0.4
    volatility_weight: NotNegative = 0.3
    price_change_weight: NotNegative = 0.3  # of the change in percent
    full_strength: Positive = 3.0  # the volume ratio at which a mover is at full strength
    ttl_seconds: Positive = 300.0


class SelectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pipeline from the listings to the slots."""

    universe: UniverseSettings = UniverseSettings()
    triggers: TriggersSettings = TriggersSettings()
    slots: SlotSettings = SlotSettings()
    context: ContextSettings = ContextSettings()
