"""The universe as a file for people and their tools, in the format of requirement 004 (Universe, File Structure). Pure.

The file says what the database has, and nothing else: the same universe always makes the same bytes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from bus.events import UniverseBuilt, UniverseMember

VERSION: Final = "1.0"
FILES_KEPT: Final = 10  # requirement 004, Universe Update Policy: ten days
_NS_PER_S: Final = 1_000_000_000


def file_name(session_date: str, market: str) -> str:
    """`{YYYYMMDD}_{market}.json`; names sort by day."""
    return f"{_compact(session_date)}_{market}.json"


def outdated(names: Sequence[str], market: str) -> Sequence[str]:
    """Of the names in the folder those of this market's files but the newest ten."""
    days = {name: name.removesuffix(f"_{market}.json") for name in names}
    files = sorted(name for name, day in days.items() if len(day) == len("YYYYMMDD") and day.isdecimal())
    return files[:-FILES_KEPT]


def content_of(built: UniverseBuilt, members: Sequence[UniverseMember]) -> bytes:
    """The file's content. Beside the requirement's keys of a symbol: its rank, its exchange, and its average true range
    of 14 days in won; an average that is not known is null. Won and shares are whole numbers.
    """
    document = {
        "metadata": {
            "date": _compact(built.session_date),
            "previous_trading_day": _compact(built.previous_session_date),
            "generated_at": datetime.fromtimestamp(built.built_ns // _NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "symbol_count": built.symbols,
            "market": built.market,
            "filter_criteria": f"close_price >= {built.minimum_close_krw:g} KRW",
            "version": VERSION,
        },
        "symbols": [_symbol(member) for member in members],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _symbol(member: UniverseMember) -> dict[str, str | int | float | None]:
    return {
        "code": member.symbol,
        "name": member.name,
        "market_cap": round(member.market_cap_krw),
        "prev_close": round(member.previous_close),
        "avg_volume_20d": None if member.average_volume_20d is None else round(member.average_volume_20d),
        "average_true_range_14d": member.average_true_range_14d,
        "exchange": member.exchange,
        "rank": member.rank,
    }


def _compact(iso_date: str) -> str:
    return iso_date.replace("-", "")
