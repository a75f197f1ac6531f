"""The trading days around today in one small file: one process computes them, all others read them.

Computing them loads the calendar packages (some 75 MB); reading this file loads nothing. The file has the question that
it answers beside the days, so that the same question is not computed again.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec

from observer.base.files import replace_file
from observer.calendar.trading_day import TradingDay

FILE_NAME = "trading_days.json"


class CalendarFiles(msgspec.Struct, frozen=True):
    """The reviewed files: the days that the packages get wrong, and the sessions."""

    overlay: Path
    sessions: Path


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of the trading days: the span, the digest of the reviewed files, and the versions of the packages."""

    first: date
    last: date
    reviewed: str
    versions: Mapping[str, str]

    def covers(self, other: "Question") -> bool:
        """Whether the other question asks for a part of these days, by the same sources."""
        same = self.reviewed == other.reviewed and self.versions == other.versions
        return same and self.first <= other.first and other.last <= self.last


class DayFile(msgspec.Struct, frozen=True):
    """The days, and the question that they answer; None: unknown."""

    days: list[TradingDay]
    question: Question | None = None


def answers(runtime: Path, question: Question) -> bool:
    """Whether the day file answers this question, and maybe more; False for an absent or a damaged file."""
    kept = _read(runtime).question
    return kept is not None and kept.covers(question)


def write_trading_days(runtime: Path, days: Sequence[TradingDay], question: Question | None = None) -> None:
    """Replace the file in the runtime directory atomically: a reader sees the old days or the new ones."""
    replace_file(runtime / FILE_NAME, msgspec.json.encode(DayFile(list(days), question)))


def read_trading_days(runtime: Path) -> Sequence[TradingDay]:
    """The trading days written last; empty for an absent or a damaged file, which the next upkeep replaces."""
    return _read(runtime).days


def _read(runtime: Path) -> DayFile:
    try:
        return _decoder.decode((runtime / FILE_NAME).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return DayFile([])


_decoder = msgspec.json.Decoder(DayFile)
