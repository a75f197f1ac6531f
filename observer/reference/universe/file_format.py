"""The universe as a readable file, in the format that the requirement gives. Pure.

The file holds the database's content and nothing else: the same universe always makes the same bytes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from bus.events import UniverseBuilt, UniverseMember
from observer.base.units import NS_PER_S, plain
from observer.calendar.venues import currency_of

VERSION: Final = "1.0"
FILES_KEPT: Final = 10  # days (docs/requirement.md)


def file_name(session_date: str, market: str) -> str:
    """`{YYYYMMDD}_{market}.json`; names sort by day."""
    return f"{_compact(session_date)}_{market}.json"


def outdated(names: Sequence[str], market: str) -> Sequence[str]:
    """The market's file names in the folder except the newest ten."""
    days = {name: name.removesuffix(f"_{market}.json") for name in names}
    files = sorted(name for name, day in days.items() if len(day) == len("YYYYMMDD") and day.isdecimal())
    return files[:-FILES_KEPT]


def content_of(built: UniverseBuilt, members: Sequence[UniverseMember]) -> bytes:
    """The file's content. Beside the requirement's keys of a symbol: its rank, its exchange, and its average true range
    of 14 days; an average that is not known is null. Numbers keep their decimals; a whole one has no point.
    """
    document = {
        "metadata": {
            "date": _compact(built.session_date),
            "previous_trading_day": _compact(built.previous_session_date),
            "generated_at": datetime.fromtimestamp(built.built_ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "symbol_count": built.symbols,
            "market": built.market,
            "filter_criteria": f"close_price >= {plain(built.minimum_close)} {currency_of(built.market)}",
            "version": VERSION,
        },
        "symbols": [_symbol(member) for member in members],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _symbol(member: UniverseMember) -> dict[str, str | int | float | None]:
    return {
        "code": member.symbol,
        "name": member.name,
        "market_cap": plain(member.market_cap),
        "prev_close": plain(member.previous_close),
        "avg_volume_20d": None if member.average_volume_20d is None else plain(member.average_volume_20d),
        "average_true_range_14d": member.average_true_range_14d,
        "exchange": member.exchange,
        "rank": member.rank,
    }


def _compact(iso_date: str) -> str:
    return iso_date.replace("-", "")
