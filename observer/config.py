"""The configuration: nests the rooms' own settings structs, loads them from their files, names every wrong key.

Each room declares what it can be told and never imports this module, so no room can reach a setting that is not its
own. Secrets are never in this file: it says where they are.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from bus.endpoints import Endpoints, TcpEndpoints
from observer.accounts.permits import PermitSettings
from observer.accounts.pool import PoolSettings, parse_pool
from observer.errors import ConfigError
from observer.gaps.recovery import RecoverySettings
from observer.providers.interfaces import RecordKind
from observer.providers.kis import hosts
from observer.providers.settings import RestSettings, StreamLimits
from observer.reference.changes import ReferenceSettings
from observer.reference.etf_settings import FundSettings
from observer.reference.sectors_settings import SectorSettings
from observer.schedule.phases import ScheduleSettings
from observer.selection.configuration import parse_selection
from observer.selection.sampling import SamplingSettings
from observer.selection.settings import SelectionSettings
from observer.simulator.settings import SimulatorSettings
from observer.supervisor.limits import HostLimits

_NO_SECTIONS: Final = frozenset({"pool", "keys_digest", "selection"})
_MOVED: Final = {
    "selection": "[selection] has a file of its own: move its keys to the JSON file that [run] symbol_selection names"
}


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things are on this machine. `runtime` holds sockets, outboxes, tokens and keys and is its owner's alone.

    `provider_pool` is the file of the accounts; without the default's one there is one account, `main`.
    `symbol_selection` is the file of the selection's settings; without the default's one they have their defaults.
    `universe` is the folder of the days' universes as files, for people and their tools.
    `endpoints` puts all four sockets on the network (CURVE, with the keys of `observer keys make`); None: files.
    """

    data: str = "data"
    runtime: str = "run"
    trading_days: str = "config/trading_days.toml"
    provider_pool: str = "config/provider_pool.json"
    symbol_selection: str = "config/observer/symbol_selection.json"
    universe: str = "config/universe"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    endpoints: TcpEndpoints | None = None


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The database: `sqlite:///path` or `postgresql+psycopg://user@host/name`."""

    url: str = "sqlite:///data/observer.db"


class KisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where KIS answers, and its limits for one app key (real hosts; kis-api.md sections 1 and 4)."""

    rest_url: str = hosts.REST_URL
    stream_url: str = hosts.STREAM_URL
    files_url: str = hosts.FILES_URL
    stream: StreamLimits = StreamLimits()
    rest: RestSettings = RestSettings()
    permits: PermitSettings = PermitSettings()


class TrackASettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Track A: how often the universe is swept, in market seconds (requirement 004: ten minutes)."""

    interval_s: Annotated[float, msgspec.Meta(ge=1)] = 600.0


class TrackBSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Track B, in market seconds: how often trade rates and expiries are looked at, and for how long an account's
    stream may be down before its symbols move to other accounts. `records` is what is streamed of each symbol: a kind
    is one registration, so two of them halve the number of symbols.

    Raises:
        ValueError: trades are not among the records, or one is named twice.
    """

    records: tuple[RecordKind, ...] = ("trades",)
    evaluation_s: Annotated[float, msgspec.Meta(ge=1)] = 10.0
    failover_after_s: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    sampling: SamplingSettings = SamplingSettings()

    def __post_init__(self) -> None:
        """Checks what is streamed: trades are what places are for."""
        if "trades" not in self.records or len(set(self.records)) != len(self.records):
            raise ValueError(f"records: {list(self.records)} must name each kind once, and trades among them")


class SupervisionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How processes are watched, in machine seconds; what their logs and their memory may grow to."""

    ready_deadline_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    stop_grace_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    heartbeat_limit_s: Annotated[float, msgspec.Meta(gt=1)] = 15.0
    log_bytes_max: Annotated[int, msgspec.Meta(ge=131_072)] = 10_000_000
    logs_kept: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5
    process_memory_bytes_max: Annotated[int, msgspec.Meta(ge=1_000_000)] = 512_000_000
    host: HostLimits = HostLimits()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be configured; each section is a struct of its own with its defaults.

    Not sections of the file: `pool` and `selection`, which have files of their own ([run] provider_pool and
    symbol_selection), and `keys_digest`, which is another one when a keys file has another content, so that a reload
    sees it.
    """

    run: RunSettings = RunSettings()
    store: StoreSettings = StoreSettings()
    pool: PoolSettings = PoolSettings()
    keys_digest: str = ""
    kis: KisSettings = KisSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    selection: SelectionSettings = SelectionSettings()
    recovery: RecoverySettings = RecoverySettings()
    reference: ReferenceSettings = ReferenceSettings()
    funds: FundSettings = FundSettings()
    sectors: SectorSettings = SectorSettings()
    track_a: TrackASettings = TrackASettings()
    track_b: TrackBSettings = TrackBSettings()
    supervision: SupervisionSettings = SupervisionSettings()
    simulator: SimulatorSettings | None = None


def load_settings(path: Path) -> Settings:
    """The settings in a TOML file and in those of the accounts and the selection; what is absent has its default.

    Raises:
        ConfigError: a file cannot be read, or it has wrong keys or values: one line for each wrong section.
    """
    settings = settings_of(_document(path), str(path))
    pool, selection = _read_pool(settings.run), _read_selection(settings.run)
    return msgspec.structs.replace(settings, pool=pool, selection=selection, keys_digest=_keys_digest(pool))


def load_run_settings(path: Path) -> RunSettings:
    """The section [run] alone: for whoever only wants to know where a system runs, which may be able to say more.

    Raises:
        ConfigError: the file cannot be read, or this section is wrong.
    """
    section = _document(path).get("run", {})
    return settings_of({"run": section}, str(path)).run


def endpoints_of(run: RunSettings) -> Endpoints:
    """The addresses of the bus; the runtime directory is made if it is not there.

    Raises:
        ConfigError: the sockets are on the network, and there are no keys for them.
        BusError: the runtime directory cannot be used.
    """
    endpoints = Endpoints(Path(run.runtime), run.endpoints)
    if run.endpoints is not None:
        from bus.keys import MissingBusKeysError, require_client_keys

        try:
            require_client_keys(endpoints.keys_directory)
        except MissingBusKeysError as error:
            raise ConfigError(str(error)) from error
    return endpoints


def is_reachable(run: RunSettings) -> bool:
    """Whether a system seems to run there: its control socket is a file that exists. Of the network that is assumed."""
    return run.endpoints is not None or (Path(run.runtime) / "control").exists()


def _document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return document


def _read_pool(run: RunSettings) -> PoolSettings:
    content = _content_of("provider_pool", run.provider_pool, RunSettings().provider_pool)
    return PoolSettings() if content is None else parse_pool(content, run.provider_pool)


def _read_selection(run: RunSettings) -> SelectionSettings:
    content = _content_of("symbol_selection", run.symbol_selection, RunSettings().symbol_selection)
    return SelectionSettings() if content is None else parse_selection(content, run.symbol_selection)


def _content_of(key: str, path: str, default: str) -> bytes | None:
    """The content of a file that [run] names; None when it is the default's and not there."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        if path == default:
            return None
        raise ConfigError(f"[run] {key}: there is no file {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _keys_digest(pool: PoolSettings) -> str:
    """Of the keys files' contents; empty without any. What is missing is for `accounts.keys` to tell."""
    paths = sorted({Path(account.keys_file).expanduser() for account in pool.accounts if account.keys_file})
    digest = hashlib.sha256()
    readable = False
    for path in paths:
        with contextlib.suppress(OSError):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
            readable = True
    return digest.hexdigest() if readable else ""


def settings_of(document: dict[str, Any], source: str) -> Settings:
    """The settings in a decoded document; `source` names it in errors.

    Raises:
        ConfigError: as for `load_settings`.
    """
    fields = {field.name: field.type for field in msgspec.structs.fields(Settings) if field.name not in _NO_SECTIONS}
    problems = [_MOVED.get(name, f"unknown section [{name}]") for name in document if name not in fields]
    sections: dict[str, Any] = {}
    for name, content in document.items():
        if name in fields:
            try:
                sections[name] = msgspec.convert(content, fields[name])
            except (msgspec.ValidationError, ValueError) as error:
                problems.append(f"[{name}] {error}")
    if problems:
        raise ConfigError("\n".join(f"{source}: {problem}" for problem in problems))
    return Settings(**sections)
