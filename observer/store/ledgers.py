"""The ledgers of overflow and of recovery as files for people and their tools: their names and their lines. Pure.

Formats: requirement 004, Overflow Ledger and Gap Recovery Engine. A day is the session's, and the time of day in a name
is Korean; times in the lines are UTC, as both formats write them (`Z`, `+00:00`). The same events make the same bytes.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from bus.events import (
    GapDetected,
    GapReason,
    GapRecovered,
    MinuteBarRecovered,
    RecoverySource,
    SlotOverflowed,
    Trade,
    TriggerKind,
)

MARKET: Final = "kr_stocks"

_NS_PER_S: Final = 1_000_000_000
_KST: Final = timezone(timedelta(hours=9), "KST")  # Korea has had no daylight saving time since 1988

# What a trigger's measure is. The requirement names the first; the others have nothing that it could be mistaken for.
_MEASURES: Final[dict[TriggerKind, str]] = {
    "volume_surge": "volume_ratio",
    "trade_velocity": "trades_per_sec",
    "volatility_spike": "atr_ratio",
}
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
# Why there was no place, as the requirement says it.
_REFUSALS: Final = {
    "all_places_hold_higher_scores": "SLOTS occupied by higher priority",
    "not_above_threshold": "SLOTS occupied by priority that is not outscored by the replacement threshold",
    "all_places_pinned": "SLOTS pinned",
    "delisted": "Delisted",
}


def overflow_path(provider: str, session_date: str) -> str:
    """Where the overflow of a day is told, below the folder of all ledgers."""
    return f"system/overflow/{provider}/{_compact(session_date)}_overflow.jsonl"


def overflow_line(overflow: SlotOverflowed) -> bytes:
    """One refusal, with its line end. `metadata` has the trigger's measure and the market value in won."""
    slots = f"All {overflow.places} slots" if overflow.places else "All slots"
    measure = {_MEASURES[overflow.trigger]: overflow.measure} if overflow.trigger in _MEASURES else {}
    return _line(
        {
            "timestamp": _moment(overflow.overflowed_ns).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "symbol": overflow.symbol,
            "trigger_type": overflow.trigger.upper(),
            "trigger_strength": overflow.strength,
            "priority_score": overflow.score,
            "reason": _REFUSALS.get(overflow.reason, overflow.reason).replace("SLOTS", slots),
            "current_slot_min_score": overflow.lowest_score,
            "metadata": {**measure, "market_cap": _whole(overflow.market_cap_krw)},
        }
    )


def recovery_folder(provider: str, session_date: str) -> str:
    """Where the recoveries of a day are, below the folder of all ledgers."""
    return f"scalp/{provider}/{MARKET}/{_compact(session_date)}"


def recovery_path(gap: GapDetected) -> str:
    """Where the recovery of a gap is told; gaps of one symbol that began in one second share it."""
    began = datetime.fromtimestamp(gap.from_ns // _NS_PER_S, _KST)
    return f"{recovery_folder(gap.provider, gap.session_date)}/recovery_{began:%H%M%S}_{gap.symbol}.jsonl"


def recovery_lines(gap: GapDetected, recovered: GapRecovered, rows: Sequence[Trade | MinuteBarRecovered]) -> bytes:
    """What was recovered for a gap, a line each: a trade is a bar of its one price."""
    meta = {
        "source": "gap_recovery",
        "recovery_method": _METHODS[recovered.source],
        "original_gap": {
            "start": _moment(gap.from_ns).isoformat(),
            "end": _moment(gap.to_ns).isoformat(),
            "duration_seconds": (gap.to_ns - gap.from_ns) / _NS_PER_S,
            "reason": _REASONS[gap.reason],
        },
        "recovered_at": _moment(recovered.recovered_ns).isoformat(),
    }
    return b"".join(_line({"meta": meta, "instruments": [_instrument(row)]}) for row in rows)


def _instrument(row: Trade | MinuteBarRecovered) -> dict[str, object]:
    if isinstance(row, Trade):
        moment_ns, prices = row.exchange_time_ns, (row.price,) * 4
    else:
        moment_ns, prices = row.minute_start_ns, (row.open, row.high, row.low, row.close)
    return {
        "symbol": row.symbol,
        "timestamp": _moment(moment_ns).isoformat(),
        "price": dict(zip(("open", "high", "low", "close"), prices, strict=True)),
        "volume": _whole(row.volume),
        "data_quality": "recovered",
    }


def _line(record: dict[str, object]) -> bytes:
    return f"{json.dumps(record, ensure_ascii=False)}\n".encode()


def _moment(moment_ns: int) -> datetime:
    """To the microsecond; `fromtimestamp` of a float would round."""
    return datetime.fromtimestamp(moment_ns // _NS_PER_S, UTC) + timedelta(microseconds=moment_ns % _NS_PER_S // 1_000)


def _compact(session_date: str) -> str:
    return session_date.replace("-", "")


def _whole(amount: float) -> int | float:
    """Shares and won are whole in Korea; a fraction is kept where there is one."""
    return int(amount) if amount.is_integer() else amount
