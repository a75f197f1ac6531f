"""Data frames that are not as they should be, and what becomes of each record in them. Pure; chance is passed in.

Of a broken frame a client may keep the whole records or not, but it must not take what is broken for a trade, and what
it does not keep is a hole. So a record that is whole in a broken frame is *doubtful*, and one that cannot be read is
*broken*: stored trades = (sent and doubtful) less those inside recorded gaps, whatever the client's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from observer.simulator.misbehaviour import Misbehaviour

if TYPE_CHECKING:
    from random import Random

Fate = Literal["sent", "doubtful", "broken"]

_UNREADABLE: Final = "#@!"
# Fields that no client can do without (of a trade: price, volume, cumulative volume).
_NEEDED_FIELDS: Final = (2, 12, 13)
_LONGEST_STUMP_FIELDS: Final = 12


class WireFrame(msgspec.Struct, frozen=True):
    """What is put on the wire for one frame: its text, how often, and the fate of each of its records."""

    text: str
    times: int
    fates: tuple[Fate, ...]


def on_the_wire(frame: str, misbehaviour: Misbehaviour, now_ns: int) -> WireFrame:
    """The frame as the faults of the moment leave it; at most one of them damages it."""
    count = record_count(frame)
    if misbehaviour.strikes("malformed", now_ns):
        return _malformed(frame, count, misbehaviour.chance("malformed"))
    if misbehaviour.strikes("truncated", now_ns):
        return _truncated(frame, count, misbehaviour.chance("truncated"))
    if misbehaviour.strikes("wrong_count", now_ns):
        return _wrongly_counted(frame, count, misbehaviour.chance("wrong_count"))
    return WireFrame(frame, 2 if misbehaviour.strikes("duplicated", now_ns) else 1, _all("sent", count))


def record_count(frame: str) -> int:
    """The number of records that a whole frame states."""
    return int(frame.split("|", 3)[2])


def _all(fate: Fate, count: int) -> tuple[Fate, ...]:
    return (fate,) * count


def _malformed(frame: str, count: int, generator: Random) -> WireFrame:
    """One of three: a header that is none, bytes that mean nothing, or one record with unreadable numbers."""
    choice = generator.randrange(3)
    if choice == 0:
        return WireFrame(frame.replace("|", "!"), 1, _all("broken", count))
    if choice == 1:
        return WireFrame("0|" + _UNREADABLE * generator.randint(1, 40), 1, _all("broken", count))
    head, _, payload = frame.rpartition("|")
    fields = payload.split("^")
    broken, width = generator.randrange(count), len(fields) // count
    for place in _NEEDED_FIELDS:
        if place < width:
            fields[broken * width + place] = _UNREADABLE
    fates: list[Fate] = ["doubtful"] * count
    fates[broken] = "broken"
    return WireFrame(f"{head}|{'^'.join(fields)}", 1, tuple(fates))


def _truncated(frame: str, count: int, generator: Random) -> WireFrame:
    """The records before the cut are whole; the one that is cut lacks most of its fields."""
    head, _, payload = frame.rpartition("|")
    fields = payload.split("^")
    width, kept = len(fields) // count, generator.randrange(count)
    stump = generator.randint(1, min(_LONGEST_STUMP_FIELDS, width - 1))
    fates: tuple[Fate, ...] = (*_all("doubtful", kept), *_all("broken", count - kept))
    return WireFrame(f"{head}|{'^'.join(fields[: kept * width + stump])}", 1, fates)


def _wrongly_counted(frame: str, count: int, generator: Random) -> WireFrame:
    """One record more or less is stated than there is; the records themselves are whole."""
    stated = count + 1 if count == 1 else count + generator.choice((-1, 1))
    encrypted, tr_id, _, payload = frame.split("|", 3)
    return WireFrame(f"{encrypted}|{tr_id}|{stated:03d}|{payload}", 1, _all("doubtful", count))
