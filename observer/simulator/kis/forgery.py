"""False trades on the wire: well-formed records of a subscribed symbol that no market made. Pure.

KIS's stream is not encrypted, so any host on the way can add such records. Each is the last record of a true frame with
one thing changed; most state the next trade's volume, so that a client which believes them drops true trades.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from observer.simulator.kis.wire import is_trade

if TYPE_CHECKING:
    from random import Random

ForgeryKind = Literal["volume", "block", "tomorrow", "month_ahead", "midnight", "price", "negative"]
FORGERY_KINDS: Final[tuple[ForgeryKind, ...]] = get_args(ForgeryKind)

# Places in a trade's record (docs/kis.md#trades).
_HOUR: Final = 1
_PRICE: Final = 2
_VOLUME: Final = 12
_VOLUME_AFTER: Final = 13
_DATE: Final = 33
_TIMES: Final = 1000


class Forgery(msgspec.Struct, frozen=True):
    """A false record and the frame that carried it alone."""

    kind: ForgeryKind
    symbol: str
    sent_ns: int
    frame: str


def forged(frame: str, generator: Random, now_ns: int) -> Forgery | None:
    """A false record after the last one of a frame; None where that is no trade."""
    _, tr_id, count, payload = frame.split("|", 3)
    fields = payload.split("^")
    record = fields[-(len(fields) // int(count)) :]
    if not tr_id.endswith("CNT0") or not is_trade(record):
        return None
    kind = generator.choice(FORGERY_KINDS)
    for place, text in _changes(kind, record).items():
        record[place] = text
    return Forgery(kind, record[0], now_ns, f"0|{tr_id}|001|{'^'.join(record)}")


def _changes(kind: ForgeryKind, record: list[str]) -> Mapping[int, str]:
    """The fields that differ from the true record, by place."""
    volume, total = int(record[_VOLUME]), int(record[_VOLUME_AFTER])
    following = {_VOLUME_AFTER: str(total + volume)}
    match kind:
        case "volume":  # as if trades were missing before it
            return {_VOLUME_AFTER: str(_TIMES * total)}
        case "block":  # as if nothing were missing
            return {_VOLUME: str((_TIMES - 1) * total), _VOLUME_AFTER: str(_TIMES * total)}
        case "tomorrow":
            return {**following, _DATE: _days_later(record[_DATE], 1)}
        case "month_ahead":
            return {**following, _DATE: _days_later(record[_DATE], 30)}
        case "midnight":
            return {**following, _HOUR: "235959"}
        case "price":
            return {**following, _PRICE: str(10 * int(record[_PRICE]))}
        case "negative":
            return {**following, _VOLUME: str(-volume)}


def _days_later(day: str, days: int) -> str:
    later = date(int(day[:4]), int(day[4:6]), int(day[6:])) + timedelta(days=days)
    return later.strftime("%Y%m%d")
