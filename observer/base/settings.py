"""The sections for a system's location and database, which every command needs.

`observer.system.config` joins them with the settings of the rooms. A command that only queries the running system or
the database loads this module alone.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from bus.endpoints import Endpoints, TcpEndpoints, is_served
from observer.base.errors import ConfigError
from observer.base.files import read_file
from observer.base.instance import Instance, instance_url
from observer.base.settings_errors import SettingsFile, converted, decode_toml, wrong_settings


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths on this machine. `runtime` holds sockets, outboxes, tokens and keys and is its owner's alone.

    `provider_pool` is the file of the accounts; without the default's one there is one account, `main`.
    `symbol_selection` is the file of the selection's settings; without the default's one they have their defaults.
    `universe` is the folder of the days' universes as files, for people and their tools.
    `sessions` is the file of the venues' sessions; without the default's one it is the one that comes with Observer.
    `endpoints` puts all four sockets on the network (CURVE, with the keys of `observer keys make`); None: files.
    """

    data: str = "data"
    runtime: str = "run"
    trading_days: str = "config/trading_days.toml"
    sessions: str = "config/sessions.toml"
    provider_pool: str = "config/provider_pool.json"
    symbol_selection: str = "config/observer/symbol_selection.json"
    universe: str = "config/universe"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    endpoints: TcpEndpoints | None = None


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The database: `sqlite:///path` or `postgresql+psycopg://user@host/name`.

    `keep_days` removes the rows of the kinds with many rows from the database for all sealed days but so many of the
    newest; it needs [lake]. None: every row stays. `query_limit_s` ends a query of `observer query` or `Store.sql` that
    takes longer, in machine seconds.
    """

    url: Annotated[
        str,
        msgspec.Meta(
            pattern=r"\A(sqlite(\+pysqlite)?:///[^:]|postgresql(\+\w+)?://.)",
            description="sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME",
        ),
    ] = "sqlite:///data/observer.db"
    keep_days: int | None = None
    query_limit_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0


class BaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The sections [run], [store] and [instance] of a configuration; the database's URL is that of the instance."""

    run: RunSettings = RunSettings()
    store: StoreSettings = StoreSettings()
    instance: Instance = Instance()


def load_base_settings(path: Path) -> BaseSettings:
    """Read the sections [run], [store] and [instance]; the others are not checked and may be wrong.

    Raises:
        ConfigError: the file cannot be read, or one of these sections is wrong.
    """
    file = read_settings_file(path)
    settings, problems = converted(file, (), BaseSettings)
    if settings is None:
        raise wrong_settings(file, problems)
    url = instance_url(settings.store.url, settings.instance)
    return msgspec.structs.replace(settings, store=msgspec.structs.replace(settings.store, url=url))


def read_settings_file(path: Path) -> SettingsFile:
    """Read and decode a TOML file.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return decode_toml(read_file(path), str(path))
    except FileNotFoundError as error:
        remedy = "work in Observer's folder (`observer init DIR` makes one), or name a configuration with --config"
        raise ConfigError(f"cannot read {path}: {error.strerror}: {remedy}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def endpoints_of(run: RunSettings) -> Endpoints:
    """The addresses of the bus; creates the runtime directory if absent.

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
    """Whether a system runs there: a process listens at its control socket. With network endpoints always True."""
    return run.endpoints is not None or is_served(f"ipc://{run.runtime}/control")
