"""Orders of a person from the page: each is a command on the control socket, as `observer ctl` sends it."""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import HeaderParameter, JSONBody

from bus.commands import Done, Pin, Refused, Reply, Restart, RunJob, SilenceAlert, UnderWay, Unpin
from bus.commands import Request as Command
from bus.control import ControlClient
from bus.endpoints import BusError
from bus.events import MasterFileChecked
from observer.base.errors import NoDataError
from observer.store.listings import ListingReader
from observer.web.access import is_authorized
from observer.web.failures import RefusedOrderError, UnansweredError, UnauthorizedError, failures

logger = logging.getLogger(__name__)

Connection = ASGIConnection[Any, Any, Any, Any]

ANSWER_S: Final = 3.0  # machine seconds, as a command waits
KEYS_MAX: Final = 256
_KEY_BYTES: Final = 8
_EARLIER: Final = (
    "the page's server began anew after this order was made, and does not know whether it was done: "
    "look at the page, and give it again if it was not"
)
Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=64,
        description="From /api/orders/key: an order that arrives again with it is answered as before.",
    ),
]

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
    """Approve the changes of this exchange's master file that were seen: those of this run."""

    file: _Name
    run: _Name


class SilenceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Silence this alert for so many market seconds; 0 ends its silence."""

    alert: _Identity
    for_s: _Span


class NewKey(msgspec.Struct, frozen=True):
    """A key for one order."""

    key: str


class Outcome(msgspec.Struct, frozen=True):
    """What an order did, in a sentence."""

    text: str


Giving = Callable[[], Coroutine[Any, Any, Outcome]]


class OrderKeys:
    """Keys of orders: an order that arrives again with its key is not given again. A browser may send a request again
    when its connection ends without an answer, as that of an order to restart this process does.
    """

    def __init__(self) -> None:
        self._process = secrets.token_hex(_KEY_BYTES)
        self._outcomes: OrderedDict[str, tuple[Command, asyncio.Task[Outcome]]] = OrderedDict()

    def new(self) -> str:
        """A key, which only this process takes."""
        return f"{self._process}-{secrets.token_hex(_KEY_BYTES)}"

    async def once(self, key: str | None, command: Command, give: Giving) -> Outcome:
        """What `give` returns or raises, which is called once for each key; without a key it is called each time.

        Raises:
            UnansweredError: the key is one of an earlier process, which may have given the order.
            RefusedOrderError: the key was used for another order.
        """
        if key is None:
            return await give()
        if not key.startswith(f"{self._process}-"):
            raise UnansweredError(_EARLIER)
        if key not in self._outcomes:
            self._outcomes[key] = command, asyncio.create_task(give())
            if len(self._outcomes) > KEYS_MAX:
                self._outcomes.popitem(last=False)
        given, outcome = self._outcomes[key]
        if given != command:
            raise RefusedOrderError("this Idempotency-Key was used for another order: /api/orders/key has new ones")
        return await asyncio.shield(outcome)


class Orders:
    """Gives orders to the running system for requests with the token; each is logged with its outcome.

    Args:
        control: its control socket.
        url: its database.
        token: that a request must carry.
    """

    def __init__(self, control: ControlClient, url: str, token: str) -> None:
        self._control = control
        self._url = url
        self._token = token
        self._keys = OrderKeys()

    def new_key(self) -> str:
        """A key for one order."""
        return self._keys.new()

    async def give(self, command: Command, key: str | None) -> Outcome:
        """Give the order unless it was given with this key, and return what it did.

        Raises:
            RefusedOrderError, UnansweredError: as these say.
        """
        return await self._keys.once(key, command, lambda: self._give(command))

    async def approve(self, exchange: str, run: str, key: str | None) -> Outcome:
        """Approve the changes of this exchange's master file if they are those of the run, as `give` does.

        Raises:
            NoDataError: no changes of it wait.
            RefusedOrderError: those of another run wait.
            StoreError: the database does not answer.
        """
        command = RunJob("master_approve", [run])

        async def approved() -> Outcome:
            await self._require_pending(exchange, run)
            return await self._give(command)

        return await self._keys.once(key, command, approved)

    async def _give(self, command: Command) -> Outcome:
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
            raise UnauthorizedError("give the token of the file web.token in the runtime folder: it is not this one")

    async def _require_pending(self, exchange: str, run: str) -> None:
        def read() -> Sequence[MasterFileChecked]:
            with ListingReader(self._url) as reader:
                return [each for each in reader.last_checks() if each.outcome == "pending"]

        waiting = {each.exchange: each for each in await asyncio.to_thread(read)}
        found = waiting.get(exchange)
        if found is None:
            logger.warning("an approval of %s from the page was refused: nothing of it waits", exchange)
            those = f"those of {', '.join(waiting)} do" if waiting else "none does"
            raise NoDataError(f"no changes of {exchange} wait for approval: {those}")
        if found.run != run:
            logger.warning("an approval of %s from the page was refused: not %s but %s waits", exchange, run, found.run)
            raise RefusedOrderError(
                f"another file of {exchange} waits now ({found.reason}), not the one that was shown: "
                "look at it, and approve it if it is right"
            )


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

    @get("/key", summary="A key for one order", responses=failures(401))
    async def new_key() -> NewKey:
        return Response(NewKey(orders.new_key()), headers={"Cache-Control": "no-store"})  # type: ignore[return-value]

    @post("/restart", status_code=200, responses=answers, summary="Restart a process")
    async def restart(data: JSONBody[RestartOrder], key: Key = None) -> Outcome:
        return await orders.give(Restart(data.process), key)

    @post("/pin", status_code=200, responses=answers, summary="Give a line a slot until it is unpinned")
    async def pin(data: JSONBody[LineOrder], key: Key = None) -> Outcome:
        return await orders.give(Pin(data.line), key)

    @post("/unpin", status_code=200, responses=answers, summary="Remove a line's pin")
    async def unpin(data: JSONBody[LineOrder], key: Key = None) -> Outcome:
        return await orders.give(Unpin(data.line), key)

    @post("/approve", status_code=200, responses=answers, summary="Approve a master file's pending changes")
    async def approve(data: JSONBody[ApproveOrder], key: Key = None) -> Outcome:
        return await orders.approve(data.file, data.run, key)

    @post("/silence", status_code=200, responses=answers, summary="Silence an open alert")
    async def silence(data: JSONBody[SilenceOrder], key: Key = None) -> Outcome:
        return await orders.give(SilenceAlert(data.alert, data.for_s), key)

    return Router(
        "/api/orders",
        route_handlers=[new_key, restart, pin, unpin, approve, silence],
        guards=[guard],
        security=[{"token": []}],
        tags=["orders"],
    )
