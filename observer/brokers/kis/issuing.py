"""Access tokens and approval keys: the two calls that issue them, their answers (docs/kis.md#tokens-and-keys)."""

from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

import httpx
import msgspec

from observer.base.clock import Clock
from observer.base.errors import MalformedError
from observer.base.units import NS_PER_S
from observer.brokers.bodies import decode
from observer.brokers.broker import IssuedToken
from observer.brokers.http import Request, send_once
from observer.brokers.kis.envelope import KisRestDialect
from observer.brokers.kis.times import moment_ns
from observer.brokers.raw import UNRECORDED, AccountRecorder

Body = TypeVar("Body")

ISSUING_CALLS: Final = ("issue_token", "issue_approval_key")

_TOKEN_NS: Final = 24 * 3600 * NS_PER_S  # the documented life of a token
_SECRET_LENGTH_MAX: Final = 4_096  # a real token has some 350 letters
_LIFE_S_MAX: Final = 366 * 86_400  # a company's token lives three months; beyond a year it is no life at all


class TokenBody(msgspec.Struct):
    """`POST /oauth2/tokenP`; the end of life is Korean local time without an offset."""

    access_token: str
    expires_in: Annotated[int, msgspec.Meta(ge=0, le=_LIFE_S_MAX)] = 86_400
    access_token_token_expired: str = ""


class ApprovalBody(msgspec.Struct):
    """`POST /oauth2/Approval`."""

    approval_key: str


def issued_token(body: TokenBody, now_ns: int) -> IssuedToken:
    """The token of an answer received at `now_ns`; without a readable end of life, `expires_in` counts from now.

    Raises:
        MalformedError: the token is blank, or nothing that a header can carry.
    """
    token = _secret(body.access_token, "the answer to the token call holds no token")
    try:
        date, hour = body.access_token_token_expired.strip().split(" ")
        expires_ns = moment_ns(date.replace("-", ""), hour.replace(":", ""))
    except ValueError:
        expires_ns = now_ns + body.expires_in * NS_PER_S
    return IssuedToken(token, min(now_ns, expires_ns - _TOKEN_NS), expires_ns)


def issued_approval_key(body: ApprovalBody) -> str:
    """The approval key of an answer.

    Raises:
        MalformedError: as for `issued_token`.
    """
    return _secret(body.approval_key, "the answer to the approval call holds no key")


def _secret(field: str, otherwise: str) -> str:
    """A token or key that headers and requests can carry. Raises MalformedError, without any of it, for another."""
    secret = field.strip()
    if not (secret.isascii() and secret.isprintable() and 0 < len(secret) <= _SECRET_LENGTH_MAX and " " not in secret):
        raise MalformedError(otherwise)
    return secret


class KisIssuing:
    """Issues tokens and approval keys. Without retries: `accounts.tokens` decides when to ask again."""

    def __init__(self, client: httpx.AsyncClient, clock: Clock, recorder: AccountRecorder = UNRECORDED) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._dialect = KisRestDialect()

    async def issue_token(self, app_key: str, app_secret: str) -> IssuedToken:
        """A token; within six hours of the last issue the same one again.

        Raises:
            TokenThrottledError: the last issue was less than a minute ago.
            ProviderError: no answer, or a refusal.
        """
        body = await self._post(
            ISSUING_CALLS[0], "/oauth2/tokenP", {"appkey": app_key, "appsecret": app_secret}, TokenBody
        )
        return issued_token(body, self._clock.now_ns())

    async def issue_approval_key(self, app_key: str, app_secret: str) -> str:
        """The key that opens a stream.

        Raises:
            ProviderError: no answer, or a refusal.
        """
        # The secret has another name here than in the token call.
        keys = {"appkey": app_key, "secretkey": app_secret}
        return issued_approval_key(await self._post(ISSUING_CALLS[1], "/oauth2/Approval", keys, ApprovalBody))

    async def _post(self, name: str, path: str, keys: Mapping[str, str], body_type: type[Body]) -> Body:
        content = msgspec.json.encode({"grant_type": "client_credentials", **keys})
        request = Request(name=name, method="POST", path=path, body=content)
        headers = {"content-type": "application/json"}
        answer = await send_once(self._client, request, headers, self._dialect, self._recorder)
        return decode(answer.content, body_type, name)
