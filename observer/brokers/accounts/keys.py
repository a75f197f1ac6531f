"""App keys: from the environment, or from a file that only its owner can read. They go nowhere else.

The file is TOML with a table per account:

    [main]
    app_key = "PS..."
    app_secret = "..."

`pool.AccountSettings` names the accounts and the source of each account's keys.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.base.environment import withhold
from observer.base.errors import ConfigError, MissingKeysError
from observer.base.private_file import read_privately
from observer.base.settings_errors import converted, decode_toml, wrong_settings
from observer.base.text import CONCEALED, conceal
from observer.brokers.accounts.pool import AccountSettings, PoolSettings, key_variables
from observer.brokers.broker import broker_named

_FORM: Final = 'write [ACCOUNT], then app_key = "..." and app_secret = "...", each on a line of its own'
_LONG_WORD: Final = re.compile(r"[A-Za-z0-9+/=_-]{24,}")  # a key that stands where a name should
_PATH: Final = "\0"


class AccountKeys(msgspec.Struct, frozen=True):
    """An account's keys. The text form never shows them."""

    account: str
    app_key: str
    app_secret: str

    def __repr__(self) -> str:
        """Names the account only."""
        return f"AccountKeys({self.account!r}, ...)"

    __str__ = __repr__


class _FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    app_key: str
    app_secret: str


def keys_of(pool: PoolSettings) -> Sequence[AccountKeys]:
    """Return the keys of all accounts. Conceals the keys in this process's log, and removes them from its environment.

    Raises:
        MissingKeysError: keys are missing; names the remedy.
    """
    found = read_keys(pool.accounts, withhold(key_variables(pool.accounts)))
    for keys in found:
        conceal(keys.app_key)
        conceal(keys.app_secret)
    return found


def read_keys(accounts: Sequence[AccountSettings], environment: Mapping[str, str]) -> list[AccountKeys]:
    """Return the keys of all accounts in order; empty keys at a broker that needs none.

    Raises:
        MissingKeysError: names all missing and refused keys of all accounts. Two accounts with one app key are refused,
            too, since a broker gives one app key one stream.
    """
    found: list[AccountKeys] = []
    problems: list[str] = []
    for account in accounts:
        try:
            found.append(_read_account(account, environment))
        except MissingKeysError as error:
            problems.append(f"account {account.account_id}: {error}")
    problems += _shared_keys(found)
    if problems or not found:
        raise MissingKeysError("\n".join(problems) or "no account is configured: name one in [run] provider_pool")
    return found


def _shared_keys(found: Sequence[AccountKeys]) -> list[str]:
    owners: dict[str, str] = {}
    problems = []
    for keys in (each for each in found if each.app_key):
        owner = owners.setdefault(keys.app_key, keys.account)
        if owner != keys.account:
            problems.append(f"account {keys.account}: has the app key of account {owner}: give each its own")
    return problems


def _read_account(account: AccountSettings, environment: Mapping[str, str]) -> AccountKeys:
    name = account.account_id
    if broker_named(account.provider).credentials == "none":
        return AccountKeys(name, "", "")
    variables = [each for each in (account.app_key_variable, account.app_secret_variable) if each is not None]
    values = [environment.get(variable, "").strip() for variable in variables]
    if values and all(values):
        return AccountKeys(name, *values)
    missing = [variable for variable, value in zip(variables, values, strict=True) if not value]
    unset = f"no keys: set {' and '.join(missing)}"
    if account.keys_file is None:
        raise MissingKeysError(f"{unset} (no keys_file is configured)")
    otherwise = f"{unset}, or " if missing else "no keys: "
    path = _expanded(account.keys_file)
    try:
        entry = _read_file(path).get(name)
    except FileNotFoundError:
        raise MissingKeysError(f"{otherwise}create {path} (mode 600)") from None
    if entry is None or not entry.app_key.strip() or not entry.app_secret.strip():
        raise MissingKeysError(f"{otherwise}give [{name}] with app_key and app_secret in {path}")
    return AccountKeys(name, entry.app_key.strip(), entry.app_secret.strip())


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise MissingKeysError(f"{name}: {error}: correct the account's keys_file") from None


def _read_file(path: Path) -> dict[str, _FileEntry]:
    """Return the accounts of a keys file, after a check of the file's permissions.

    Raises:
        FileNotFoundError: there is no file.
        MissingKeysError: other users may read the file, or its form is wrong. The text names lines, keys and faults,
            never a value, nor a key that stands in the place of a name.
    """
    try:
        file = decode_toml(read_privately(path), str(path))
        found = {name: converted(file, (name,), _FileEntry) for name in file.content}
        if problems := [msgspec.structs.replace(each, shown="") for _, wrong in found.values() for each in wrong]:
            raise wrong_settings(file, problems)
    except MissingKeysError:
        raise
    except ConfigError as error:
        shown = _LONG_WORD.sub(CONCEALED, str(error).replace(str(path), _PATH)).replace(_PATH, str(path))
        raise MissingKeysError(f"{shown}: {_FORM}") from None
    return {name: entry for name, (entry, _) in found.items() if entry is not None}
