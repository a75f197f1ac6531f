"""Removes secrets from recorded traffic with a broker. Pure.

Two rules, as neither is enough alone: conceal the process's own secrets wherever they stand, and conceal fields that
carry secrets by their names, since an answer contains a new token before the process can register it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

REDACTED: Final = "***"

# A whitelist: what a dialect or a broker adds to its headers one day is not recorded.
_HEADERS: Final = frozenset({"tr_id", "tr_cont", "custtype", "content-type"})

# Of calls that issue tokens and approval keys, and of subscriptions that carry a key.
_FIELDS: Final = (b"appkey", b"appsecret", b"secretkey", b"access_token", b"approval_key", b"token")

# A name, and its value: a string (which a cut body may leave without its end), or anything else up to the next mark.
_SECRET: Final = re.compile(
    rb'("(?:' + b"|".join(_FIELDS) + rb')"\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[^\s"{\[,}\]][^,}\]]*)',
    re.IGNORECASE | re.DOTALL,
)
_REDACTED_VALUE: Final = rb'\1"' + REDACTED.encode() + b'"'


def redacted(content: bytes, without_secrets: Callable[[str], str]) -> bytes:
    """The content with every secret blanked out; byte for byte the same where there is none.

    Args:
        content: a frame or a body; it need not be text.
        without_secrets: blanks out the secrets that are known, see `observer.base.text.without_secrets`.
    """
    if b'"' in content:
        content = _SECRET.sub(_REDACTED_VALUE, content)
    return without_secrets(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def redacted_headers(headers: Mapping[str, str], without_secrets: Callable[[str], str]) -> dict[str, str]:
    """The few headers that describe the request and the paging, with names in lower case."""
    named = {name.lower(): value for name, value in headers.items()}
    return {name: without_secrets(named[name]) for name in sorted(_HEADERS & named.keys())}


def redacted_query(query: Mapping[str, str], without_secrets: Callable[[str], str]) -> dict[str, str]:
    """The query; a parameter that carries a secret by its name keeps the name alone."""
    names = {name.decode() for name in _FIELDS}
    return {name: REDACTED if name.lower() in names else without_secrets(value) for name, value in query.items()}
