"""The instance: one market, collected with the accounts of one or several brokers, in a database of its own. Pure.

An SQLite file belongs to one instance. In one PostgreSQL database each instance has a schema of its name; `main` has
the schema that the URL or the server's configuration selects.
"""

from typing import Annotated, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec

MAIN: Final = "main"

# A schema of PostgreSQL without quotation marks.
InstanceName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[a-z][a-z0-9_]{0,39}\Z",
        description="a name of at most 40 small letters, digits and underscores, a letter first",
    ),
]
Market = Annotated[  # a `TradingVenue.market`
    str, msgspec.Meta(pattern=r"\A[a-z][a-z0-9_]{0,15}\Z", description="the name of a market, such as kr_stocks")
]


class Instance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[instance]` of the configuration."""

    name: InstanceName = MAIN
    market: Market = "kr_stocks"


def instance_url(url: str, instance: Instance) -> str:
    """The URL with the instance's schema as its search path. A URL of SQLite, of 'main' or with a path of its own
    stays as it is.
    """
    address = urlsplit(url)
    if instance.name == MAIN or not address.scheme.startswith("postgresql"):
        return url
    query = dict(parse_qsl(address.query, keep_blank_values=True))
    if schema_in(query.get("options", "")) is not None:
        return url
    query["options"] = f"{query.get('options', '')} -csearch_path={instance.name}".strip()
    return address._replace(query=urlencode(query, quote_via=quote)).geturl()


def schema_in(options: str) -> str | None:
    """The schema that the `options` of a PostgreSQL URL select; None without one."""
    found = [option for option in options.split() if option.startswith("-csearch_path=")]
    return found[-1].partition("=")[2] if found else None
