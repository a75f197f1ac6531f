"""What is recorded of a conversation with a broker, without its secrets. Pure.

Two nets, as neither is enough alone: the process's own concealed secrets wherever they stand, and the values of the
fields that carry secrets by their names, since a new token is in an answer before anybody could conceal it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

BLANK: Final = "***"

# A whitelist: what a dialect or a broker adds to its headers one day is not recorded.
_HEADERS: Final = frozenset({"tr_id", "tr_cont", "custtype", "content-type"})

# kis-api.md, sections 3 and 5: the token and approval key calls, and every registration of the stream.
_FIELDS: Final = (b"appkey", b"appsecret", b"secretkey", b"access_token", b"approval_key", b"token")

# A name, and its value: a string (which a cut body may leave without its end), or anything else up to the next mark.
_SECRET: Final = re.compile(
    rb'("(?:' + b"|".join(_FIELDS) + rb')"\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[^\s"{\[,}\]][^,}\]]*)',
    re.IGNORECASE | re.DOTALL,
)
_BLANKED_VALUE: Final = rb'\1"' + BLANK.encode() + b'"'


def blanked(content: bytes, without_secrets: Callable[[str], str]) -> bytes:
    """The content with every secret blanked out; byte for byte the same where there is none.

    Args:
        content: a frame or a body; it need not be text.
        without_secrets: blanks out the secrets that are known, see `observer.logs.without_secrets`.
    """
    if b'"' in content:
        content = _SECRET.sub(_BLANKED_VALUE, content)
    return without_secrets(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def blanked_headers(headers: Mapping[str, str], without_secrets: Callable[[str], str]) -> dict[str, str]:
    """The few headers that say what was asked and whether a page follows, with names in lower case."""
    named = {name.lower(): value for name, value in headers.items()}
    return {name: without_secrets(named[name]) for name in sorted(_HEADERS & named.keys())}


def blanked_query(query: Mapping[str, str], without_secrets: Callable[[str], str]) -> dict[str, str]:
    """The query; a parameter that carries a secret by its name keeps the name alone."""
    names = {name.decode() for name in _FIELDS}
    return {name: BLANK if name.lower() in names else without_secrets(value) for name, value in query.items()}
