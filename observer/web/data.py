"""The data part of the HTTP API (docs/http.md): each relation of the catalogue as JSON, CSV and Arrow, page by page."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
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
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from observer.archive.places import places_of
from observer.archive.settings import LakeSettings
from observer.research.catalogue import RELATIONS
from observer.research.relation import Relation, columns_of
from observer.system.config import Settings
from observer.web.data_answers import Answers
from observer.web.data_bodies import MEDIA_TYPES
from observer.web.data_questions import Question
from observer.web.data_service import THREADS, DataService, Paging, paging
from observer.web.failures import Failure
from observer.web.threads import Threads

if TYPE_CHECKING:
    from observer.research.store import Store

_SYMBOL: Final = r"^[!-.0-~]{1,40}$"  # letters and signs of ASCII but blank and slash
_A_MOMENT: Final = {
    "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}],
    "examples": ["2026-11-18", "2026-11-18T10:00:00+09:00"],
}
_PAGE_HEADERS: Final = {"ETag": "Of the page's content.", "Link": 'The next page (rel="next"), if there is one.'}
_ABSENT: Final = inspect.Parameter.empty


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


def _parameters(relation: Relation) -> Mapping[str, tuple[Any, Any]]:
    """The parameters of a relation's query, each with its type and default."""
    days = {
        "days": "The first day or moment; local without an offset.",
        "history": "The first day.",
        "since": "Since this day or moment; without it from the begin.",
        "now": "At the end of this day; without it now.",
    }
    of_day = relation.span in ("days", "history") or relation.name == "lifetimes"
    found = {"day": _moment(days[relation.span], is_required=of_day)}
    if relation.span != "now":
        found["end"] = _moment("The last day, included, or a moment, excluded.", is_required=False)
    if relation.symbols != "no":
        asked = QueryParameter(pattern=_SYMBOL, description="A stock, at all its venues, or a line (SYMBOL.VENUE).")
        found["symbol"] = (
            (Annotated[str, asked], _ABSENT) if relation.needs_symbol else (Annotated[str | None, asked], None)
        )
    found["known_at"] = _moment("Without what was stored later than this.", is_required=False)
    if relation.options is not None:
        defaults = dict(zip(relation.options.__struct_fields__, relation.options.__struct_defaults__, strict=True))
        for each in columns_of(relation.options):
            kind = each.type | None if each.is_optional else each.type
            found[each.name] = (Annotated[kind, QueryParameter(description=each.sentence)], defaults[each.name])
    return found


def _moment(text: str, *, is_required: bool) -> tuple[Any, Any]:
    asked = QueryParameter(schema_extra=_A_MOMENT, description=text)
    return (Annotated[str, asked], _ABSENT) if is_required else (Annotated[str | None, asked], None)


def _described(relation: Relation) -> type[msgspec.Struct]:
    """The row of a relation, with the meaning of each column for the document."""
    fields = [
        (
            each.name,
            Annotated[each.type | None if each.is_optional else each.type, msgspec.Meta(description=each.sentence)],
        )
        for each in columns_of(relation.row)
    ]
    name = f"{relation.name.title().replace('_', '')}Row"
    return msgspec.defstruct(name, fields, frozen=True)


def _route(relation: Relation) -> Any:
    """The route of a relation: its parameters and rows are those of the catalogue."""
    own = _parameters(relation)

    async def rows(
        request: Request[Any, Any, Any], service: DataService, paging: Paging, **asked: Any
    ) -> Response[Any]:
        common = {name: asked.pop(name, None) for name in ("day", "end", "symbol", "known_at")}
        return await service.answer(request, Question(relation=relation.name, **common, options=asked), paging)

    injected = {
        "request": Request[Any, Any, Any],
        "service": NamedDependency[DataService],
        "paging": NamedDependency[Paging],
    }
    parameters = {**{name: (kind, _ABSENT) for name, kind in injected.items()}, **own}
    rows.__name__ = relation.name
    rows.__doc__ = relation.meaning
    rows.__annotations__ = {**{name: kind for name, (kind, _) in parameters.items()}, "return": Response[Any]}
    rows.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # litestar reads it
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in parameters.items()
        ]
    )
    return get(f"/{relation.name}", **_described_answers(relation, own))(rows)


def _described_answers(relation: Relation, parameters: Mapping[str, object]) -> Mapping[str, Any]:
    """What the decorator of a route needs: what its rows are, its own parameters of the query, its other answers."""
    texts = {
        400: "A parameter is wrong.",
        404: "That is not stored, was not collected, or the cursor is of another question.",
        406: "No accepted media type is one of ours.",
        410: "The rows changed since the first page: begin again without cursor.",
        503: "The database does not answer, or too many questions wait: Retry-After says when to ask again.",
    }
    problems = {
        status: ResponseSpec(Failure, description=text, generate_examples=False) for status, text in texts.items()
    }
    row: Any = _described(relation)
    unchanged = ResponseSpec(None, description="The page is one that If-None-Match names.", generate_examples=False)
    found = ResponseSpec(list[row], description="A page of rows.", generate_examples=False)
    return {
        "opt": {"parameters": frozenset(parameters)},
        "operation_class": _RowsOperation,
        "responses": {200: found, 304: unchanged, **problems},
    }


def data_routes(settings: Settings) -> Sequence[ControllerRouterHandler]:
    """The routes below /api that answer from the stored data. Nothing is opened before the first question."""
    places = places_of(settings.lake or LakeSettings(), settings.backup, settings.run)

    logging.captureWarnings(capture=True)  # of damaged files of the lake, whose rows were read from another place

    def opened() -> "Store":
        from observer.research.opening import open_parts

        records = settings.track_b.records
        return open_parts(settings.store.url, places.lake, places=places, records=records, run=settings.run)

    service = DataService(Answers(opened), Threads("data", THREADS))
    return [
        Router(
            "/api",
            route_handlers=[_route(each) for each in RELATIONS.values()],
            tags=["data"],
            dependencies={
                "service": Provide(lambda: service, sync_to_thread=False),
                "paging": Provide(paging, sync_to_thread=False),
            },
        )
    ]
