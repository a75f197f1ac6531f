"""The trading days, found out by a process of its own: the 75 MB of the calendar packages are gone with it.

Both ends are here: `trading_days_apart` asks, `python -m observer.providers.calendar_process OVERLAY FIRST LAST`
answers with one JSON array on stdout, or with one line on stderr and status 1.
"""

import asyncio
import sys
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from observer.errors import DataFileError
from observer.schedule.trading_day import TradingDay

_FAILED: Final = 1
_decoder: Final = msgspec.json.Decoder(list[TradingDay])


async def trading_days_apart(overlay: Path, first: date, last: date) -> list[TradingDay]:
    """What `observer.providers.calendars.trading_days` returns; takes about a second.

    Raises:
        DataFileError: the overlay cannot be read or contradicts itself, or the process failed otherwise.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "observer.providers.calendar_process", str(overlay), first.isoformat(), last.isoformat()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        answer, complaint = await process.communicate()
    finally:
        if process.returncode is None:  # whoever asked was cancelled
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DataFileError(complaint.decode(errors="replace").strip() or f"ended with status {process.returncode}")
    return _decoder.decode(answer)


def main() -> int:
    """Answer the question in argv."""
    from observer.providers.calendars import trading_days

    overlay, first, last = sys.argv[1:]
    try:
        days = trading_days(Path(overlay), date.fromisoformat(first), date.fromisoformat(last))
    except DataFileError as error:
        sys.stderr.write(f"{error}\n")
        return _FAILED
    sys.stdout.write(msgspec.json.encode(days).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
