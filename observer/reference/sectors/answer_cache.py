"""Answers of a slow source, cached on disk for interrupted and repeated runs.

One line of JSON an answer, appended as it comes; read and rewritten without what is too old when it is opened. A line
that a kill cut off is no answer and is left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.base.files import replace_file
from observer.base.units import NS_PER_S

KEPT_S: Final = 24 * 3600  # a day
ANSWERS_MAX: Final = 20_000


class _Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    question: str
    answered_ns: int
    words: tuple[str, ...]


class AnswerCache:
    """Up to 20,000 answers, each for 24 hours of market time; beyond them the oldest goes. One process at a time.

    Raises:
        OSError: the file cannot be read or written; so do all methods.
    """

    def __init__(self, path: Path, now_ns: int) -> None:
        self._path = path
        self._answers: dict[str, _Answer] = {}
        if path.exists():
            self._load(now_ns)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rewrite()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, question: str, now_ns: int) -> Sequence[str] | None:
        """The answer of the last 24 hours; None without one."""
        answer = self._answers.get(question)
        if answer is None or _is_old(answer, now_ns):
            return None
        return answer.words

    def put(self, question: str, words: Sequence[str], now_ns: int) -> None:
        """Keep an answer; it is on disk when this returns (in the page cache: a power cut may cost it)."""
        self._keep(_Answer(question, now_ns, tuple(words)))
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(self._answers[question]) + b"\n")

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
        self._rewrite()

    def _keep(self, answer: _Answer) -> None:
        self._answers.pop(answer.question, None)
        self._answers[answer.question] = answer
        while len(self._answers) > ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]

    def _load(self, now_ns: int) -> None:
        for line in self._path.read_bytes().split(b"\n"):
            try:
                answer = msgspec.json.decode(line, type=_Answer)
            except (ValueError, RecursionError):
                continue
            if not _is_old(answer, now_ns):
                self._keep(answer)

    def _rewrite(self) -> None:
        replace_file(self._path, b"".join(msgspec.json.encode(answer) + b"\n" for answer in self._answers.values()))


def _is_old(answer: _Answer, now_ns: int) -> bool:
    return now_ns - answer.answered_ns > KEPT_S * NS_PER_S
