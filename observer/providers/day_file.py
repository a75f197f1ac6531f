"""The trading days around today in one small file: one process finds them out, all others read them.

Finding them out loads the calendar packages (some 75 MB); reading this file loads nothing.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from observer.schedule.trading_day import TradingDay

FILE_NAME = "trading_days.json"

_decoder = msgspec.json.Decoder(list[TradingDay])


def write_trading_days(runtime: Path, days: Sequence[TradingDay]) -> None:
    """Replace the file in the runtime directory as a whole: a reader sees the old days or the new ones."""
    temporary = runtime / f"{FILE_NAME}.new"
    temporary.write_bytes(msgspec.json.encode(days))
    temporary.replace(runtime / FILE_NAME)


def read_trading_days(runtime: Path) -> Sequence[TradingDay]:
    """The days that were written last; none while nobody has."""
    try:
        content = (runtime / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return []
    return _decoder.decode(content)
