"""Orders of a person from the page: each is a command on the control socket, as `observer ctl` sends it."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from litestar import Router, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import JSONBody

from bus.commands import Done, Pin, Refused, Reply, Restart, RunJob, SilenceAlert, UnderWay, Unpin
from bus.commands import Request as Command
from bus.control import ControlClient
from bus.endpoints import BusError
from observer.errors import NoDataError
from observer.store.listings import ListingReader
from observer.web.access import is_authorized
from observer.web.failures import RefusedOrderError, UnansweredError, UnauthorizedError, failures

logger = logging.getLogger(__name__)

Connection = ASGIConnection[Any, Any, Any, Any]

ANSWER_S: Final = 3.0  # machine seconds, as a command waits

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Line = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
_Identity = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Span = Annotated[float, msgspec.Meta(ge=0, le=366 * 86_400)]


class RestartOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Restart this process."""

    process: _Name


class LineOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pin or unpin this line."""

    line: _Line


class ApproveOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Approve the changes of this exchange's master file that wait for it."""

    file: _Name


class SilenceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Silence this alert for so many market seconds; 0 ends its silence."""

    alert: _Identity
    for_s: _Span


class Outcome(msgspec.Struct, frozen=True):
    """What an order did, in a sentence."""

    text: str


class Orders:
    """Gives orders to the running system for requests with the token; each is logged with its outcome.

    Args:
        control: its control socket.
        url: its database.
        token: that a request must carry.
        token_file: named in the remedy.
    """

    def __init__(self, control: ControlClient, url: str, token: str, token_file: str) -> None:
        self._control = control
        self._url = url
        self._token = token
        self._token_file = token_file

    async def give(self, command: Command) -> Outcome:
        """Give the order, and return what it did.

        Raises:
            RefusedOrderError, UnansweredError: as these say.
        """
        logger.info("%r from the page is given", command)  # also where its outcome is never known
        try:
            outcome = _outcome_of(await self._control.request(command, ANSWER_S))
        except BusError as error:
            logger.warning("%r from the page: %s", command, error)
            text = f"{error}: it is not known whether it was done: `observer status` shows whether the system runs"
            raise UnansweredError(text) from error
        except RefusedOrderError as error:
            logger.warning("%r from the page was refused: %s", command, error)
            raise
        logger.info("%r from the page: %s", command, outcome.text)
        return outcome

    def require_token(self, connection: Connection) -> None:
        """Return if the request carries the token.

        Raises:
            UnauthorizedError: it does not.
        """
        if not is_authorized(connection.headers.get("authorization"), self._token):
            logger.warning("an order without the right token was refused: %s", connection.scope["path"])
            raise UnauthorizedError(f"give the token that is in {self._token_file}: it is not this one")

    async def pending_run(self, exchange: str) -> str:
        """The run of this exchange's master file that waits for approval.

        Raises:
            NoDataError: none does.
            StoreError: the database does not answer.
        """

        def read() -> Sequence[tuple[str, str]]:
            with ListingReader(self._url) as reader:
                return [(each.exchange, each.run) for each in reader.last_checks() if each.outcome == "pending"]

        waiting = dict(await asyncio.to_thread(read))
        if exchange not in waiting:
            logger.warning("an approval of %s from the page was refused: nothing of it waits", exchange)
            those = f"those of {', '.join(waiting)} do" if waiting else "none does"
            raise NoDataError(f"no changes of {exchange} wait for approval: {those}")
        return waiting[exchange]


def _outcome_of(reply: Reply) -> Outcome:
    match reply:
        case Done(process, detail):
            return Outcome(f"{process}: {detail}")
        case UnderWay(detail):
            return Outcome(detail)
        case Refused(code, message):
            raise RefusedOrderError(f"{message} ({code})")
    raise RefusedOrderError(f"an order was answered with {type(reply).__name__}: `observer doctor` compares versions")


def order_routes(orders: Orders) -> Router:
    """The routes of the orders; each needs `Authorization: Bearer TOKEN`."""
    answers = failures(400, 401, 404, 409, 503)

    def guard(connection: Connection, _handler: BaseRouteHandler) -> None:  # runs before the request's body is read
        orders.require_token(connection)

    @post("/restart", status_code=200, responses=answers, summary="Restart a process")
    async def restart(data: JSONBody[RestartOrder]) -> Outcome:
        return await orders.give(Restart(data.process))

    @post("/pin", status_code=200, responses=answers, summary="Give a line a slot until it is unpinned")
    async def pin(data: JSONBody[LineOrder]) -> Outcome:
        return await orders.give(Pin(data.line))

    @post("/unpin", status_code=200, responses=answers, summary="Remove a line's pin")
    async def unpin(data: JSONBody[LineOrder]) -> Outcome:
        return await orders.give(Unpin(data.line))

    @post("/approve", status_code=200, responses=answers, summary="Approve a master file's pending changes")
    async def approve(data: JSONBody[ApproveOrder]) -> Outcome:
        return await orders.give(RunJob("master_approve", [await orders.pending_run(data.file)]))

    @post("/silence", status_code=200, responses=answers, summary="Silence an open alert")
    async def silence(data: JSONBody[SilenceOrder]) -> Outcome:
        return await orders.give(SilenceAlert(data.alert, data.for_s))

    return Router(
        "/api/orders",
        route_handlers=[restart, pin, unpin, approve, silence],
        guards=[guard],
        security=[{"token": []}],
        tags=["orders"],
    )
