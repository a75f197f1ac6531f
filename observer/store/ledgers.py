"""The ledgers of overflow and of recovery as files for people and their tools: their names and their lines. Pure.

A day is the session's, and the time of day in a name is Korean; times in the lines are UTC, as both formats write them
(`Z`, `+00:00`). The same events make the same bytes.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from bus.events import (
    GapDetected,
    GapReason,
    GapRecovered,
    MinuteBarRecovered,
    RecoverySource,
    SlotOverflowed,
    Trade,
)
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S, plain
from observer.selection.triggers import OVERFLOW_MEASURES

_METHODS: Final[dict[RecoverySource, str]] = {
    "minute_bars": "rest_api_minute_bar",
    "time_and_sales": "rest_api_time_and_sales",
}
# The requirement's words where it has some.
_REASONS: Final[dict[GapReason, str]] = {
    "reconnect": "websocket_reconnect",
    "token_renewal": "token_refresh",
    "volume_mismatch": "unexpected_gap",
    "restart": "restart",
    "moved": "moved",
}
# The reason for the missing slot, in the requirement's words.
_REFUSALS: Final = {
    "all_slots_hold_higher_scores": "SLOTS occupied by higher priority",
    "not_above_threshold": "SLOTS occupied by priority that is not outscored by the replacement threshold",
    "all_slots_pinned": "SLOTS pinned",
    "delisted": "Delisted",
}


def overflow_path(provider: str, session_date: str) -> str:
    """The path of a day's overflow ledger, below the folder of all ledgers."""
    return f"system/overflow/{provider}/{_compact(session_date)}_overflow.jsonl"


def overflow_line(overflow: SlotOverflowed) -> bytes:
    """One refusal as a line, line end included. `metadata` has the trigger's measure and the market value."""
    slots = f"All {overflow.slots} slots" if overflow.slots else "All slots"
    name = OVERFLOW_MEASURES.get(overflow.trigger)
    measure = {} if name is None else {name: overflow.measure}
    return _line(
        {
            "timestamp": _moment(overflow.overflowed_ns).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "symbol": overflow.symbol,
            "trigger_type": overflow.trigger.upper(),
            "trigger_strength": overflow.strength,
            "priority_score": overflow.score,
            "reason": _REFUSALS.get(overflow.reason, overflow.reason).replace("SLOTS", slots),
            "current_slot_min_score": overflow.lowest_score,
            "metadata": {**measure, "market_cap": plain(overflow.market_cap)},
        }
    )


def recovery_folder(provider: str, market: str, session_date: str) -> str:
    """The folder of a market's recoveries of a day, below the folder of all ledgers."""
    return f"scalp/{provider}/{market}/{_compact(session_date)}"


def recovery_path(market: str, gap: GapDetected) -> str:
    """The path of a gap's recovery ledger. Gaps of one symbol that began in the same second share a ledger."""
    began = local_datetime(gap.from_ns)
    return f"{recovery_folder(gap.provider, market, gap.session_date)}/recovery_{began:%H%M%S}_{gap.symbol}.jsonl"


def recovery_lines(
    gap: GapDetected, recovered: GapRecovered, rows: Sequence[Trade | MinuteBarRecovered]
) -> list[bytes]:
    """The lines of a gap's recovery: one for each bar; a trade is a bar of its one price."""
    meta = {
        "source": "gap_recovery",
        "recovery_method": _METHODS[recovered.source],
        "original_gap": {
            "start": _moment(gap.from_ns).isoformat(),
            "end": _moment(gap.to_ns).isoformat(),
            "duration_seconds": (gap.to_ns - gap.from_ns) / NS_PER_S,
            "reason": _REASONS[gap.reason],
        },
        "recovered_at": _moment(recovered.recovered_ns).isoformat(),
    }
    return [_line({"meta": meta, "instruments": [_instrument(row)]}) for row in rows]


def lines_without(rows: Iterable[bytes], lines: Iterable[bytes]) -> list[bytes]:
    """Those of a recovery's lines whose bars are not among the lines of `rows`, whatever both say of the gap."""
    left = Counter(map(_bar_in, rows))
    kept: list[bytes] = []
    for line in lines:
        if left[bar := _bar_in(line)]:
            left[bar] -= 1
        else:
            kept.append(line)
    return kept


class _Line(msgspec.Struct, frozen=True):
    """The part of a recovery's line that identifies its bar."""

    instruments: msgspec.Raw


def _bar_in(line: bytes) -> bytes:
    try:
        return bytes(msgspec.json.decode(line, type=_Line).instruments)
    except (ValueError, RecursionError):  # a person wrote it
        return line


def _instrument(row: Trade | MinuteBarRecovered) -> dict[str, object]:
    if isinstance(row, Trade):
        moment_ns, prices = row.exchange_time_ns, (row.price,) * 4
    else:
        moment_ns, prices = row.minute_start_ns, (row.open, row.high, row.low, row.close)
    return {
        "symbol": row.symbol,
        "timestamp": _moment(moment_ns).isoformat(),
        "price": dict(zip(("open", "high", "low", "close"), prices, strict=True)),
        "volume": plain(row.volume),
        "data_quality": "recovered",
    }


def _line(record: dict[str, object]) -> bytes:
    return f"{json.dumps(record, ensure_ascii=False)}\n".encode()


def _moment(moment_ns: int) -> datetime:
    """To the microsecond; `fromtimestamp` of a float would round."""
    return datetime.fromtimestamp(moment_ns // NS_PER_S, UTC) + timedelta(microseconds=moment_ns % NS_PER_S // 1_000)


def _compact(session_date: str) -> str:
    return session_date.replace("-", "")
