"""What was listed on a day, from the changes that master files showed. Pure."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final, Literal

import msgspec
import polars as pl

from bus.events import ListingChanged
from observer.base.errors import ConfigError
from observer.base.local_time import local_datetime
from observer.reference.listings.kinds import KINDS, kind_of

_REMOVED: Final = "removed"
_STRONGEST: Final = ("listed", "unknown", "not listed")  # of the answers of several exchanges

_SCHEMA: Final[dict[str, Any]] = {
    "symbol": pl.String,
    "exchange": pl.String,
    "name": pl.String,
    "english_name": pl.String,
    "isin": pl.String,
    "kind": pl.String,
    "currency": pl.String,
    "market_cap": pl.Float64,
    "listed_shares": pl.Float64,
    "listed_on": pl.Date,
    "suspended": pl.Boolean,
    "administrative": pl.Boolean,
    "preferred": pl.Boolean,
    "spac": pl.Boolean,
    "change": pl.String,
    "changed": pl.Datetime("ns"),
}


class Listed(msgspec.Struct, frozen=True):
    """Whether a symbol was listed on a day, and how that is known. `since` is the first day of the listing, None if it
    is not known.
    """

    symbol: str
    on: date
    status: Literal["listed", "not listed", "unknown"]
    since: date | None
    exchange: str
    name: str
    evidence: str


def instruments(changes: Iterable[ListingChanged], kind: str | None, zone: str) -> pl.DataFrame:
    """The instruments that are listed after these changes, of one kind or of all, by exchange and symbol.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"{kind!r} is no kind of instrument: give one of {', '.join(KINDS)}")
    last = {(each.exchange, each.symbol): each for each in changes}
    rows = [_row(last[key]) for key in sorted(last) if last[key].change != _REMOVED]
    found = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    found = found.with_columns(pl.col("changed").dt.replace_time_zone("UTC").dt.convert_time_zone(zone))
    return found if kind is None else found.filter(pl.col("kind") == kind)


def frame_of(listed: Listed) -> pl.DataFrame:
    """The answer as a row."""
    values = msgspec.structs.asdict(listed)
    return pl.DataFrame([values], schema=dict.fromkeys(values, pl.String) | {"on": pl.Date, "since": pl.Date})


def listed_on(symbol: str, on: date, changes: Sequence[ListingChanged], first_files: dict[str, date]) -> Listed:
    """Whether the symbol was listed on a day: listed if an exchange's files say so, not listed if those of each
    exchange say so, else unknown.

    Args:
        symbol: the instrument.
        on: the day.
        changes: the symbol's changes, oldest first, at least one.
        first_files: by exchange, the day of its first master file.
    """
    exchanges = dict.fromkeys(each.exchange for each in reversed(changes))  # the newest one first
    found = [
        _listed_at(symbol, on, [each for each in changes if each.exchange == exchange], first_files.get(exchange))
        for exchange in exchanges
    ]
    return min(found, key=lambda each: _STRONGEST.index(each.status))


def _listed_at(symbol: str, on: date, own: Sequence[ListingChanged], first_file: date | None) -> Listed:
    """The answer of one exchange's changes, which are at least one."""
    exchange = own[0].exchange
    until = [each for each in own if _day(each) <= on]
    state = until[-1] if until else own[0]
    stated = date.fromisoformat(state.listed_on) if state.listed_on else None
    source = f"{exchange} master file of {_day(state)}"

    def answer(status: Literal["listed", "not listed", "unknown"], evidence: str) -> Listed:
        return Listed(symbol, on, status, stated, exchange, state.name, evidence)

    if until and state.change == _REMOVED:
        return answer("not listed", f"absent since the {source}")
    if stated is not None and on < stated:
        return answer("not listed", f"listed on {stated}, says the {source}")
    if until or stated is not None:
        return answer("listed", f"{source}" + (f": listed on {stated}" if stated else ""))
    if state.change == "new" and first_file is not None and first_file <= on:
        return answer("not listed", f"first in the {source}, and files are read since {first_file}")
    return answer("unknown", f"the first file of {exchange} is of {first_file}, and it states no day of listing")


def _row(each: ListingChanged) -> tuple[object, ...]:
    return (
        each.symbol, each.exchange, each.name, each.english_name, each.isin, kind_of(each), each.currency,
        each.market_cap, each.listed_shares, date.fromisoformat(each.listed_on) if each.listed_on else None,
        each.suspended, each.administrative, each.preferred, each.spac, each.change, each.changed_ns,
    )  # fmt: skip


def _day(change: ListingChanged) -> date:
    return local_datetime(change.changed_ns).date()
