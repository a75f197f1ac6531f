"""Settings of the ETF jobs: their times, the sources of a list, and the limit of its shrinking."""

from typing import Annotated, Literal

import msgspec

from observer.brokers.settings import require_encrypted
from observer.reference.listings.model import ETF_GROUP, ETN_GROUP
from observer.reference.times import TimeOfDay

EtfListSourceName = Literal["master_files", "krx_open_api", "krx_data", "csv"]


class KrxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """KRX's two clients. Neither is used unless `sources` names it: `krx_open_api` needs a key, `krx_data` a login.

    `keys_file` is TOML that only its owner can read: [open_api] auth_key, [data] user and password. KRX forbids
    automated collection by `krx_data` and allows one session a person: `take_over_session` ends another one.

    Raises:
        ValueError: a connection to another machine would not be encrypted.
    """

    open_api_url: str = "https://data-dbg.krx.co.kr"
    data_url: str = "https://data.krx.co.kr"
    keys_file: str = "~/.config/observer/krx.toml"
    take_over_session: bool = False

    def __post_init__(self) -> None:
        """Check the addresses."""
        require_encrypted("open_api_url", self.open_api_url)
        require_encrypted("data_url", self.data_url)


class EtfSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ETFs: times of the jobs (`measures` on Sundays and once on the first day, the others on trading days).

    `sources` are in order: the first that answers decides which ETFs there are, all of them fill in fields. `groups`
    are the security groups that count as ETFs. A list that is shorter than the one before by more than
    `max_shrink_percent` is rejected.

    Raises:
        ValueError: no source, or one twice.
    """

    list_at: TimeOfDay = "09:00"
    values_at: TimeOfDay = "16:00"
    ranges_at: TimeOfDay = "17:00"
    measures_at: TimeOfDay = "21:00"
    sources: tuple[EtfListSourceName, ...] = ("master_files", "csv")
    groups: tuple[str, ...] = (ETF_GROUP, ETN_GROUP)
    manual_file: str = "config/etf_manual_data.csv"
    max_shrink_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 10.0
    krx: KrxSettings = KrxSettings()

    def __post_init__(self) -> None:
        """Check the sources."""
        if not self.sources or len(set(self.sources)) != len(self.sources):
            raise ValueError(f"sources: {list(self.sources)} must name at least one, and each once")
