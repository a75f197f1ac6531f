"""Which accounts there are, and how they share the work (requirement 004, Provider Pool). Pure.

One file, config/provider_pool.json, with the requirement's names:

    {"provider_pool": {"accounts": [{"account_id": "account_001", "keys_file": "config/keys.toml",
                                     "max_slots": 41, "priority": 1}],
                       "allocation_strategy": "round_robin", "health_check_interval_seconds": 60,
                       "failover_enabled": true}}

In one thing it is not the requirement's: keys are never in this file. It says where they are.
"""

from collections import Counter
from typing import Annotated, Final

import msgspec

from observer.errors import ConfigError
from observer.selection.places import AllocationStrategy

REGISTRATIONS_MAX: Final = 41  # what KIS gives one app key (kis-api.md, section 3)
PROBE_INTERVAL_MIN_S: Final = 60.0  # an account is never probed more often than once a minute

# Names files of ours and the places of the stream ("account_001:07").
AccountId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,40}\Z")]


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account of a broker: where its keys are, how many places it gives, when its turn comes (1 is first).

    The environment variables come before the file, which has a table per account and may be absent.
    """

    account_id: AccountId
    app_key_variable: str | None = None
    app_secret_variable: str | None = None
    keys_file: str | None = None
    max_slots: Annotated[int, msgspec.Meta(ge=1, le=REGISTRATIONS_MAX)] = REGISTRATIONS_MAX
    priority: Annotated[int, msgspec.Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        """An account without a place for its keys, or with half of one, is refused."""
        if (self.app_key_variable is None) != (self.app_secret_variable is None):
            raise ValueError("app_key_variable and app_secret_variable go together")
        if self.app_key_variable is None and self.keys_file is None:
            raise ValueError("say where the keys are: keys_file, or app_key_variable and app_secret_variable")


MAIN: Final = AccountSettings(
    account_id="main",
    app_key_variable="KIS_APP_KEY",
    app_secret_variable="KIS_APP_SECRET",  # noqa: S106 - the name of a variable
    keys_file="config/keys.toml",
)


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All accounts, and how they share the work. The interval is market seconds; `failover_enabled` says whether the
    symbols of an account that cannot stream move to others.
    """

    accounts: Annotated[tuple[AccountSettings, ...], msgspec.Meta(min_length=1)] = (MAIN,)
    allocation_strategy: AllocationStrategy = "round_robin"
    health_check_interval_seconds: Annotated[float, msgspec.Meta(ge=PROBE_INTERVAL_MIN_S)] = PROBE_INTERVAL_MIN_S
    failover_enabled: bool = True

    def __post_init__(self) -> None:
        """Two accounts of one name are refused."""
        counts = Counter(account.account_id for account in self.accounts)
        if doubled := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"account_id is not unique: {', '.join(doubled)}")

    @property
    def by_priority(self) -> tuple[AccountSettings, ...]:
        """The accounts, first by priority first; those of the same priority as they stand in the file."""
        return tuple(sorted(self.accounts, key=lambda account: account.priority))


class _PoolFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider_pool: PoolSettings


def parse_pool(content: bytes, source: str) -> PoolSettings:
    """The pool in a file's content; `source` names the file in errors.

    Raises:
        ConfigError: it is not such a file, or keys are in it. The text has no value of theirs.
    """
    try:
        document: object = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} is not JSON: {error}") from error
    if places := _secrets_in(document):
        remedy = (
            "keys do not belong in this file: move them to a file of mode 600 and name it in keys_file, "
            "or name environment variables in app_key_variable and app_secret_variable"
        )
        raise ConfigError("\n".join(f"{source}: {place}: {remedy}" for place in places))
    try:
        return msgspec.convert(document, _PoolFile).provider_pool
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from None


def _secrets_in(document: object) -> list[str]:
    """Where the file has a key itself, as the requirement's example does."""
    match document:
        case {"provider_pool": {"accounts": [*accounts]}}:
            return [
                f"provider_pool.accounts[{number}].{name}"
                for number, account in enumerate(accounts)
                for name in ("app_key", "app_secret", "approval_key", "token")
                if isinstance(account, dict) and name in account
            ]
    return []
