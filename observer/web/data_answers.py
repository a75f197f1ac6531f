"""Pages of answers: each walk over pages sees the rows of the moment at which it began, or is refused.

A store is a snapshot. The newest one is opened again when it is old and something was added. A cursor names the
identity of the answer: where the rows changed since the first page, the walk is refused and begins again.
"""

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from observer.base.errors import ConfigError, NoDataError, StoreError
from observer.base.logs import own_version
from observer.web.data_questions import Question

if TYPE_CHECKING:
    import polars as pl

    from observer.research.store import Store

_REFRESH_S: Final = 1.0
_REFRESH_PER_OPENING: Final = 10  # so opening again takes at most a tenth of a thread
CACHE_BYTES: Final = 64 * 1024 * 1024
_DIGEST_LENGTH: Final = 32
_NUMBER_MAX: Final = 2**31 - 1  # of parts, and of rows of a part


class CursorLostError(NoDataError):
    """A cursor's rows are not there any more: others were added."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in the answer with this digest to a question with that one: a row of a part."""

    question: str
    answer: str
    part: Annotated[int, msgspec.Meta(ge=0, le=_NUMBER_MAX)] = 0
    row: Annotated[int, msgspec.Meta(ge=0, le=_NUMBER_MAX)] = 0

    @property
    def cursor(self) -> str:
        """The place as a cursor."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


class Page(msgspec.Struct, frozen=True):
    """Rows of an answer, in frames of one schema, at least one; `rest` is the place of the first row after them."""

    tag: str
    frames: "Sequence[pl.DataFrame]"
    rest: Position | None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(frame.height for frame in self.frames)


class Unchanged(msgspec.Struct, frozen=True):
    """The asker has this answer."""

    tag: str


class Answers:
    """The answers to questions about a store, page by page. Any thread may ask.

    Args:
        open_store: opens the store as it is now.
        now_s: machine seconds.
        cache_bytes: of rows that are kept for the next page.
    """

    def __init__(
        self,
        open_store: "Callable[[], Store]",
        now_s: Callable[[], float] = time.monotonic,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._open = open_store
        self._now_s = now_s
        self._lock = Lock()
        self._newest: Store | None = None
        self._fresh_until_s = 0.0
        self._frames: OrderedDict[tuple[str, int], pl.DataFrame] = OrderedDict()
        self._frames_bytes = 0
        self._cache_bytes = cache_bytes

    def page(
        self, question: Question, cursor: str | None, limit: int, form: str, known: Callable[[str], bool]
    ) -> Page | Unchanged:
        """At most `limit` rows from the cursor on, or from the first row; `known` says whether the asker has the answer
        of an ETag.

        Raises:
            NoDataError, ConfigError, StoreError: as the store; `CursorLostError`.
        """
        try:
            return self._page(question, cursor, limit, form, known)
        except StoreError:  # rows may have gone to the lake while the store was open
            with self._lock:
                self._replace(None)
            return self._page(question, cursor, limit, form, known)

    def _page(
        self, question: Question, cursor: str | None, limit: int, form: str, known: Callable[[str], bool]
    ) -> Page | Unchanged:
        key = _digest(msgspec.json.encode(question).decode(), own_version())
        place = None if cursor is None else _place(cursor, key)
        store = self._current()
        answer = _digest(key, question.identity(store))
        if place is not None and place.answer != answer:
            raise _lost()
        place = place or Position(key, answer)
        tag = _digest(place.cursor, str(limit), form)
        if known(tag):
            return Unchanged(tag)
        frames, rest = self._walk(question, store, place, limit)
        return Page(tag, frames, rest)

    def _walk(
        self, question: Question, store: "Store", place: Position, limit: int
    ) -> "tuple[Sequence[pl.DataFrame], Position | None]":
        from observer.research.errors import NotCollected

        found: list[pl.DataFrame] = []
        left, row = limit, place.row
        parts = question.parts(store)
        missing: NotCollected | None = None
        for number in range(place.part, len(parts)):
            try:
                frame = self._frame(question, store, place, number, parts[number])
            except NotCollected as error:
                missing = error
                continue
            if frame.height > row and not left:
                return found, Position(place.question, place.answer, number, row)
            taken = frame.slice(row, left)
            if not taken.is_empty() or not found:
                found.append(taken)
            left -= taken.height
            if row + taken.height < frame.height:
                return found, Position(place.question, place.answer, number, row + taken.height)
            row = 0
        if not found:
            question.require_collected(store)
            raise missing or NoDataError("no row is at this cursor: ask again without it")
        return [frame for frame in found if not frame.is_empty()] or found[:1], None

    def _frame(self, question: Question, store: "Store", place: Position, number: int, part: str) -> "pl.DataFrame":
        """The rows of a part; those of the last pages are kept."""
        key = (place.answer, number)
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
                return self._frames[key]
        frame = question.read(store, part)
        size = int(frame.estimated_size())
        with self._lock:
            if size <= self._cache_bytes and key not in self._frames:
                self._frames[key] = frame
                self._frames_bytes += size
            while self._frames_bytes > self._cache_bytes:
                _, gone = self._frames.popitem(last=False)
                self._frames_bytes -= int(gone.estimated_size())
        return frame

    # --- snapshots -------------------------------------------------------------------------------------------

    def _current(self) -> "Store":
        """The newest snapshot; a new one where it is old and anything was added since."""
        with self._lock:
            began_s = self._now_s()
            if self._newest is not None and began_s < self._fresh_until_s:
                return self._newest
            try:
                opened = self._open()
            except ConfigError as error:  # of the system's configuration, not of the question
                raise StoreError(str(error)) from error
            ended_s = self._now_s()
            self._fresh_until_s = ended_s + max(_REFRESH_S, _REFRESH_PER_OPENING * (ended_s - began_s))
            if self._newest is not None and opened.rows.digest == self._newest.rows.digest:
                opened.close()
            else:
                self._replace(opened)
            assert self._newest is not None
            return self._newest

    def _replace(self, opened: "Store | None") -> None:
        before, self._newest = self._newest, opened
        if before is not None:
            before.close()  # one that a thread still reads gives its connections back then


def _lost() -> CursorLostError:
    return CursorLostError("the rows changed since the first page: ask again without cursor")


def _digest(*texts: str) -> str:
    return sha256("\n".join(texts).encode()).hexdigest()[:_DIGEST_LENGTH]


def _place(cursor: str, question: str) -> Position:
    """The place that a cursor names.

    Raises:
        NoDataError: it is none of ours, or of another question.
    """
    with suppress(binascii.Error, ValueError, msgspec.DecodeError):  # UnicodeEncodeError is a ValueError
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        place = msgspec.json.decode(content, type=Position)
        if place.question == question:
            return place
    raise NoDataError("the cursor is not of this question: take it from the header Link of the page before")
