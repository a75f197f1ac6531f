"""The configuration: nests the rooms' own settings structs, loads them from their files, names every wrong key.

Each room declares its settings and never imports this module, so no room can read another room's settings. This file
never holds secrets, only their location.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, ParamSpec, TypeVar

import msgspec

from observer.archive.settings import BackupSettings, LakeSettings, missing_libraries
from observer.base.errors import ConfigError, did_you_mean
from observer.base.extras import install_command
from observer.base.files import read_file
from observer.base.instance import Instance, instance_url
from observer.base.local_time import use_zone
from observer.base.logs import Head
from observer.base.settings import RunSettings, StoreSettings, read_settings_file
from observer.base.settings_errors import Problem, SettingsFile, converted, wrong_settings
from observer.brokers.accounts.clients import ClientSettings
from observer.brokers.accounts.pool import PoolSettings, parse_pool
from observer.brokers.broker import BROKER_NAMES, Broker, broker_named
from observer.brokers.settings import BrokerSettings
from observer.calendar.phases import DayRules, ScheduleSettings, contradictions
from observer.calendar.session_file import SHIPPED, read_session_rules
from observer.calendar.sessions import SessionRules
from observer.calendar.venues import TradingVenue
from observer.collection.settings import StreamingSettings, TrackASettings, TrackBSettings
from observer.collection.tape.settings import TapeSettings
from observer.gaps.recovery import RecoverySettings
from observer.monitoring.alerts.settings import AlertSettings, missing_library, read_alerts
from observer.monitoring.metrics.settings import MetricsSettings
from observer.reference.etf.settings import EtfSettings
from observer.reference.listings.diff import ReferenceSettings
from observer.reference.sectors.settings import SectorSettings
from observer.reference.universe.settings import UniverseVenues, contradictions_of_venues
from observer.selection.settings import SelectionSettings, parse_selection
from observer.simulator.settings import SimulatorSettings
from observer.supervisor.limits import HostLimits

KEPT_DAYS_MIN: Final = 30
"""The smallest `[store] keep_days`: a month, so that a person finds a recent day's rows where the processes do."""
KEPT_BEYOND_COMPARED: Final = 10
"""Days that are kept beyond those that a trigger compares with: recovery and quality go back seven calendar days."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_NO_SECTIONS: Final = frozenset({"pool", "keys_digest", "selection", "brokers", "sessions"})
_MOVED: Final = {
    "selection": "this section has a file of its own: move its keys to the JSON file that run.symbol_selection names"
}
_WEB_LIBRARIES: Final = ("litestar", "uvicorn")
_TOKEN_FILE: Final = "web.token"  # noqa: S105 - a file's name


def _default_brokers() -> Mapping[str, BrokerSettings]:
    return {name: msgspec.convert({}, broker_named(name).settings) for name in BROKER_NAMES}


class SupervisionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Supervision of processes, in machine seconds; limits of their logs and their memory."""

    ready_deadline_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    stop_grace_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    heartbeat_limit_s: Annotated[float, msgspec.Meta(gt=1)] = 15.0
    log_bytes_max: Annotated[int, msgspec.Meta(ge=131_072)] = 10_000_000
    logs_kept: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5
    process_memory_bytes_max: Annotated[int, msgspec.Meta(ge=1_000_000)] = 512_000_000
    host: HostLimits = HostLimits()


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The page and the HTTP API, on loopback alone. Without the section there is none.

    `port` is its TCP port. `token_file` is the file with the token that orders need, readable by its owner only; empty
    for `web.token` in the runtime folder. The first start makes it.
    """

    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8765
    token_file: str = ""

    def token_file_in(self, runtime: str) -> Path:
        """The token's file, where `runtime` is the runtime folder."""
        return Path(self.token_file) if self.token_file else Path(runtime) / _TOKEN_FILE


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be configured; each section is a struct of its own with its defaults.

    `brokers` are the brokers' sections, each under its broker's name.

    Not sections of the file: `pool`, `selection` and `sessions`, which have files of their own ([run] provider_pool,
    symbol_selection and sessions), and `keys_digest`, which changes with the content of a keys file, so that a reload
    detects it.
    """

    run: RunSettings = RunSettings()
    instance: Instance = Instance()
    store: StoreSettings = StoreSettings()
    backup: BackupSettings = BackupSettings()
    pool: PoolSettings = PoolSettings()
    keys_digest: str = ""
    brokers: Mapping[str, BrokerSettings] = msgspec.field(default_factory=_default_brokers)
    schedule: ScheduleSettings = ScheduleSettings()
    sessions: SessionRules = SessionRules()
    selection: SelectionSettings = SelectionSettings()
    recovery: RecoverySettings = RecoverySettings()
    reference: ReferenceSettings = ReferenceSettings()
    etf: EtfSettings = EtfSettings()
    sectors: SectorSettings = SectorSettings()
    universe: UniverseVenues = UniverseVenues()
    track_a: TrackASettings = TrackASettings()
    track_b: TrackBSettings = TrackBSettings()
    supervision: SupervisionSettings = SupervisionSettings()
    alerts: AlertSettings = AlertSettings()
    lake: LakeSettings | None = None
    tape: TapeSettings | None = None
    metrics: MetricsSettings | None = None
    web: WebSettings | None = None
    simulator: SimulatorSettings | None = None

    def log_head(self, configuration: Path) -> Head:
        """What the logs of the processes with this configuration begin with."""
        return Head(str(configuration), self.instance.name, [account.account_id for account in self.pool.accounts])

    @property
    def providers(self) -> Sequence[str]:
        """The brokers that the instance collects from."""
        return sorted({account.provider for account in self.pool.accounts})

    @property
    def streaming(self) -> StreamingSettings:
        """The settings of a Track B day."""
        return StreamingSettings(selection=self.selection, track_b=self.track_b, track_a=self.track_a)

    @property
    def provider(self) -> str:
        """The broker of the first account by priority."""
        return self.pool.provider

    @property
    def broker(self) -> BrokerSettings:
        """The section of the first account's broker."""
        return self.brokers[self.provider]

    @property
    def venue(self) -> TradingVenue:
        """The venue of the instance's market."""
        return broker_named(self.provider).venue

    @property
    def sqlite_file(self) -> Path | None:
        """The file of an SQLite database; None of another one. For what does not load SQLAlchemy."""
        url = self.store.url
        return Path(url.partition(":///")[2].partition("?")[0]) if url.startswith("sqlite") else None

    @property
    def day_rules(self) -> DayRules:
        """What the plan of a day is made of."""
        return DayRules(
            sessions=self.sessions,
            venue=self.venue.name,
            schedule=self.schedule,
            track_a=self.track_a.sessions,
            track_b=self.track_b.sessions,
        )

    @property
    def clients(self) -> ClientSettings:
        """The settings of the accounts' clients."""
        return ClientSettings(
            runtime=Path(self.run.runtime),
            pool=self.pool,
            brokers=self.brokers,
            records=self.track_b.records,
            slots_max=self.selection.slots.max_slots,
        )


