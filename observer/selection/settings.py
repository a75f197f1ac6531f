"""The settings of the selection, their file, and their copy in a day's first step. Pure.

The keys are those of the requirement (docs/requirement.md); the file is config/observer/symbol_selection.json. A
missing key has its default, so the requirement's own example is a complete file; its `triggers.manual.weight` decides
nothing and is passed over. One error lists every wrong key by its dotted name.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Annotated, Any, Final, Literal

import msgspec

from bus.events import AccountSlots, AllocationStrategy, DayBegan
from observer.base.errors import NotReplayableError
from observer.base.settings_errors import Problem, SettingsPath, converted, decode_json, wrong_settings
from observer.selection.trigger_settings import NotNegative, Positive, Share, check_life
from observer.selection.triggers import TriggersSettings

TimeOfDay = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?\Z", description="a time of day, HH:MM or HH:MM:SS"
    ),
]


RULES: Final = 7
"""The version of the decisions: raised when the same settings and events give other decisions than before."""


class UniverseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions of membership in the day's universe, and when it is built (local time). Prices in the venue's
    currency.

    ETFs, ETNs and shell companies (SPAC) are out by default, which leaves the companies: 1,700 of 4,281 listings in the
    files of January 2026. Preferred shares and administrative issues are in.
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


class SlotSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The maximum slots of an account, and the factor by which a newcomer must outscore the holder that it replaces.

    After more than `churn_max_replacements` replacements an account in `churn_window_seconds`, the factor is
    `churn_threshold` and triggers live `churn_ttl_factor` times as long. An alert is
    raised when more than `overflow_alert_rate` of the symbols that wanted a slot in an hour had none. A trigger's score
    halves with each `score_half_life_seconds` since its evidence; -1: it does not.

    A trigger's score grows by `seconds_overflow_weight` for each trade a second that the broker's page of past trades
    cannot hold (`MarketState.seconds_overflow`): only a slot gets these.

    Raises:
        ValueError: the half-life is neither positive nor -1 (without end).
    """

    max_slots: Annotated[int, msgspec.Meta(ge=1)] = 41
    replacement_threshold: Annotated[float, msgspec.Meta(ge=1)] = 1.2
    churn_threshold: Annotated[float, msgspec.Meta(ge=1)] = 1.5
    churn_window_seconds: Positive = 600.0
    churn_max_replacements: Annotated[int, msgspec.Meta(ge=1)] = 41
    churn_ttl_factor: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    overflow_alert_rate: Share = 0.1
    score_half_life_seconds: float = 300.0
    seconds_overflow_weight: NotNegative = 0.0

    def __post_init__(self) -> None:
        """Checks the half-life, whose valid values are not an interval."""
        check_life("score_half_life_seconds", self.score_half_life_seconds)


class ContextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the opening's movers are ranked (docs/requirement.md)."""

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


# Keys that a day's first step carries beside the selection's.
_BESIDE: Final = ("windows", "openings_ns", "page_trades", "left_free")


class VenueWindow(msgspec.Struct, frozen=True, array_like=True):
    """A time in which lines of a venue may hold slots (UTC ns, `to_ns` exclusive); `venue` is that of their ids."""

    venue: str
    from_ns: int
    to_ns: int


class DaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings that the decisions of one day depend on: the selection's, how many symbols each account can stream
    (in the order of use), which account assigns the next slot, the interval between sweeps, the day's windows by venue
    (none: every venue is always open), when each venue begins to trade, how many trades the broker's page of past
    trades has (0: it has no such call, and no second overflows), and how many slots fillers leave free (`SlotState`).
    """

    selection: SelectionSettings
    accounts: tuple[AccountSlots, ...]
    allocation_strategy: AllocationStrategy
    sweep_interval_s: float
    windows: tuple[VenueWindow, ...] = ()
    openings_ns: Mapping[str, tuple[int, ...]] = {}
    page_trades: int = 0
    left_free: int = 0

    @property
    def slots_by_account(self) -> dict[str, int]:
        """How many symbols each account can stream, by its name."""
        return {each.account: each.slots for each in self.accounts}

    @property
    def digest(self) -> str:
        """SHA-256 of all values, as 64 hexadecimal digits."""
        document = msgspec.to_builtins(self)
        return _digest_of({key: value for key, value in document.items() if value or key not in _BESIDE})

    @property
    def document(self) -> dict[str, Any]:
        """The selection's settings as a day's first step carries them, with the rest of `_BESIDE` beside them."""
        document: dict[str, Any] = msgspec.to_builtins(self.selection)
        return document | {key: value for key in _BESIDE if (value := msgspec.to_builtins(getattr(self, key)))}


def stored_settings(began: DayBegan) -> DaySettings:
    """The settings that a day's first step carries; a key that this version added since has its default.

    Raises:
        NotReplayableError: the day was decided by other rules, the digest of the settings differs, or they have a key
            or a value that this version does not know.
    """
    if began.rules != RULES:
        raise NotReplayableError(
            f"the day was decided by rules {began.rules}, and this version has rules {RULES}: verify the day with the "
            "version that recorded it"
        )
    selection = {key: value for key, value in began.settings.items() if key not in _BESIDE}
    beside = {key: began.settings[key] for key in _BESIDE if key in began.settings}
    document = msgspec.to_builtins(
        {
            "selection": selection,
            "accounts": began.accounts,
            "allocation_strategy": began.allocation_strategy,
            "sweep_interval_s": began.sweep_interval_s,
            **beside,
        }
    )
    if _digest_of(document) != began.settings_digest:
        raise NotReplayableError(f"the settings that are stored do not have their digest {began.settings_digest}")
    try:
        return msgspec.convert(document, DaySettings)
    except (msgspec.ValidationError, ValueError) as error:
        raise NotReplayableError(f"this version cannot read the settings that are stored: {error}") from error


def _digest_of(document: Mapping[str, object]) -> str:
    """Of the values as they are written: a key that is not in the document does not count."""
    return hashlib.sha256(msgspec.json.encode(document)).hexdigest()


class SettingChange(msgspec.Struct, frozen=True):
    """A setting with two values, by its dotted key."""

    key: str
    before: object
    after: object


def settings_differences(before: DaySettings, after: DaySettings) -> Sequence[SettingChange]:
    """The settings that differ."""
    one, other = dict(_leaves(msgspec.to_builtins(before))), dict(_leaves(msgspec.to_builtins(after)))
    keys = dict.fromkeys([*one, *other])
    return [SettingChange(key, one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]


def _leaves(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# --- the file ---

_DEFAULTS: Final[Mapping[str, Any]] = msgspec.to_builtins(SelectionSettings())
WITHOUT_EFFECT: Final[Mapping[SettingsPath, str]] = {
    ("triggers", "manual", "weight"): "a pin stands above all triggers, so its weight decides nothing",
}
"""Keys that are accepted and passed over, and why; `observer config check` warns of them."""
_REFUSED: Final[Mapping[SettingsPath, str]] = {
    ("triggers", "manual", "threshold"): "a pin is a request and measures nothing; remove this key",
    ("triggers", "manual", "full_strength"): "a pin is a request and measures nothing; remove this key",
    ("triggers", "market_cap_weight"): "the largest symbols yield to every trigger; remove this key",
}
"""Keys that could decide nothing (docs/requirement.md, "Differs from the requirement"), and why."""


def parse_selection(content: bytes, source: str) -> SelectionSettings:
    """The settings in a file's content; `source` names the file in errors.

    Raises:
        ConfigError: the content is not valid: one line for each wrong key, with its dotted name and its bound.
    """
    file = decode_json(content, source)
    document = reduce(_without, WITHOUT_EFFECT, file.content)
    settings, problems = converted(file, (), SelectionSettings, _merged(_DEFAULTS, document))
    if settings is None:
        raise wrong_settings(
            file, [Problem(each.path, _REFUSED.get(each.path, each.text), each.shown) for each in problems]
        )
    return settings


def keys_without_effect(document: object) -> Sequence[SettingsPath]:
    """The keys of WITHOUT_EFFECT that a selection file's document has."""
    return [path for path in WITHOUT_EFFECT if _without(document, path) != document]


def _without(document: Any, path: SettingsPath) -> Any:
    """The document less the value at this path, where it has one."""
    first, *rest = path
    if not isinstance(document, dict) or first not in document:
        return document
    if not rest:
        return {key: value for key, value in document.items() if key != first}
    return {**document, first: _without(document[first], tuple(rest))}


def _merged(defaults: object, document: object) -> object:
    """The defaults updated with the document's values."""
    if not isinstance(defaults, dict) or not isinstance(document, dict):
        return document
    merged = {name: _merged(defaults.get(name), value) for name, value in document.items()}
    return {**defaults, **merged}
