"""What a question about the data cannot answer, with the remedy. Missing data are an exception, never an empty frame.

The rule: a question about a day, a symbol or a kind of record that was not collected raises one of these. Where it was
collected and there was none (a symbol had a slot and did not trade), the frame is empty.
"""

import importlib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from observer.base.errors import NoDataError, ObserverError
from observer.base.extras import install_command

_SHOWN = 5


class UnknownSymbol(NoDataError):  # noqa: N818 - the name of the public API
    """No stored listing, universe, slot or record has the symbol."""


class UnknownDay(NoDataError):  # noqa: N818 - the name of the public API
    """The day is not stored."""


class NotCollected(NoDataError):  # noqa: N818 - the name of the public API
    """The day and the symbol are stored, and what was asked for was not collected of them."""


class MissingExtra(ObserverError):  # noqa: N818 - the name of the public API
    """A package of the extra `research` is not installed."""


def require_extra(package: str) -> None:
    """Import a package of the extra `research`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(f"{package} is not installed: {install_command('research')}") from error


def unknown_symbol(symbol: str, known: Iterable[str]) -> UnknownSymbol:
    """The error for a symbol that is not among the known ones; it names the nearest of these."""
    nearest = get_close_matches(symbol, list(known), 3)
    remedy = (
        f"did you mean {' or '.join(nearest)}?"
        if nearest
        else "`observer listings`, or instruments(), lists what is known"
    )
    return UnknownSymbol(f"{symbol!r} is not a stored symbol: {remedy}")


def unknown_day(day: str, stored: Sequence[str]) -> UnknownDay:
    """The error for a day, or a span of days, that is not stored; it names stored days."""
    if not stored:
        return UnknownDay(f"{day} is not stored, and no other day is: `observer run` or `observer demo` stores one")
    some = ", ".join(stored[-_SHOWN:])
    more = f" and {len(stored) - _SHOWN} earlier" if len(stored) > _SHOWN else ""
    return UnknownDay(f"{day} is not stored: stored are {some}{more}; days() lists them")


def rows_removed(day: str) -> NoDataError:
    """The error for rows of a stored day that were removed from the database, where no lake was opened beside it."""
    return NoDataError(
        f"the rows of {day} were removed from this database ([store] keep_days): open its configuration or the folder "
        "of its lake, which has them"
    )
