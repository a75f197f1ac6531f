"""Stored days for the page: each is read once for all who look at it, in a thread of its own, and kept for a while."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from observer.system.config import Settings
from observer.web.live import now_ms
from observer.web.model import Part, State
from observer.web.past import past_state
from observer.web.stored import PageReader
from observer.web.tags import tag_of
from observer.web.threads import Threads

FRESH_S: Final = 30.0
"""Machine seconds after which a day is read again: late rows may have come."""

KEPT_MAX: Final = 8


class StoredDay(msgspec.Struct, frozen=True):
    """The state of a day as JSON. The tag names its figures: while they are the same, both stay as they are."""

    tag: str
    json: bytes


class StoredDays:
    """Answers with the states of stored days. One is read at a time; a few are kept.

    Args:
        read: reads a day's state; it may raise a `NoDataError` or a `StoreError`.
        now_s: machine seconds.
    """

    def __init__(self, read: Callable[[str], State], now_s: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now_s = now_s
        self._threads = Threads("stored-days", 1)
        self._kept: OrderedDict[str, tuple[StoredDay, float]] = OrderedDict()  # the longest unread one first

    async def state_of(self, day: str) -> StoredDay:
        """The day's state, which was read at most `FRESH_S` ago.

        Raises:
            BusyError: too many days wait.
            NoDataError, StoreError: as `read`.
        """
        if (found := self._fresh(day)) is not None:
            return found
        return await self._threads.run(lambda: self._fresh_or_renewed(day))

    def _fresh_or_renewed(self, day: str) -> StoredDay:
        return self._fresh(day) or self._renewed(day)  # it may have been read while this question waited

    def _fresh(self, day: str) -> StoredDay | None:
        found = self._kept.get(day)
        return found[0] if found is not None and self._now_s() - found[1] < FRESH_S else None

    def _renewed(self, day: str) -> StoredDay:
        read_s, state = self._now_s(), self._read(day)
        found = StoredDay(tag_of(msgspec.json.encode(known_at(state, 0))), msgspec.json.encode(state))
        before = self._kept.pop(day, None)
        if before is not None and before[0].tag == found.tag:
            found = before[0]
        self._kept[day] = found, read_s
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return found


def known_at(state: State, known_ms: int) -> State:
    """The state as if all its parts were read at that moment (ms of the Unix epoch): those of a day that is over."""
    parts = {name: getattr(state, name) for name in state.__struct_fields__}
    known = {name: replace(part, known_ms=known_ms) for name, part in parts.items() if isinstance(part, Part)}
    return replace(state, now_ms=known_ms, **known)


def read_stored_day(settings: Settings, day: str) -> State:
    """The state of a stored day.

    Raises:
        NoDataError: it is no date, or nothing of it is stored.
        StoreError: the database does not answer.
    """
    with PageReader(settings.store.url) as reader:
        return past_state(reader, settings, day, now_ms())


def read_days(settings: Settings) -> Sequence[str]:
    """The stored days, the newest first.

    Raises:
        StoreError: the database does not answer.
    """
    with PageReader(settings.store.url) as reader:
        return reader.sessions()
