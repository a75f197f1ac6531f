"""Pages of minute bars, which go back in time, put together to whole days. Pure.

A page has at most `rows_per_page` bars, the newest at and before a moment, and may go on with earlier days
(FID_PW_DATA_INCU_YN, docs/kis.md#minute-bars). A host that does not go on ends a page with its day's first bar: both
are read here.
"""

from collections import deque
from collections.abc import Sequence
from datetime import date
from typing import Final

from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.brokers.broker import Bar
from observer.brokers.domestic import MinuteDay, UnreadableRow
from observer.brokers.kis.schema import with_own_values
from observer.brokers.kis.times import date_text, midnight_ns

EMPTY_DAYS_MAX: Final = 2
"""So many days in a row without a bar, each of them asked for, are before what the host keeps: no earlier day is asked
for.
"""


class MinuteDays:
    """Collects the wanted days (any order) of one symbol: ask for a page at `until_ns`, and give it to `take`. The
    first page is that at `first_ns`, by default at the end of the newest day.
    """

    def __init__(self, days: Sequence[date], rows_per_page: int, first_ns: int | None = None) -> None:
        self._rows_per_page = rows_per_page
        self._wanted = deque(sorted(set(days), reverse=True))
        self._bars: dict[int, Bar] = {}
        self._unreadable: list[UnreadableRow] = []
        self._pages = 0
        self._empty = 0
        self._until_ns = first_ns

    @property
    def until_ns(self) -> int | None:
        """The moment of the next page; None when no page is needed."""
        if not self._wanted or self._empty >= EMPTY_DAYS_MAX:
            return None
        return _last_second_ns(self._wanted[0]) if self._until_ns is None else self._until_ns

    def take(self, page: Sequence[Bar], unreadable: Sequence[UnreadableRow] = ()) -> Sequence[MinuteDay]:
        """The wanted days that are whole with this page, newest first; of its rows these ones could not be read."""
        until_ns = self.until_ns
        assert until_ns is not None, "no page was needed"
        self._pages += 1
        self._unreadable += unreadable
        bars = [bar for bar in page if bar.start_ns <= until_ns]
        self._bars |= {bar.start_ns: bar for bar in bars}
        if not bars:
            self._empty += not unreadable
            return self._whole(self._wanted[0])
        self._empty = 0
        oldest_ns = min(bar.start_ns for bar in bars)
        oldest = local_datetime(oldest_ns).date()
        if len(page) + len(unreadable) < self._rows_per_page:
            return self._whole(oldest)
        # The oldest day may have more bars: a page later. An unwanted one is skipped, with all unwanted ones before it.
        self._until_ns = oldest_ns - NS_PER_S
        found = self._whole_after(oldest)
        if self._wanted and self._wanted[0] != oldest:
            self._until_ns = None
        return found

    def _whole(self, oldest: date) -> Sequence[MinuteDay]:
        """The wanted days down to this one."""
        self._until_ns = None
        return self._made([day for day in self._wanted if day >= oldest])

    def _whole_after(self, oldest: date) -> Sequence[MinuteDay]:
        return self._made([day for day in self._wanted if day > oldest])

    def _made(self, days: Sequence[date]) -> Sequence[MinuteDay]:
        if not days:
            return ()
        by_day: dict[date, list[Bar]] = {day: [] for day in days}
        left: dict[int, Bar] = {}
        for start_ns in sorted(self._bars):
            day = local_datetime(start_ns).date()
            if day in by_day:
                by_day[day].append(self._bars[start_ns])
            elif day < days[-1]:
                left[start_ns] = self._bars[start_ns]
        found = [MinuteDay(day, with_own_values(by_day[day])) for day in days]
        # Calls and unreadable rows count for the newest of the days that they brought.
        found[0] = MinuteDay(days[0], found[0].bars, tuple(self._unreadable), self._pages)
        self._bars, self._unreadable, self._pages = left, [], 0
        for _ in days:
            self._wanted.popleft()
        return found


def _last_second_ns(day: date) -> int:
    return midnight_ns(date_text(day)) + NS_PER_DAY - NS_PER_S
