"""Computes the trading days in a separate process, so that the 75 MB of the calendar packages are freed with it.

`keep_trading_days` keeps the day file and computes only what the file lacks.

Both ends are here: `trading_days_apart` starts the process; `python -m observer.calendar.process OVERLAY SESSIONS FIRST
LAST` prints one JSON array on stdout, or one line on stderr with exit status 1.
"""

import asyncio
import hashlib
import importlib.metadata
import sys
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import msgspec

from observer.base.errors import DataFileError
from observer.base.programs import program
from observer.calendar.day_file import CalendarFiles, Question, answers, write_trading_days
from observer.calendar.trading_day import TradingDay

MARGIN: Final = timedelta(days=14)
"""So many days more are computed: the same file answers the questions of the following days."""

_FAILED: Final = 1
_PACKAGES: Final = ("exchange_calendars", "holidays", "pandas", "korean_lunar_calendar")
_decoder: Final = msgspec.json.Decoder(list[TradingDay])

Compute = Callable[[CalendarFiles, date, date], Awaitable[list[TradingDay]]]
"""Computes the trading days, as `trading_days_apart`."""


async def keep_trading_days(
    runtime: Path, files: CalendarFiles, first: date, last: date, compute: Compute | None = None
) -> bool:
    """Make the day file hold the days from `first` to `last` and MARGIN; return whether they had to be computed, in a
    process of its own unless `compute` does it.

    A file that holds them already, by the same reviewed files and versions of the packages, is used as it is.

    Raises:
        DataFileError: as for `trading_days_apart`.
    """
    question = Question(
        first=first, last=last, reviewed=_digest_of(files.overlay) + _digest_of(files.sessions), versions=_versions()
    )
    if answers(runtime, question):
        return False
    further = msgspec.structs.replace(question, last=last + MARGIN)
    days = await (compute or trading_days_apart)(files, first, further.last)
    write_trading_days(runtime, days, further)
    return True


def _versions() -> dict[str, str]:
    """The versions of the packages and of the rule that joins them."""
    rule = _digest_of(Path(__file__).with_name("packages.py"))
    return {"rule": rule} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def _digest_of(path: Path) -> str:
    """The file's digest; empty for an unreadable file: the packages' process reports the error."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


async def trading_days_apart(files: CalendarFiles, first: date, last: date) -> list[TradingDay]:
    """What `observer.calendar.packages.trading_days` returns; takes about a second.

    Raises:
        DataFileError: a reviewed file cannot be read or contradicts itself, or the process failed otherwise.
    """
    process = await asyncio.create_subprocess_exec(
        *program(
            "observer.calendar.process", str(files.overlay), str(files.sessions), first.isoformat(), last.isoformat()
        ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        answer, complaint = await process.communicate()
    finally:
        if process.returncode is None:  # the caller was cancelled
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DataFileError(complaint.decode(errors="replace").strip() or f"ended with status {process.returncode}")
    return _decoder.decode(answer)


def main() -> int:
    """Print the trading days that argv asks for."""
    from observer.calendar.packages import trading_days

    overlay, sessions, first, last = sys.argv[1:]
    try:
        days = trading_days(
            CalendarFiles(Path(overlay), Path(sessions)), date.fromisoformat(first), date.fromisoformat(last)
        )
    except DataFileError as error:
        sys.stderr.write(f"{error}\n")
        return _FAILED
    sys.stdout.write(msgspec.json.encode(days).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
