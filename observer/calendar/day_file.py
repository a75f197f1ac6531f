"""The trading days around today in one small file: one process computes them, all others read them.

Computing them loads the calendar packages (some 75 MB); reading this file loads nothing. A second file holds the
question that the day file answers, so that the same question is not computed again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec

from observer.base.files import replace_file
from observer.calendar.trading_day import TradingDay

FILE_NAME = "trading_days.json"

QUESTION_NAME = "trading_days_question.json"

_decoder = msgspec.json.Decoder(list[TradingDay])


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


class _Answered(msgspec.Struct, frozen=True):
    """A question and the digest of the day file that answers it: the two files are not replaced at one moment."""

    question: Question
    answer: str


def answers(runtime: Path, question: Question) -> bool:
    """Whether the day file answers this question, and maybe more; False when either file is missing or was changed."""
    try:
        kept = msgspec.json.decode((runtime / QUESTION_NAME).read_bytes(), type=_Answered)
        return kept.question.covers(question) and kept.answer == _digest((runtime / FILE_NAME).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return False


def keep_answer(runtime: Path, question: Question, days: Sequence[TradingDay]) -> None:
    """Replace the day file, and then the question."""
    write_trading_days(runtime, days)
    answered = _Answered(question, _digest(msgspec.json.encode(days)))
    replace_file(runtime / QUESTION_NAME, msgspec.json.encode(answered))


def write_trading_days(runtime: Path, days: Sequence[TradingDay]) -> None:
    """Replace the file in the runtime directory atomically: a reader sees the old days or the new ones."""
    replace_file(runtime / FILE_NAME, msgspec.json.encode(days))


def read_trading_days(runtime: Path) -> Sequence[TradingDay]:
    """The trading days written last; empty for an absent or a damaged file, which the next upkeep replaces."""
    try:
        return _decoder.decode((runtime / FILE_NAME).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return []


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
