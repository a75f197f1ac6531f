"""The data part of the HTTP API (docs/http.md): the stored rows as JSON, CSV and Arrow, page by page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Schema,
)
from litestar.openapi.spec import Parameter as OpenAPIParameter
from litestar.params import FromQuery, PathParameter, QueryParameter
from litestar.types import ControllerRouterHandler

from observer.archive.settings import LakeSettings
from observer.system.config import Settings
from observer.web import data_questions as questions
from observer.web.data_answers import Answers
from observer.web.data_bodies import MEDIA_TYPES
from observer.web.data_rows import (
    BarRow,
    DailyRow,
    EtfPremiumRow,
    GapRow,
    LifetimeRow,
    ListingRow,
    QualityRow,
    SlotRow,
    TradeRow,
    TriggerRow,
    UniverseRow,
)
from observer.web.data_service import THREADS, DataService, Paging, paging
from observer.web.failures import Failure
from observer.web.threads import Threads

if TYPE_CHECKING:
    from observer.research.store import Store

_SYMBOL: Final = r"^[!-.0-~]{1,40}$"  # letters and signs of ASCII but blank and slash
_DAY: Final = r"^\d{4}-\d{2}-\d{2}$"
_A_DAY: Final = {"format": "date", "examples": ["2026-11-18"]}
_A_MOMENT: Final = {
    "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}],
    "examples": ["2026-11-18", "2026-11-18T10:00:00+09:00"],
}
_PAGE_HEADERS: Final = {"ETag": "Of the page's content.", "Link": 'The next page (rel="next"), if there is one.'}

Asked = Request[Any, Any, Any]
Symbol = Annotated[
    str,
    PathParameter(pattern=_SYMBOL, description="A stock, at all its venues, or a line (SYMBOL.VENUE)."),
]
Fund = Annotated[str, PathParameter(pattern=_SYMBOL, description="An ETF.")]
Day = Annotated[str, PathParameter(pattern=_DAY, schema_extra=_A_DAY, description="A day of the market.")]
On = Annotated[str, QueryParameter(pattern=_DAY, schema_extra=_A_DAY, description="The day.")]
Since = Annotated[str, QueryParameter(pattern=_DAY, schema_extra=_A_DAY, description="The first day.")]
AsOf = Annotated[
    str | None, QueryParameter(pattern=_DAY, schema_extra=_A_DAY, description="At the end of this day, else now.")
]
Exchange = Annotated[str | None, QueryParameter(pattern=_SYMBOL, description="Of this exchange only.")]
Begin = Annotated[
    str, QueryParameter(schema_extra=_A_MOMENT, description="The first day or moment; local without an offset.")
]
End = Annotated[
    str | None,
    QueryParameter(schema_extra=_A_MOMENT, description="The last day, included, or a moment, excluded."),
]
Kind = Literal["stock", "etf", "etn", "index", "warrant", "other"]
Interval = Literal[
    "1s", "5s", "10s", "15s", "30s", "1m", "2m", "3m", "5m", "10m", "15m", "30m", "1h", "2h", "4h", "24h"
]
Service = NamedDependency[DataService]
Page = NamedDependency[Paging]


@dataclass
class _RowsOperation(Operation):
    """An operation whose answer has other forms beside JSON, and whose parameters are absent or have a value."""

    def __post_init__(self) -> None:
        answer = (self.responses or {})["200"]
        assert isinstance(answer, OpenAPIResponse)
        text = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
        others = {media_type: text for form, media_type in MEDIA_TYPES.items() if form != "json"}
        answer.content = {**(answer.content or {}), **others}
        for response in (answer, (self.responses or {})["304"]):
            assert isinstance(response, OpenAPIResponse)
            response.headers = {name: _header(text) for name, text in _PAGE_HEADERS.items()}
        for parameter in self.parameters or ():
            assert isinstance(parameter, OpenAPIParameter)
            assert isinstance(parameter.schema, Schema)
            parameter.schema = _without_null(parameter.schema)


def _header(text: str) -> OpenAPIHeader:
    return OpenAPIHeader(schema=Schema(type=OpenAPIType.STRING), description=text)


def _without_null(schema: Schema) -> Schema:
    """The same without null, which no parameter of a query can be."""
    changes: dict[str, Any] = {}
    if schema.one_of is not None:
        changes |= {"one_of": None, "type": OpenAPIType.STRING}
    if isinstance(schema.type, list):
        changes["type"] = OpenAPIType.STRING
    if schema.enum is not None:
        changes["enum"] = [each for each in schema.enum if each is not None]
    return replace(schema, **changes)


def _rows_of(row: type, *parameters: str) -> Mapping[str, Any]:
    """What the decorator of a route needs: what its rows are, its own parameters of the query, its other answers."""
    texts = {
        400: "A parameter is wrong.",
        404: "That is not stored, was not collected, or the cursor is of another question.",
        406: "No accepted media type is one of ours.",
        410: "The rows changed since the first page, and its state is not held any more: begin again without cursor.",
        501: "The extra `research` is not installed.",
        503: "The database does not answer, or too many questions wait: Retry-After says when to ask again.",
    }
    problems = {
        status: ResponseSpec(Failure, description=text, generate_examples=False) for status, text in texts.items()
    }
    unchanged = ResponseSpec(None, description="The page is one that If-None-Match names.", generate_examples=False)
    found = ResponseSpec(list[row], description="A page of rows.", generate_examples=False)  # type: ignore[valid-type]
    return {
        "opt": {"parameters": frozenset(parameters)},
        "operation_class": _RowsOperation,
        "responses": {200: found, 304: unchanged, **problems},
    }


@get("/listings", **_rows_of(ListingRow, "as_of", "kind", "exchange"))
async def listings(
    request: Asked,
    service: Service,
    paging: Page,
    as_of: AsOf = None,
    kind: FromQuery[Kind | None] = None,
    exchange: Exchange = None,
) -> Response[Any]:
    """The listed instruments by exchange and symbol."""
    return await service.answer(request, questions.Listings(as_of=as_of, kind=kind, exchange=exchange), paging)


@get("/listings/{symbol:str}/lifetime", **_rows_of(LifetimeRow, "on"))
async def lifetime(request: Asked, service: Service, paging: Page, symbol: Symbol, on: On) -> Response[Any]:
    """Whether a symbol was listed on a day, since when, and how that is known: one row."""
    return await service.answer(request, questions.Lifetime(symbol=symbol, on=on), paging)


@get("/new-listings", **_rows_of(ListingRow, "since"))
async def new_listings(request: Asked, service: Service, paging: Page, since: Since) -> Response[Any]:
    """The listings that appeared since a day, without those of an exchange's first file."""
    return await service.answer(request, questions.NewListings(since=since), paging)


