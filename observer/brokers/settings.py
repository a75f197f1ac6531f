"""Settings of a provider's pipeline; a separate module, so that reading a configuration loads no network library."""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from math import ceil
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

import msgspec

TIMEOUT_S_MAX: Final = 10.0  # so long the rate limit counts a call without an answer as on its way
CALLS_PER_SECOND_MAX: Final = 1_000  # each is a position in the file that all processes share
_PENALTY_MAX_S: Final = 3600
PROXY_OF_ENVIRONMENT: Final = "environment"
_ENCRYPTED: Final[Mapping[str, str]] = {"http": "https", "ws": "wss"}


class RestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Timeout, retries and delays of REST calls, and the way to the host. The timeout is machine time, the delays are
    market time.

    `user_agent` is the header of that name; empty: the HTTP library's. `certificates` is a PEM file of certificates
    that are trusted beside the public ones and the system's: a company's. `proxy` is empty for none, "environment" for
    the one that HTTPS_PROXY and NO_PROXY name, or its URL. None is the default: a collector's way to the broker must
    not depend on the shell that started it.

    Raises:
        ValueError: `proxy` is none of these, or more than a host and a port: a password belongs in the environment.
    """

    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=TIMEOUT_S_MAX)] = TIMEOUT_S_MAX
    attempts_max: int = 5
    delay_initial_s: float = 0.5
    delay_max_s: float = 8.0
    user_agent: str = ""
    certificates: str = ""
    proxy: str = ""

    def __post_init__(self) -> None:
        """Checks the proxy when the configuration is read."""
        if self.proxy not in ("", PROXY_OF_ENVIRONMENT) and not _is_host_and_port(self.proxy):
            raise ValueError(
                f'proxy: write http://HOST:PORT, or "{PROXY_OF_ENVIRONMENT}" to take it from HTTPS_PROXY, where a '
                "password belongs"
            )


def _is_host_and_port(address: str) -> bool:
    """Whether an address is a host of HTTP, and a port where it has one: no user, password, path, query or fragment."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    is_bare = not any(mark in address for mark in "@?#") and parts.path in ("", "/")
    return parts.scheme in ("http", "https") and bool(host) and is_bare


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of each account's stream: silence, connection attempts, and changes of subscriptions.

    `silence_s` is machine time: no message of any kind, keep-alives included. `attempts_per_hour` is a limit of the
    requirement (docs/requirement.md): connections in an hour of market time; when they are used up there is one each
    `slow_beat_market_s`, and its share of them is kept free for that. `changes_per_minute` are subscriptions and
    removals in a minute of market time, see `SubscriptionRateLimiter`: 4 are two lines replaced, half of the churn
    guard's 41 in ten minutes (`python -m tests.bench slots` shows the price).

    Raises:
        ValueError: the slow beat alone would use up the attempts of an hour.
    """

    silence_s: Annotated[float, msgspec.Meta(gt=0)] = 90.0
    attempts_per_hour: Annotated[int, msgspec.Meta(ge=2)] = 60
    slow_beat_market_s: Annotated[float, msgspec.Meta(ge=60)] = 600.0
    changes_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 4

    def __post_init__(self) -> None:
        """Requires that the slow beat fits into the attempts of an hour."""
        if not ceil(3600 / self.slow_beat_market_s) < self.attempts_per_hour:
            raise ValueError(
                f"attempts_per_hour: {self.attempts_per_hour} are no more than one each slow_beat_market_s "
                f"({self.slow_beat_market_s:g} s)"
            )


class RateLimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker's limits for one bucket and the first pause while it is overloaded, all in market time.

    A broker's folder states the default of `calls_per_second`: in a struct of its own, so that a section that gives
    only the other keys has it too.
    `calls_per_minute` is a second limit beside the first (docs/requirement.md: 1,000); None, or one that
    `calls_per_second` can never reach: there is none.

    Raises:
        ValueError: less than one call a minute, more than a thousand a second, or a penalty that is negative or longer
            than an hour; names the key.
    """

    calls_per_second: float
    calls_per_minute: float | None = None
    penalty_s: float = 1.0

    def __post_init__(self) -> None:
        """Checks each limit when the configuration is read."""
        if not 1 / 60 <= self.calls_per_second <= CALLS_PER_SECOND_MAX:
            raise ValueError(
                f"calls_per_second: {self.calls_per_second} is not from one a minute to {CALLS_PER_SECOND_MAX} a second"
            )
        if self.calls_per_minute is not None and not 1 <= self.calls_per_minute <= 60 * CALLS_PER_SECOND_MAX:
            raise ValueError(f"calls_per_minute: {self.calls_per_minute} is not from 1 to {60 * CALLS_PER_SECOND_MAX}")
        if not 0 <= self.penalty_s <= _PENALTY_MAX_S:
            raise ValueError(f"penalty_s: {self.penalty_s} is not from 0 to {_PENALTY_MAX_S}")

    @property
    def lasting_per_second(self) -> float:
        """Calls a second that both limits allow for hours."""
        per_minute = self.calls_per_minute
        return self.calls_per_second if per_minute is None else min(self.calls_per_second, per_minute / 60)


def require_encrypted(key: str, address: str, plain_hosts: Collection[str] = ()) -> None:
    """Require an encrypted connection to any host but this machine and those of `plain_hosts`.

    Raises:
        ValueError: names the key, and what to write instead.
    """
    try:
        parts = urlsplit(address)
        scheme, host = parts.scheme, parts.hostname or ""
    except ValueError:
        return  # no address: no client can use it
    if scheme in _ENCRYPTED and host not in plain_hosts and not _is_loopback(host):
        raise ValueError(f"{key}: {scheme}:// to {host} is not encrypted: write {_ENCRYPTED[scheme]}://")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hosts and limits of one broker: its section of the configuration. A broker's folder states the defaults.

    `files_url` is the host of the files of listings; empty where the broker lists what it trades over REST.
    `PLAIN_STREAM_HOSTS` are the broker's own hosts that offer a stream without encryption only. `lacking` are those of
    the broker's capabilities that these hosts lack, and `notice` is what a start reports about them: both empty but for
    hosts that a broker offers for practice. `PRACTICE` has the keys of the section that are others there, as TOML.

    Raises:
        ValueError: a connection to another machine would not be encrypted; names the key.
    """

    PLAIN_STREAM_HOSTS: ClassVar[tuple[str, ...]] = ()
    PRACTICE: ClassVar[Mapping[str, str]] = {}

    rest_url: str
    stream_url: str
    files_url: str = ""
    stream: StreamLimits = StreamLimits()
    rest: RestSettings = RestSettings()
    rate_limit: RateLimitSettings

    @property
    def lacking(self) -> frozenset[str]:
        """See above."""
        return frozenset()

    @property
    def notice(self) -> str:
        """See above."""
        return ""

    def __post_init__(self) -> None:
        """Checks the addresses."""
        require_encrypted("rest_url", self.rest_url)
        require_encrypted("stream_url", self.stream_url, self.PLAIN_STREAM_HOSTS)
        require_encrypted("files_url", self.files_url)
