"""Symbols and venues as they are typed: a stock at one venue (a line), or at all its venues."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec

from bus.events import SlotAssigned
from observer.base.errors import ConfigError, NoDataError
from observer.base.lines import line_id, line_of, venue_of
from observer.calendar.venues import VENUES
from observer.cli.options import Argument, Option

if TYPE_CHECKING:
    from observer.store.reader import StoreReader

SymbolArgument = Annotated[str, Argument(help="The symbol; SYMBOL.VENUE is the stock at another venue.")]
SymbolOption = Annotated[
    str | None, Option(help="Show one symbol only; SYMBOL.VENUE is the stock at another venue.")
]  # fmt: skip
VenueOption = Annotated[str | None, Option(help="Show this venue only.")]


class AskedLines(msgspec.Struct, frozen=True):
    """The lines that a command is about, as they were typed: all, those of a symbol, of a venue, or of both.

    `symbol` is a line's id.
    """

    symbol: str | None = None
    venue: str | None = None
    main_venue: str = ""

    @property
    def title(self) -> str:
        """What the lines are, to follow a noun; empty for all of them."""
        of_symbol = "" if self.symbol is None else f" of {self.symbol}"
        return of_symbol or ("" if self.venue is None else f" at {self.venue}")

    def has(self, line: str) -> bool:
        """Whether the line with this id is one of them."""
        if self.symbol is not None:
            return line == self.symbol
        return self.venue in (None, venue_of(line, self.main_venue))


def asked_lines(symbol: str | None, venue: str | None, market: str) -> AskedLines:
    """The lines that a symbol and a venue mean; the main venue's name may stand behind the symbol, too.

    Raises:
        ConfigError: the symbol names another venue than the option.
    """
    main_venue = main_venue_of(market)
    named = None if venue is None else venue.upper()
    if symbol is None:
        return AskedLines(None, named, main_venue)
    own = line_of(symbol)
    if own.venue and named not in (None, own.venue):
        raise ConfigError(f"{symbol} is not at {named}: give the symbol alone, or its venue once")
    return AskedLines(line_id(own.symbol, named or own.venue, main_venue), named, main_venue)


def typed_line(symbol: str, market: str) -> str:
    """The id of the line that a typed symbol means: the main venue's name behind it is left out."""
    own = line_of(symbol)
    return line_id(own.symbol, own.venue, main_venue_of(market))


def without_slot(lines: AskedLines, session_date: str, streamed: Iterable[str]) -> NoDataError:
    """The error of lines that had no slot on a day; `streamed` are the ids of those that had one."""
    if lines.symbol is not None:
        return NoDataError(f"no trades{lines.title} on {session_date}: it had no slot")
    venues = ", ".join(sorted({venue_of(each, lines.main_venue) for each in streamed})) or "no venue"
    return NoDataError(f"no trades{lines.title} on {session_date}: symbols of {venues} had the slots")


def main_venue_of(market: str) -> str:
    """The main venue of a market; empty for an unknown market."""
    return next((venue.name for venue in VENUES if venue.market == market), "")


def require_slot(reader: "StoreReader", lines: AskedLines, session_date: str) -> None:
    """Return if one of the named lines had a slot on that stored day, or none is named.

    Raises:
        NoDataError: they had none, so no trades of them were streamed.
    """
    if not lines.title:
        return
    streamed = {each.symbol for each in reader.slot_history(session_date) if isinstance(each, SlotAssigned)}
    if not any(map(lines.has, streamed)):
        raise without_slot(lines, session_date, streamed)
