"""KIS's codes of the venues: division codes of calls, the third and fourth letter of a stream's TR id. Pure.

`J` KRX, `NX` NXT; streams H0ST... and H0NX... (kis-api.md, sections 0 and 5). Nothing outside KIS's folder knows these.
What covers both as one market (UN, H0UN...) is not used: its trades are missing for what NXT does not trade.
"""

from collections.abc import Mapping
from typing import Final

from observer.errors import BadRequestError
from observer.lines import line_id, venue_of

KRX: Final = "KRX"
NXT: Final = "NXT"
VENUES: Final = (KRX, NXT)
"""The main venue first."""

_DIVISIONS: Final[Mapping[str, str]] = {KRX: "J", NXT: "NX"}
_VENUES: Final = {division: venue for venue, division in _DIVISIONS.items()}


def division_of(line: str) -> str:
    """FID_COND_MRKT_DIV_CODE of a line's venue.

    Raises:
        BadRequestError: KIS does not serve the venue.
    """
    venue = venue_of(line, KRX)
    if venue not in _DIVISIONS:
        raise BadRequestError(f"{line}: KIS serves no venue {venue!r}; there are {', '.join(VENUES)}")
    return _DIVISIONS[venue]


def line_at(division: str, symbol: str) -> str:
    """The line that a division code and a symbol mean. Of any other code the symbol alone."""
    return line_id(symbol, _VENUES.get(division, KRX), KRX)
