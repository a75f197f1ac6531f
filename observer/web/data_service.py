"""Answers a request for rows: chooses the form, asks in a thread, and makes the response. No route is here."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from litestar import Request, Response
from litestar.datastructures.headers import Accept
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from observer.base.errors import ConfigError, NoDataError, ObserverError
from observer.base.text import plain_text
from observer.web.data_answers import Answers, CursorLostError, Page, Unchanged
from observer.web.data_bodies import MEDIA_TYPES, Form, Piece, pieces_of
from observer.web.data_questions import Question
from observer.web.failures import RETRY_S, failure
from observer.web.tags import tags_in
from observer.web.threads import Threads

LIMIT: Final = 1_000
LIMIT_MAX: Final = 50_000
THREADS: Final = 2
CURSOR_LENGTH_MAX: Final = 300
"""A cursor has some 130 letters."""

_COMMON: Final = frozenset({"format", "limit", "cursor"})
_CHOICES: Final = ("format", "kind")  # their validation takes null for an absent one
_HEADERS: Final = {"Cache-Control": "no-cache", "Vary": "Accept"}


class Paging(msgspec.Struct, frozen=True):
    """The part of the answer that a request wants, and what its sender has."""

    form: Form | None
    limit: int
    cursor: str | None
    if_none_match: str | None


class DataService:
    """Answers questions about the stored data over HTTP."""

    def __init__(self, answers: Answers, threads: Threads) -> None:
        self._answers = answers
        self._threads = threads

    async def answer(self, request: Request[Any, Any, Any], question: Question, paging: Paging) -> Response[Any]:
        """The response: a page of rows, 304 where the sender has it, or why there is none."""
        if wrong := _wrong_query(request):
            return failure(400, wrong)
        form = paging.form or _form_of(request.headers.get("accept"))
        if form is None:
            return failure(406, f"there are {', '.join(MEDIA_TYPES.values())}: accept one of them, or give format")
        try:
            found = await self._threads.run(lambda: self._found(question, paging, form))
        except ObserverError as error:
            return _refusal(error)
        if isinstance(found, Unchanged):
            return Response(None, status_code=304, headers={**_HEADERS, "ETag": f'"{found.tag}"'})
        page, pieces, first = found
        headers = {**_HEADERS, "ETag": f'"{page.tag}"'}
        if page.rest is not None:
            headers["Link"] = f'<{_next(request, page.rest.cursor)}>; rel="next"'
        media_type = MEDIA_TYPES[form]
        second = next(pieces, None)
        if second is None:
            return Response(first, headers=headers, media_type=media_type)
        return Stream(self._body(first, second, pieces), headers=headers, media_type=media_type)

    def _found(self, question: Question, paging: Paging, form: Form) -> tuple[Page, Iterator[Piece], bytes] | Unchanged:
        tags = tags_in(paging.if_none_match)
        found = self._answers.page(question, paging.cursor, paging.limit, form, tags.__contains__)
        if isinstance(found, Unchanged):
            return found
        if "*" in tags:
            return Unchanged(found.tag)
        pieces = pieces_of(found.frames, form)
        return found, pieces, next(pieces)()

    async def _body(self, first: bytes, second: Piece, others: Iterator[Piece]) -> AsyncIterator[bytes]:
        """The chunks of a large page, each made when the one before it was sent."""
        yield first
        yield await self._threads.run(second, is_new=False)
        for piece in others:
            yield await self._threads.run(piece, is_new=False)


def paging(
    form: Annotated[
        Form | None, QueryParameter(name="format", description="The form of the rows; without it that of Accept.")
    ] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="The rows of a page at most.")] = LIMIT,
    cursor: Annotated[
        str | None,
        QueryParameter(
            max_length=CURSOR_LENGTH_MAX, description="Where the page begins: from the Link of the one before."
        ),
    ] = None,
    if_none_match: Annotated[
        str | None,
        HeaderParameter(name="If-None-Match", description="ETags of pages that are known: 304 if it is one of them."),
    ] = None,
) -> Paging:
    """The parameters that all questions have."""
    return Paging(form, limit, cursor, if_none_match)


def _wrong_query(request: Request[Any, Any, Any]) -> str:
    """What is wrong with the names of the query's parameters; empty if nothing is."""
    known = sorted(_COMMON | request.route_handler.opt["parameters"])
    query = _query(request)
    given = [name for name, _ in query]
    if unknown := [name for name in given if name not in known]:
        return f"there is no parameter {plain_text(unknown[0])!r}: there are {', '.join(known)}"
    if nulls := [name for name, value in query if name in _CHOICES and value.lower() == "null"]:
        return f"null is no {nulls[0]}: leave it out"
    twice = [name for name in known if given.count(name) > 1]
    return f"{twice[0]} is given more than once: give it once" if twice else ""


def _query(request: Request[Any, Any, Any]) -> Sequence[tuple[str, str]]:
    """The names and values of the query in the order in which they were given."""
    return parse_qsl(request.scope["query_string"].decode(errors="replace"), keep_blank_values=True)


def _form_of(accept: str | None) -> Form | None:
    """The form that a client accepts, JSON where it does not mind; None if it accepts none of ours."""
    if not accept or not accept.strip():
        return "json"
    try:
        best = Accept(accept).best_match(list(MEDIA_TYPES.values()))
    except (ValueError, OverflowError):  # a weight that is no number, or an endless one
        return None
    return next((form for form, media_type in MEDIA_TYPES.items() if media_type == best), None)


def _next(request: Request[Any, Any, Any], cursor: str) -> str:
    """The address of the next page, relative to this host."""
    asked = [(name, value) for name, value in _query(request) if name != "cursor"]
    return f"{quote(request.scope['path'])}?{urlencode([*asked, ('cursor', cursor)])}"


def _refusal(error: ObserverError) -> Response[Any]:
    match error:
        case CursorLostError():
            return failure(410, str(error))
        case NoDataError():
            return failure(404, str(error))
        case ConfigError():
            return failure(400, str(error))
        case _:
            return failure(503, str(error), {"Retry-After": str(RETRY_S)})
