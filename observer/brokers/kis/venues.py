"""KIS's codes of the venues: division codes of calls, the third and fourth letter of a stream's TR id. Pure.

`J` KRX, `NX` NXT; streams H0ST... and H0NX... (docs/kis.md#sessions-and-venues). Nothing outside KIS's folder knows
these. What covers both as one market (UN, H0UN...) is not used: its trades are missing for what NXT does not trade.
Read from a recording it is a line of its own: it counts volumes of its own, and must mix with neither.
"""

from collections.abc import Mapping
from typing import Final

from observer.base.errors import BadRequestError
from observer.base.lines import line_id, venue_of

KRX: Final = "KRX"
NXT: Final = "NXT"
VENUES: Final = (KRX, NXT)
"""The main venue first."""
CONSOLIDATED: Final = "both"

VENUE_FILES: Final[Mapping[str, tuple[str, ...]]] = {NXT: ("NXT_KOSPI", "NXT_KOSDAQ")}
"""Names of the master files that list what a venue beside the main one trades."""

STREAM_LETTERS: Final[Mapping[str, str]] = {KRX: "ST", NXT: "NX"}
"""Of a TR id, behind its first two."""

_DIVISIONS: Final[Mapping[str, str]] = {KRX: "J", NXT: "NX"}
_VENUES: Final = {**{division: venue for venue, division in _DIVISIONS.items()}, "UN": CONSOLIDATED}


def division_of(line: str) -> str:
    """FID_COND_MRKT_DIV_CODE of a line's venue.

    Raises:
        BadRequestError: KIS does not serve the venue.
    """
    venue = venue_of(line, KRX)
    if venue not in _DIVISIONS:
        raise BadRequestError(f"{line}: KIS serves no venue {venue!r}; there are {', '.join(VENUES)}")
    return _DIVISIONS[venue]


def venue_named(line: str) -> str:
    """The name of a line's venue."""
    return venue_of(line, KRX)


def quoted_line(symbol: str, lines: Mapping[str, str]) -> str:
    """The line of a row that names the symbol alone, of the lines that were asked for, by their symbols."""
    stripped = symbol.strip()
    return lines.get(stripped, stripped)


def quoted_venue(symbol: str, lines: Mapping[str, str]) -> str:
    """The name of the venue of that line."""
    return venue_of(quoted_line(symbol, lines), KRX)


def line_at(symbol: str, division: str) -> str:
    """The line that a symbol and a division code mean; with any other code that at the main venue."""
    return line_id(symbol, _VENUES.get(division, KRX), KRX)