@get("/universe/{day:str}", **_rows_of(UniverseRow))
async def universe(request: Asked, service: Service, paging: Page, day: Day) -> Response[Any]:
    """The universe of a day by rank."""
    return await service.answer(request, questions.Universe(start=day), paging)


@get("/quality", **_rows_of(QualityRow, "start", "end"))
async def quality(request: Asked, service: Service, paging: Page, start: Begin, end: End = None) -> Response[Any]:
    """The quality reports of days by symbol."""
    return await service.answer(request, questions.Quality(start=start, end=end), paging)


@get("/gaps", **_rows_of(GapRow, "start", "end"))
async def gaps(request: Asked, service: Service, paging: Page, start: Begin, end: End = None) -> Response[Any]:
    """The gaps of days by detection, with their outcomes."""
    return await service.answer(request, questions.Gaps(start=start, end=end), paging)


@get("/slots", **_rows_of(SlotRow, "start", "end"))
async def slots(request: Asked, service: Service, paging: Page, start: Begin, end: End = None) -> Response[Any]:
    """The times in which symbols had slots, by day and begin."""
    return await service.answer(request, questions.Slots(start=start, end=end), paging)


@get("/triggers", **_rows_of(TriggerRow, "start", "end"))
async def triggers(request: Asked, service: Service, paging: Page, start: Begin, end: End = None) -> Response[Any]:
    """The triggers of days by time."""
    return await service.answer(request, questions.Triggers(start=start, end=end), paging)


@get("/days/{day:str}/trades/{symbol:str}", **_rows_of(TradeRow))
async def trades(request: Asked, service: Service, paging: Page, day: Day, symbol: Symbol) -> Response[Any]:
    """The trades of a symbol on a day, of each line in the order of the day's volume."""
    return await service.answer(request, questions.Trades(start=day, symbol=symbol), paging)


@get("/bars/{symbol:str}", **_rows_of(BarRow, "start", "end", "interval", "adjusted"))
async def bars(
    request: Asked,
    service: Service,
    paging: Page,
    symbol: Symbol,
    start: Begin,
    end: End = None,
    interval: FromQuery[Interval] = "1m",
    adjusted: FromQuery[bool] = False,
) -> Response[Any]:
    """The bars of a symbol by time; `adjusted` gives prices and volumes in shares of the last day."""
    asked = questions.Bars(symbol=symbol, start=start, end=end, interval=interval, adjusted=adjusted)
    return await service.answer(request, asked, paging)


@get("/daily/{symbol:str}", **_rows_of(DailyRow, "start", "end", "adjusted"))
async def daily(
    request: Asked,
    service: Service,
    paging: Page,
    symbol: Symbol,
    start: Begin,
    end: End = None,
    adjusted: FromQuery[bool] = False,
) -> Response[Any]:
    """The daily bars of a symbol, also of days before the first stored session."""
    asked = questions.Daily(symbol=symbol, start=start, end=end, adjusted=adjusted)
    return await service.answer(request, asked, paging)


@get("/etf-premium/{symbol:str}", **_rows_of(EtfPremiumRow, "start", "end"))
async def etf_premium(
    request: Asked, service: Service, paging: Page, symbol: Fund, start: Begin, end: End = None
) -> Response[Any]:
    """Close, net asset value and premium of an ETF by day."""
    return await service.answer(request, questions.EtfPremium(symbol=symbol, start=start, end=end), paging)


_HANDLERS: Final = (
    listings, lifetime, new_listings, universe, quality, gaps, slots, triggers, trades, bars, daily, etf_premium,
)  # fmt: skip


def data_routes(settings: Settings) -> Sequence[ControllerRouterHandler]:
    """The routes below /api that answer from the stored data. Nothing is opened before the first question."""
    url = settings.store.url
    lake = (settings.lake or LakeSettings()).folder_in(settings.run.data)

    def opened() -> "Store":
        from observer.research.errors import require_extra

        require_extra()
        from observer.research.opening import open_parts

        return open_parts(url, lake, records=settings.track_b.records, run=settings.run)

    service = DataService(Answers(opened), Threads("data", THREADS))
    return [
        Router(
            "/api",
            route_handlers=_HANDLERS,
            tags=["data"],
            dependencies={
                "service": Provide(lambda: service, sync_to_thread=False),
                "paging": Provide(paging, sync_to_thread=False),
            },
        )
    ]
