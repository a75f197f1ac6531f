"""KIS as a broker: its values, and how its parts are made (kis-api.md, sections 1 to 5)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from observer.calendar.venues import KRX
from observer.listings.model import REGIONS
from observer.providers.broker import (
    Broker,
    CredentialIssuer,
    Credentials,
    MasterFileSource,
    RateBucket,
)
from observer.providers.dialect import StreamTraits
from observer.providers.settings import BrokerSettings, RateLimitSettings

if TYPE_CHECKING:
    import httpx

    from observer.clock import Clock
    from observer.listings.model import Listing, UnreadableLine
    from observer.providers.dialect import StreamDialect
    from observer.providers.http import RestDialect, RestPipeline
    from observer.providers.raw import CallRecorder, RawCaptureDecoder
    from observer.providers.rest import RestClient


class KisRateLimit(RateLimitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The real host's limit for one app key since 2026-04-20 (kis-api.md section 0; 20 before)."""

    calls_per_second: float = 18.0


class KisSettings(BrokerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """KIS's real hosts (kis-api.md, section 1), and its limits for one app key (section 4). KIS offers its stream
    without encryption only.
    """

    PLAIN_STREAM_HOSTS: ClassVar[tuple[str, ...]] = ("ops.koreainvestment.com",)

    rest_url: str = "https://openapi.koreainvestment.com:9443"
    stream_url: str = "ws://ops.koreainvestment.com:21000/tryitout"
    files_url: str = "https://new.real.download.dws.co.kr"
    rate_limit: KisRateLimit = KisRateLimit()


def _rest_dialect() -> "RestDialect":
    from observer.providers.kis.envelope import KisRestDialect

    return KisRestDialect()


def _rest(pipeline: "RestPipeline") -> "RestClient":
    from observer.providers.kis.client import KisClient

    return KisClient(pipeline)


def _issuing(client: "httpx.AsyncClient", clock: "Clock", recorder: "CallRecorder") -> CredentialIssuer:
    from observer.providers.kis.issuing import KisIssuing

    return KisIssuing(client, clock, recorder)


def _stream_dialect(credentials: Credentials) -> "StreamDialect":
    from observer.providers.kis.session import KisSession

    return KisSession(credentials.approval_key)


def _listing_file(exchange: str) -> str:
    from observer.providers.kis.listings import file_name

    return file_name(exchange)


def _listing_files(client: "httpx.AsyncClient") -> MasterFileSource:
    from observer.providers.kis.master_files import KisMasterFiles

    return KisMasterFiles(client)


def _listings(exchange: str, content: bytes) -> "tuple[Sequence[Listing], Sequence[UnreadableLine]]":
    from observer.providers.kis.listings import parse_listings

    return parse_listings(exchange, content)


def _raw_decoder() -> "RawCaptureDecoder":
    from observer.providers.kis.replay import RawDecoder

    return RawDecoder()


BROKER: Final = Broker(
    name="kis",
    venue=KRX,
    capabilities=frozenset({"quotes", "halts", "bars", "trades", "etf", "sessions", "securities"}),
    slots=41,
    buckets=(RateBucket(name="rest", scope="account"),),
    credentials="approval_key",
    key_variables=("KIS_APP_KEY", "KIS_APP_SECRET"),
    stream=StreamTraits(),
    settings=KisSettings,
    probe_symbol="005930",  # Samsung Electronics
    rest_dialect=_rest_dialect,
    rest=_rest,
    issuing=_issuing,
    stream_dialect=_stream_dialect,
    exchanges=tuple(name for region in ("KR", "US", "HK", "CN", "JP", "VN") for name in REGIONS[region]),
    listing_file=_listing_file,
    listing_files=_listing_files,
    listings=_listings,
    raw_decoder=_raw_decoder,
)
