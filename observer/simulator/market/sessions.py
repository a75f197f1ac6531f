"""When trades happen at the simulated venues, as data with dates, and what a late opening does to it. Pure.

An independent statement: the product has its own table and reads none of this one. Sources: the reference of 2026-11,
and for a late opening (the university entrance exam's day) what exchange and venue announced for 2025-11-13: the
regular sessions move as a whole, what follows them begins later and ends as ever, and NXT has no pre-market.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from observer.simulator.market.tape import OPEN_S

Venue = Literal["KRX", "NXT"]
SessionName = Literal["pre", "regular", "closing_auction", "after"]
LateOpening = Literal["moves", "begins_later", "absent"]


class Session(msgspec.Struct, frozen=True):
    """A venue's session from `start_s` until just before `end_s`, in seconds after local midnight.

    The opening cross is the regular session's first trade. A session exists on days from `since` (ISO date) on. `etps`:
    ETFs and ETNs are traded in it, too. `late_opening`: what a day that opens later does to it.
    """

    venue: Venue
    name: SessionName
    start_s: int
    end_s: int
    since: str = ""
    etps: bool = False
    late_opening: LateOpening = "moves"


def _at(hour: int, minute: int = 0, second: int = 0) -> int:
    return hour * 3_600 + minute * 60 + second


SESSIONS: Final = (
    Session("KRX", "regular", _at(9), _at(15, 20), etps=True),
    Session("KRX", "closing_auction", _at(15, 20), _at(15, 30), etps=True),
    Session("KRX", "after", _at(16), _at(20), since="2026-09-14", late_opening="begins_later"),
    Session("NXT", "pre", _at(8), _at(8, 50), since="2025-03-04", late_opening="absent"),
    Session("NXT", "regular", _at(9, 0, 30), _at(15, 20), since="2025-03-04"),
    # Sources differ between 15:30 and 15:40: the earlier one, so that a client meets the trades between them.
    Session("NXT", "after", _at(15, 30), _at(20), since="2025-03-04", late_opening="begins_later"),
)


def sessions_on(session_date: str, opens_s: int, venue: Venue) -> tuple[Session, ...]:
    """The venue's sessions of a day on which the KRX opens `opens_s` seconds after local midnight, in their order."""
    later_s = opens_s - OPEN_S
    held = (each for each in SESSIONS if each.venue == venue and each.since <= session_date)
    moved = (_moved(each, later_s) for each in held if later_s == 0 or each.late_opening != "absent")
    return tuple(each for each in moved if each.start_s < each.end_s)


def session_at(sessions: Sequence[Session], second_of_day: float) -> SessionName | None:
    """The session of a moment; None between sessions. The closing cross is the closing auction's last moment."""
    for each in sessions:
        if each.start_s <= second_of_day < each.end_s or (
            each.name == "closing_auction" and second_of_day == each.end_s
        ):
            return each.name
    return None


def _moved(session: Session, later_s: int) -> Session:
    ends_later_s = later_s if session.late_opening == "moves" else 0
    return msgspec.structs.replace(session, start_s=session.start_s + later_s, end_s=session.end_s + ends_later_s)
