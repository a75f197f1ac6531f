"""The accounts and their shares of the work. Pure.

One file, config/provider_pool.json, with the requirement's names:

    {"provider_pool": {"accounts": [{"account_id": "account_001", "keys_file": "config/keys.toml",
                                     "max_slots": 41, "priority": 1}],
                       "allocation_strategy": "round_robin", "health_check_interval_seconds": 60,
                       "failover_enabled": true}}

It differs from the requirement in one point: the file never contains keys, only their location.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from bus.events import AllocationStrategy
from observer.base.settings_errors import Problem, SettingsPath, converted, decode_json, wrong_settings
from observer.brokers.broker import DEFAULT_BROKER, Broker, broker_named

PROBE_INTERVAL_MIN_S: Final = 60.0  # an account is never probed more often than once a minute

# Names files of ours and the slots of the stream ("account_001:07").
AccountId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[A-Za-z0-9_-]{1,40}\Z", description="a name of at most 40 letters, digits, hyphens and underscores"
    ),
]


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account of a broker: where its keys are, how many slots it gives, when its turn comes (1 is first).

    The environment variables come before the file, which has a table per account and may be absent. `provider` names
    the broker, which bounds `max_slots`; None: as many as the broker gives.
    """

    account_id: AccountId
    provider: str = DEFAULT_BROKER
    app_key_variable: str | None = None
    app_secret_variable: str | None = None
    keys_file: str | None = None
    max_slots: Annotated[int, msgspec.Meta(ge=1)] | None = None
    priority: Annotated[int, msgspec.Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        """Refuses an unknown broker, more slots than the broker gives, and an account without a source of keys."""
        broker = broker_named(self.provider)
        if self.max_slots is not None and self.max_slots > broker.slots:
            raise ValueError(
                f"max_slots: {self.max_slots} is more than the {broker.slots} of an account at {broker.name}"
            )
        if (self.app_key_variable is None) != (self.app_secret_variable is None):
            raise ValueError("app_key_variable and app_secret_variable go together")
        if self.app_key_variable is None and self.keys_file is None and broker.credentials != "none":
            raise ValueError("say where the keys are: keys_file, or app_key_variable and app_secret_variable")

    @property
    def slots(self) -> int:
        return self.max_slots or broker_named(self.provider).slots


def main_account(broker: Broker) -> AccountSettings:
    """The single account of a system without an account file."""
    key, secret = broker.key_variables
    return AccountSettings(
        account_id="main",
        provider=broker.name,
        app_key_variable=key,
        app_secret_variable=secret,
        keys_file="config/keys.toml",
        max_slots=broker.slots,
    )


MAIN: Final = main_account(broker_named(DEFAULT_BROKER))


def key_variables(accounts: Sequence[AccountSettings]) -> tuple[str, ...]:
    """The environment variables that may hold these accounts' keys, in the accounts' order."""
    pairs = ((account.app_key_variable, account.app_secret_variable) for account in accounts)
    return tuple(name for pair in pairs for name in pair if name is not None)


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All accounts and the strategy that distributes work over them. The interval is market seconds; `failover_enabled`
    decides whether the symbols of an account that cannot stream move to others.
    """

    accounts: Annotated[tuple[AccountSettings, ...], msgspec.Meta(min_length=1)] = (MAIN,)
    allocation_strategy: AllocationStrategy = "round_robin"
    health_check_interval_seconds: Annotated[float, msgspec.Meta(ge=PROBE_INTERVAL_MIN_S)] = PROBE_INTERVAL_MIN_S
    failover_enabled: bool = True

    def __post_init__(self) -> None:
        counts = Counter(account.account_id for account in self.accounts)
        if doubled := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"account_id is not unique: {', '.join(doubled)}")

    @property
    def provider(self) -> str:
        """The broker of the first account by priority: the one of facts that several accounts gather."""
        return self.by_priority[0].provider

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
    file = decode_json(content, source)
    if locations := _secrets_in(file.content):
        remedy = (
            "keys do not belong in this file: move them to a file of mode 600 and name it in keys_file, "
            "or name environment variables in app_key_variable and app_secret_variable"
        )
        raise wrong_settings(file, [Problem(location, remedy) for location in locations])
    settings, problems = converted(file, (), _PoolFile)
    if settings is None:
        raise wrong_settings(file, problems)
    return settings.provider_pool


def _secrets_in(document: object) -> list[SettingsPath]:
    """The paths of keys that stand in the file itself, as in the requirement's example."""
    match document:
        case {"provider_pool": {"accounts": [*accounts]}}:
            return [
                ("provider_pool", "accounts", number, name)
                for number, account in enumerate(accounts)
                for name in ("app_key", "app_secret", "approval_key", "token")
                if isinstance(account, dict) and name in account
            ]
    return []
