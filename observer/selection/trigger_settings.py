"""The settings of triggers and pins. Pure.

Each kind of trigger has the settings of `TriggerSettings`; its defaults stand with it in `observer.selection.triggers`.
"""

from typing import Annotated, Final

import msgspec

from bus.events import TriggerKind

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


class CommonTriggerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of all triggers, and of pins. `velocity_window_seconds` is that of trade rates."""

    manual: PinSettings = PinSettings()
    time_of_day: ProfileSettings = ProfileSettings()
    recent_volume: RecentVolumeSettings = RecentVolumeSettings()
    velocity_window_seconds: Positive = 1.0

    def of(self, kind: TriggerKind) -> TriggerSettings:
        """The settings of one kind of `TRIGGERS`; pins and market capitalisation are none."""
        settings: TriggerSettings = getattr(self, kind)
        return settings
