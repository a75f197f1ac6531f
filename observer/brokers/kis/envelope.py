"""The envelope of KIS's calls: headers, paging flag, and refusals as our errors (docs/kis.md#rest-envelope). Pure.

`{"rt_cd":"0","msg_cd":"MCA00000","msg1":"...","output":[...]}`; the OAuth calls say `error_code` and
`error_description` instead. A failure can come with HTTP 200.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from observer.base.errors import (
    BadRequestError,
    MaintenanceError,
    ProviderError,
    RateExceededError,
    TokenExpiredError,
    TokenThrottledError,
)
from observer.brokers.broker import Credentials

if TYPE_CHECKING:  # only the name of a type: this file is pure
    from observer.brokers.http import Request

_CODES: Final[Mapping[type[ProviderError], str]] = {
    RateExceededError: "EGW00201",
    TokenExpiredError: "EGW00121 EGW00122 EGW00123",
    TokenThrottledError: "EGW00133",
    # OPSQ...: the services behind the gateway, with HTTP 200 (docs/kis.md#errors).
    MaintenanceError: "EGW00002 EGW00300 EGW00301 EGW00302 OPSQ0003 OPSQ0009 OPSQ0010 OPSQ0011 OPSQ1002",
    # These come with HTTP 500 too; asked again, KIS would say the same.
    BadRequestError: """
        EGW00102 EGW00103 EGW00105 EGW00132 EGW00206 EGW00207 EGW00208 EGW00213 EGW00304 EGW02004
    """,
}
_ERRORS: Final = {code: error for error, codes in _CODES.items() for code in codes.split()}
_REMEDIES: Final[dict[str, str]] = {
    "EGW00103": "KIS does not know this app key: check it against the portal's, and that it has not run out",
    "EGW00105": "this app secret does not belong to the app key: copy both again from the portal",
    "EGW00206": "the app key has no right to this call: apply for the service at the portal",
    "EGW00213": "the paper host does not have this call: see kis.rest_url",
    "EGW02004": "a real key at the paper host, or the other way: the app key and rest_url must belong together",
}


class _Envelope(msgspec.Struct):
    rt_cd: str | int | None = ""
    msg_cd: str | None = ""
    msg1: str | None = ""
    error_code: str | None = ""
    error_description: str | None = ""


_decoder = msgspec.json.Decoder(_Envelope)


class KisRestDialect:
    """KIS's headers and refusals. Satisfies `RestDialect`."""

    def headers(self, request: "Request", credentials: Credentials) -> dict[str, str]:
        """The headers of every call with a bearer (docs/kis.md#rest-envelope)."""
        return {
            "content-type": "application/json; charset=utf-8",
            "authorization": f"Bearer {credentials.access_token}",
            "appkey": credentials.app_key,
            "appsecret": credentials.app_secret,
            "tr_id": request.transaction,
            "custtype": "P",
            "tr_cont": "N" if request.continued else "",
        }

    def classify(self, status: int, body: bytes) -> ProviderError | None:
        """See `envelope.classify`."""
        return classify(status, body)

    def more(self, headers: Mapping[str, str]) -> bool:
        """`tr_cont` F or M means another page; D, E or nothing means the end."""
        return headers.get("tr_cont", "").strip() in ("F", "M")


def classify(status: int, body: bytes) -> ProviderError | None:
    """The error that an answer is, None for a success; the code in the body decides before the HTTP status.

    A body of HTTP 200 that cannot be read counts as a success here, and its decoder raises the error: but for an HTML
    page, which is sent at maintenance.
    """
    if body.lstrip()[:1] == b"<" and status in (200, 502):
        return MaintenanceError(f"HTTP {status} with an HTML page instead of an answer", code=f"HTTP {status}")
    try:
        envelope = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a gateway's HTML page, say
        envelope = _Envelope()
    code = (envelope.msg_cd or envelope.error_code or "").strip()
    text = (envelope.msg1 or envelope.error_description or "").strip() or f"HTTP {status}"
    refused = str(envelope.rt_cd or "0").strip() not in ("", "0")
    if status == 200 and not refused and not envelope.error_code:
        return None
    error_type = _ERRORS.get(code) or _error_of_status(status)
    remedy = f" ({_REMEDIES[code]})" if code in _REMEDIES else ""
    return error_type(f"{code} {text}{remedy}".strip(), code=code or f"HTTP {status}")


def _error_of_status(status: int) -> type[ProviderError]:
    if status == 401:
        return TokenExpiredError
    if status == 429:
        return RateExceededError
    return MaintenanceError if status >= 500 else BadRequestError
