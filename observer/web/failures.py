"""Answers of the HTTP API to what cannot be done: a status, and one sentence with the remedy as JSON."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ExceptionHandlersMap

from observer.base.errors import NoDataError, ObserverError, StoreError
from observer.base.text import plain_text

logger = logging.getLogger(__name__)

Asked = Request[Any, Any, Any]


class Failure(msgspec.Struct, frozen=True):
    """The body of such an answer."""

    error: str


class UnauthorizedError(ObserverError):
    """An order came without the token."""


class RefusedOrderError(ObserverError):
    """The running system refused an order, or failed in it."""


class UnansweredError(ObserverError):
    """The running system did not answer."""


class BusyError(UnansweredError):
    """So many questions wait already that another one would wait for long."""


_STATUSES: Final[Mapping[type[ObserverError], int]] = {
    UnauthorizedError: 401,
    NoDataError: 404,
    RefusedOrderError: 409,
    UnansweredError: 503,
    StoreError: 503,
}
_TEXTS: Final[Mapping[int, str]] = {
    400: "The request is wrong.",
    401: "The token is missing or wrong.",
    404: "It is not stored, or does not exist.",
    409: "The running system refused it.",
    503: "The database or the running system does not answer.",
}
RETRY_S: Final = 1
"""After which a question that found too many others is asked again."""

_OURS: Final = "the server failed in this; its log says why"


def failures(*statuses: int) -> Mapping[int, ResponseSpec]:
    """The answers with these statuses, for the OpenAPI document."""
    return {each: ResponseSpec(Failure, description=_TEXTS[each], generate_examples=False) for each in statuses}


def failure(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response[Failure]:
    """The answer with this status and sentence."""
    return Response(Failure(text), status_code=status, media_type="application/json", headers=dict(headers or {}))


def _of_observer(_request: Asked, error: ObserverError) -> Response[Failure]:
    status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 400)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(RETRY_S)
    return failure(status, str(error), headers)


def _of_litestar(request: Asked, error: HTTPException) -> Response[Failure]:
    if error.status_code >= 500:
        return _of_us(request, error)
    text = _sentence_of(error) if isinstance(error, ValidationException) else error.detail
    if error.status_code == 413:
        text = "the request's body has more than 65,536 bytes: no order needs so many"
    if error.status_code == 404:
        text = f"there is no {plain_text(request.url.path)[:200]}: /api/schema/openapi.json names what there is"
    return failure(error.status_code, text, error.headers)


def _sentence_of(error: ValidationException) -> str:
    """What is wrong with the request, in one sentence."""
    extra = error.extra if isinstance(error.extra, list) else []
    found = [f"{each['key']}: {each['message']}" if "key" in each else str(each.get("message")) for each in extra]
    return "; ".join(found) or error.detail


def _of_us(request: Asked, error: Exception) -> Response[Failure]:
    logger.error("no answer to %s %.200s", request.method, request.url.path, exc_info=error)
    return failure(500, _OURS)


HANDLERS: Final[ExceptionHandlersMap] = {
    ObserverError: _of_observer,
    HTTPException: _of_litestar,
    Exception: _of_us,
}
