"""Lines: a stock at one venue, and the id that everything is keyed by. Pure; no venue is named here.

A broker has a main venue (`Broker.venues`, the first one). There a line's id is the stock's own symbol; at every other
venue it is the symbol, a dot and the venue's name, `SYMBOL` and `SYMBOL.VENUE`. Symbols and names of venues are letters
and digits, so an id is read in one way only.
"""

from typing import Final

import msgspec

SEPARATOR: Final = "."
"""Between symbol and venue of an id; only this module knows it."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """A stock's `symbol` at a `venue`; the empty name is the broker's main venue."""

    symbol: str
    venue: str = ""

    @property
    def id(self) -> str:
        """The line's id: `SYMBOL` at the main venue, `SYMBOL.VENUE` at another."""
        return f"{self.symbol}{SEPARATOR}{self.venue}" if self.venue else self.symbol


def line_of(line_id: str) -> Line:
    """The line of an id; `venue` is empty for the main venue, whose name the caller knows (`venue_of`)."""
    symbol, _, venue = line_id.partition(SEPARATOR)
    return Line(symbol, venue)


def stock_of(line_id: str) -> str:
    """The stock's own symbol."""
    return line_id.partition(SEPARATOR)[0]


def venue_of(line_id: str, main_venue: str) -> str:
    """The name of the line's venue."""
    return line_id.partition(SEPARATOR)[2] or main_venue


def line_id(symbol: str, venue: str, main_venue: str) -> str:
    """The id of a stock's line at a venue; an empty name means the main venue."""
    return Line(symbol, "" if venue == main_venue else venue).id