def load_settings(path: Path) -> Settings:
    """The settings in a TOML file and in those of the accounts, the selection and the sessions; what is absent has its
    default. Also sets this process's local time to the venue's.

    Raises:
        ConfigError: a file cannot be read, or has wrong keys or values: one line for each of them, of all files. What
            needs several sections is checked when each of them is right.
    """
    file = read_settings_file(path)
    errors = _Errors()
    settings = errors.of(settings_of, file)
    run = settings.run if settings is not None else converted(file, ("run",), RunSettings, _section(file, "run"))[0]
    pool = selection = sessions = None
    if run is not None:
        pool, selection = errors.of(_read_pool, run, file), errors.of(_read_selection, run, file)
        sessions = errors.of(read_session_rules, session_file(run))
        if settings is not None:
            errors.of(_require_libraries, settings, file)
        if settings is not None and pool is not None:
            errors.of(_require_one_market, settings.instance, pool, file)
            errors.of(_require_files, settings.reference, broker_named(pool.provider), file)
    errors.raise_all()
    assert settings is not None, "its errors are raised"
    assert pool is not None, "likewise"
    assert selection is not None, "likewise"
    assert sessions is not None, "likewise"
    store = msgspec.structs.replace(settings.store, url=instance_url(settings.store.url, settings.instance))
    settings = msgspec.structs.replace(
        settings, store=store, pool=pool, selection=selection, sessions=sessions, keys_digest=_keys_digest(pool)
    )
    use_zone(settings.venue.zone)
    errors.of(_require_sessions, settings, file)
    errors.of(_require_kept_days, settings, file)
    errors.raise_all()
    return settings


class _Errors:
    """The errors of steps that do not need each other's results."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def of(
        self, step: Callable[_Arguments, _Result], *args: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result | None:
        """The step's result; None where it raises, and its error is kept."""
        try:
            return step(*args, **named)
        except ConfigError as error:
            self._found.append(error)
            return None

    def raise_all(self) -> None:
        """Raise what was kept, as one error with all lines."""
        match self._found:
            case []:
                return
            case [error]:
                raise error
            case errors:
                raise ConfigError("\n".join(map(str, errors)))


def _section(file: SettingsFile, name: str) -> object:
    return file.content.get(name, {})


def _require_libraries(settings: Settings, file: SettingsFile) -> None:
    """Raises ConfigError for a section whose libraries are not installed."""
    problems = []
    if settings.lake is not None and (text := missing_libraries()):
        problems.append(Problem(("lake",), text))
    if settings.web is not None and (missing := [name for name in _WEB_LIBRARIES if find_spec(name) is None]):
        problems.append(Problem(("web",), f"{' and '.join(missing)} not installed: {install_command('web')}"))
    if wrong := missing_library(settings.alerts):
        problems.append(Problem(("alerts", "targets"), f"{wrong}: {install_command('alerts')}"))
    if problems:
        raise wrong_settings(file, problems)


def _require_one_market(instance: Instance, pool: PoolSettings, file: SettingsFile) -> None:
    """Raises ConfigError when the accounts' brokers do not all trade the instance's market."""
    markets = {account.account_id: broker_named(account.provider).venue.market for account in pool.accounts}
    if others := [f"account {name} trades {found}" for name, found in markets.items() if found != instance.market]:
        text = f"{', '.join(others)}; an instance collects one market: configure another instance for the other"
        raise wrong_settings(file, [Problem(("instance", "market"), text, f'"{instance.market}"')])


