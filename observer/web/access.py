"""Who may ask the page's server: programs of this machine, and for orders those that have the token.

Every local user reaches loopback, and so does a page of any site in a browser on this machine: by a name of its own
that it resolves to 127.0.0.1 (so a foreign Host is refused), or by a request across sites (so a foreign Origin is).
"""

import hmac
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from observer.base.errors import ConfigError
from observer.base.private_file import read_privately, replace_privately
from observer.web.failures import Failure

logger = logging.getLogger(__name__)

REQUEST_BYTES_MAX: Final = 65_536
"""Of a request's head, and of its body."""
UNREADABLE: Final = f"no HTTP request with a head of at most {REQUEST_BYTES_MAX:,} bytes came: send one, such as GET /"
_BETWEEN: Final = len(": \r\n")

HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_TOKEN_BYTES: Final = 32
_TOKEN_LETTERS_MIN: Final = 32
_BEARER: Final = "Bearer "

HEADERS: Final[Sequence[tuple[bytes, bytes]]] = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Of every answer."""


def ensured_token(path: Path) -> str:
    """The token in this file, which is made if it is not there.

    Raises:
        ConfigError: it cannot be made or read, others may read it, or it holds no token.
    """
    try:
        token = read_privately(path).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return _made_token(path)
    if len(token) < _TOKEN_LETTERS_MIN:
        raise ConfigError(f"{path} holds no token of {_TOKEN_LETTERS_MIN} letters: remove it, and a new one is made")
    return token


def _made_token(path: Path) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    try:
        replace_privately(path, f"{token}\n".encode())
    except OSError as error:
        raise ConfigError(f"web.token_file = {str(path)!r}: {error.strerror}: name another file") from error
    return token


def _head_bytes(scope: Scope) -> int:
    """The size of a request's head; the HTTP server bounds only one that is not whole yet."""
    asked = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
    return asked + sum(len(name) + len(value) + _BETWEEN for name, value in scope["headers"])


def is_authorized(header: str | None, token: str) -> bool:
    """Whether this `Authorization` header carries the token; compared in constant time."""
    given = (header or "").removeprefix(_BEARER) if (header or "").startswith(_BEARER) else ""
    return hmac.compare_digest(given.encode(), token.encode())


def refusal_of(headers: Mapping[str, str], port: int) -> str:
    """Why a request with these headers (names in lower case) is refused; empty where it is not."""
    host = headers.get("host", "")
    name, _, _ = host.rpartition(":") if _has_port(host) else (host, "", "")
    if name.lower() not in HOSTS:
        return f"this server answers programs of its own machine: ask http://127.0.0.1:{port}/"
    origin = headers.get("origin")
    if origin is not None and not _is_own(origin, host):
        return "a page of another site may not ask this server: open its own page"
    if headers.get("sec-fetch-site", "same-origin") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
        return "a page of another site may not ask this server: open its own page"
    return ""


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]") and host != "::1"


def _is_own(origin: str, host: str) -> bool:
    """Whether the page came from where the request goes to: by an SSH tunnel, at another port than ours."""
    try:
        address, asked = urlsplit(origin), urlsplit(f"http://{host}")
        own = (address.scheme, address.port or 80) == ("http", asked.port or 80)
    except ValueError:  # a port that is no number
        return False
    return own and address.hostname in HOSTS


def guarded(app: ASGIApp, port: int) -> ASGIApp:
    """The app behind these rules, with `HEADERS` in every answer."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:  # the begin and the end of the app
            await app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        if _head_bytes(scope) > REQUEST_BYTES_MAX:
            await refuse(send_with_headers, 400, UNREADABLE)
            return
        if refusal := refusal_of(_texts(scope["headers"]), port):
            logger.warning("a request for %.200r was refused: %s", scope["path"], refusal)
            await refuse(send_with_headers, 403, refusal)
            return
        await app(scope, receive, send_with_headers)

    return answer


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The headers by name; of one that comes twice the values joined, so that a second Host is a foreign one."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


async def refuse(send: Send, status: int, text: str, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Answer with a refusal without the app, with these headers, too."""
    body = msgspec.json.encode(Failure(text))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
