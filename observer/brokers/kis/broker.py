"""KIS as a broker: its values, and how its parts are made (docs/kis.md)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from observer.brokers.broker import (
    Broker,
    CredentialIssuer,
    Credentials,
    MasterFileSource,
    RateBucket,
)
from observer.brokers.dialect import StreamTraits
from observer.brokers.domestic import BarReach
from observer.brokers.kis.venues import VENUE_FILES, VENUES
from observer.brokers.settings import BrokerSettings, RateLimitSettings
from observer.brokers.time_and_sales import TimeAndSales
from observer.calendar.venues import KRX
from observer.reference.listings.model import REGIONS

if TYPE_CHECKING:
    import httpx

    from observer.base.clock import Clock
    from observer.brokers.dialect import StreamDialect
    from observer.brokers.http import RestDialect, RestPipeline
    from observer.brokers.raw import AccountRecorder, RawCaptureDecoder
    from observer.brokers.rest import RestClient
    from observer.reference.listings.model import Listing, UnreadableLine


_STREAM_URL: Final = "ws://ops.koreainvestment.com:21000/tryitout"
_PAPER_STREAM_URL: Final = "ws://ops.koreainvestment.com:31000/tryitout"
_PAPER_HOST: Final = "openapivts.koreainvestment.com"
_PAPER_CALLS_PER_S: Final = 1.0
_PAPER_NOTICE: Final = (
    "kis.rest_url is the paper host: it admits 1 call a second, so a sweep asks one symbol a call and takes a second "
    "for each; streams and today's bars and trades work; it has no calendar and no minute bars of past days, and is "
    "closed at week-ends. For whole sweeps use an app key of the real host"
)


class KisRateLimit(RateLimitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The real host's limit for one app key since 2026-04-20 (docs/kis.md#limits), and the requirement's limit a
    minute: 18 a second would be 1,080. No sweep reaches it, and bulk calls leave a tenth of it to urgent ones.
    """

    calls_per_second: float = 18.0
    calls_per_minute: float | None = 1000.0


class KisSettings(BrokerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """KIS's real hosts (docs/kis.md#hosts), and its limits for one app key (docs/kis.md#limits). KIS offers its stream
    without encryption only.

    `paper` says whether the REST host is the one for practice (None: by its name). That one admits a call a second, and
    lacks the quotes of many symbols, the calendar and the minute bars of past days (docs/kis.md#paper-host): there a
    sweep asks symbol by symbol. Its stream has a port of its own, which stands in for the real one's default.
    """

    PLAIN_STREAM_HOSTS: ClassVar[tuple[str, ...]] = ("ops.koreainvestment.com",)
    PRACTICE: ClassVar[Mapping[str, str]] = {
        "rest_url": f'"https://{_PAPER_HOST}:29443"',
        "stream_url": f'"{_PAPER_STREAM_URL}"',
        "rate_limit.calls_per_second": f"{_PAPER_CALLS_PER_S}",
    }

    rest_url: str = "https://openapi.koreainvestment.com:9443"
    stream_url: str = _STREAM_URL
    files_url: str = "https://new.real.download.dws.co.kr"
    rate_limit: KisRateLimit = KisRateLimit()
    paper: bool | None = None

    def __post_init__(self) -> None:
        """Checks the addresses; at the paper host takes its stream and bounds the rate."""
        BrokerSettings.__post_init__(self)
        if self.is_paper and self.rate_limit.calls_per_second > _PAPER_CALLS_PER_S:
            slower = msgspec.structs.replace(self.rate_limit, calls_per_second=_PAPER_CALLS_PER_S)
            msgspec.structs.force_setattr(self, "rate_limit", slower)
        if self.is_paper and self.stream_url == _STREAM_URL:
            msgspec.structs.force_setattr(self, "stream_url", _PAPER_STREAM_URL)

    @property
    def is_paper(self) -> bool:
        """Whether the REST host is the one for practice."""
        return f"//{_PAPER_HOST}" in self.rest_url if self.paper is None else self.paper

    @property
    def lacking(self) -> frozenset[str]:
        """The holiday call, at the paper host."""
        return frozenset({"sessions"}) if self.is_paper else frozenset()

    @property
    def notice(self) -> str:
        """What works at the paper host, and what does not; empty at the real one."""
        return _PAPER_NOTICE if self.is_paper else ""


def _rest_dialect() -> "RestDialect":
    from observer.brokers.kis.envelope import KisRestDialect

    return KisRestDialect()


def _rest(pipeline: "RestPipeline", settings: BrokerSettings) -> "RestClient":
    from observer.brokers.kis.client import KisClient

    assert isinstance(settings, KisSettings)
    return KisClient(pipeline, single_quotes=settings.is_paper)


def _issuing(client: "httpx.AsyncClient", clock: "Clock", recorder: "AccountRecorder") -> CredentialIssuer:
    from observer.brokers.kis.issuing import KisIssuing

    return KisIssuing(client, clock, recorder)


def _stream_dialect(credentials: Credentials) -> "StreamDialect":
    from observer.brokers.kis.session import KisSession

    return KisSession(credentials.approval_key)


def _listing_file(exchange: str) -> str:
    from observer.brokers.kis.listings import file_name

    return file_name(exchange)


def _listing_files(client: "httpx.AsyncClient") -> MasterFileSource:
    from observer.brokers.kis.master_files import KisMasterFiles

    return KisMasterFiles(client)


def _listings(exchange: str, content: bytes) -> "tuple[Sequence[Listing], Sequence[UnreadableLine]]":
    from observer.brokers.kis.listings import parse_listings

    return parse_listings(exchange, content)


def _unknown_tail(exchange: str, content: bytes) -> str:
    from observer.brokers.kis.listings import unknown_tail

    return unknown_tail(exchange, content)


def _raw_decoder() -> "RawCaptureDecoder":
    from observer.brokers.kis.replay import RawDecoder

    return RawDecoder()


BROKER: Final = Broker(
    name="kis",
    venue=KRX,
    venues=VENUES,
    capabilities=frozenset({"quotes", "halts", "bars", "trades", "etf", "sessions", "securities"}),
    slots=41,
    buckets=(RateBucket(name="rest", scope="account"),),
    credentials="approval_key",
    key_variables=("KIS_APP_KEY", "KIS_APP_SECRET"),
    stream=StreamTraits(),
    settings=KisSettings,
    probe_symbol="005930",  # Samsung Electronics
    time_and_sales=TimeAndSales(page_trades=30),
    rest_dialect=_rest_dialect,
    rest=_rest,
    issuing=_issuing,
    stream_dialect=_stream_dialect,
    exchanges=tuple(name for region in ("KR", "US", "HK", "CN", "JP", "VN") for name in REGIONS[region]),
    listing_file=_listing_file,
    listing_files=_listing_files,
    listings=_listings,
    unknown_tail=_unknown_tail,
    venue_files=VENUE_FILES,
    raw_decoder=_raw_decoder,
    # docs/kis.md, "Daily bars" and "Minute bars"
    bar_reach=BarReach(days_per_call=100, minutes_per_call=120, session_minutes_per_call=30, minute_days=365),
)
