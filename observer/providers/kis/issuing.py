"""What KIS issues: access tokens and approval keys (kis-api.md, section 2). Pure."""

from typing import Annotated, Final

import msgspec

from observer.errors import MalformedError
from observer.providers.kis.moments import NS_PER_S, moment_ns

_TOKEN_NS: Final = 24 * 3600 * NS_PER_S  # the documented life of a token
_LIFE_S_MAX: Final = 366 * 86_400  # a company's token lives three months; beyond a year it is no life at all


class TokenBody(msgspec.Struct):
    """`POST /oauth2/tokenP`; the end of life is Korean local time without an offset."""

    access_token: str
    expires_in: Annotated[int, msgspec.Meta(ge=0, le=_LIFE_S_MAX)] = 86_400
    access_token_token_expired: str = ""


class ApprovalBody(msgspec.Struct):
    """`POST /oauth2/Approval`."""

    approval_key: str


class IssuedToken(msgspec.Struct, frozen=True):
    """A token and its life. `issued_ns` is when KIS made it, which can be hours before it was asked for."""

    access_token: str
    issued_ns: int
    expires_ns: int

    def __repr__(self) -> str:
        """Shows the life, never the token."""
        return f"IssuedToken(issued_ns={self.issued_ns}, expires_ns={self.expires_ns})"

    __str__ = __repr__


def issued_token(body: TokenBody, now_ns: int) -> IssuedToken:
    """The token of an answer received at `now_ns`; without a readable end of life, `expires_in` counts from now.

    Raises:
        MalformedError: the token is blank.
    """
    if not body.access_token.strip():
        raise MalformedError("the answer to the token call holds no token")
    try:
        date, hour = body.access_token_token_expired.strip().split(" ")
        expires_ns = moment_ns(date.replace("-", ""), hour.replace(":", ""))
    except ValueError:
        expires_ns = now_ns + body.expires_in * NS_PER_S
    return IssuedToken(body.access_token.strip(), min(now_ns, expires_ns - _TOKEN_NS), expires_ns)


def issued_approval_key(body: ApprovalBody) -> str:
    """The approval key of an answer.

    Raises:
        MalformedError: it is blank.
    """
    if not body.approval_key.strip():
        raise MalformedError("the answer to the approval call holds no key")
    return body.approval_key.strip()