def _require_files(reference: ReferenceSettings, broker: Broker, file: SettingsFile) -> None:
    """Raises ConfigError when the broker has no file of an exchange whose listings are to be kept."""
    if others := [name for name in reference.exchanges if name not in broker.exchanges]:
        text = f"{broker.name} has no file of it; it has {', '.join(broker.exchanges) or 'none'}"
        raise wrong_settings(file, [Problem(("reference", "exchanges"), text, ", ".join(others))])


def session_file(run: RunSettings) -> Path:
    """The file of the session rules: the named one, or the one that comes with Observer."""
    path = Path(run.sessions)
    return SHIPPED if run.sessions == RunSettings().sessions and not path.exists() else path


def _require_sessions(settings: Settings, file: SettingsFile) -> None:
    """Raises ConfigError for tracks whose sessions the session rules do not have, or that contradict each other, and
    for venues of the universe that are not collected.
    """
    named = {"track_a": settings.track_a.sessions, "track_b": settings.track_b.sessions}
    known = settings.sessions.names
    problems = [
        Problem((track, "sessions"), f"unknown profile or session{did_you_mean(name, known)}", f'"{name}"')
        for track, names in named.items()
        for name in names
        if name not in known
    ] or [
        *_wrong_venues(settings),
        *(Problem(path, text) for path, text in contradictions(settings.day_rules)),
    ]
    if problems:
        raise wrong_settings(file, problems)


def _require_kept_days(settings: Settings, file: SettingsFile) -> None:
    """Raises ConfigError when rows would be removed that a process reads, or that no lake has."""
    keep_days = settings.store.keep_days
    if keep_days is None:
        return
    compared = settings.selection.triggers.time_of_day.days
    least = max(KEPT_DAYS_MIN, compared + KEPT_BEYOND_COMPARED)
    text = ""
    if settings.lake is None:
        text = "only sealed days are removed from the database: add a section [lake]"
    elif keep_days < least:
        text = (
            f"must be >= {least}: triggers compare a day with {compared} sessions before it "
            "(triggers.time_of_day.days), and gaps, quality and `observer decisions verify` read days past"
        )
    if text:
        raise wrong_settings(file, [Problem(("store", "keep_days"), text, str(keep_days))])


def _wrong_venues(settings: Settings) -> Sequence[Problem]:
    served = broker_named(settings.provider).venues
    found = contradictions_of_venues(settings.universe, served, settings.sessions, settings.track_a.sessions)
    return [Problem(("universe", "venues"), text, f'"{venue}"') for venue, text in found]


def _read_pool(run: RunSettings, file: SettingsFile) -> PoolSettings:
    content = _content_of("provider_pool", run.provider_pool, RunSettings().provider_pool, file)
    return PoolSettings() if content is None else parse_pool(content, run.provider_pool)


def _read_selection(run: RunSettings, file: SettingsFile) -> SelectionSettings:
    content = _content_of("symbol_selection", run.symbol_selection, RunSettings().symbol_selection, file)
    return SelectionSettings() if content is None else parse_selection(content, run.symbol_selection)


def _content_of(key: str, path: str, default: str, file: SettingsFile) -> bytes | None:
    """The content of a file that [run] names; None when it is the default's and not there."""
    try:
        return read_file(Path(path))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path == default:
            return None
        problem = Problem(("run", key), f"cannot read this file: {error.strerror}", f'"{path}"')
        raise wrong_settings(file, [problem]) from None


def _keys_digest(pool: PoolSettings) -> str:
    """Digest of the keys files' contents; empty without any. `accounts.keys` reports missing files."""
    names = sorted({account.keys_file for account in pool.accounts if account.keys_file})
    digest = hashlib.sha256()
    readable = False
    for name in names:
        with contextlib.suppress(OSError, RuntimeError):  # the latter: ~USER without such a user
            digest.update(hashlib.sha256(read_file(Path(name).expanduser())).digest())
            readable = True
    return digest.hexdigest() if readable else ""


def settings_of(file: SettingsFile) -> Settings:
    """The settings in a decoded file.

    Raises:
        ConfigError: as for `load_settings`.
    """
    types = {field.name: field.type for field in msgspec.structs.fields(Settings) if field.name not in _NO_SECTIONS}
    types |= {name: broker_named(name).settings for name in BROKER_NAMES}
    problems: list[Problem] = []
    sections: dict[str, Any] = {}
    for name in file.content:
        if name not in types:
            text = _MOVED.get(name, f"unknown section{did_you_mean(name, types)}")
            problems.append(Problem((name,), text))
            continue
        sections[name], wrong = read_alerts(file) if name == "alerts" else converted(file, (name,), types[name])
        problems += wrong
    if problems:
        raise wrong_settings(file, problems)
    written = {name: sections.pop(name) for name in BROKER_NAMES if name in sections}
    return Settings(brokers={**_default_brokers(), **written}, **sections)
