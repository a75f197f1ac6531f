"""What is kept of inputs that cannot be read. Pure.

Of each source and minute the first few inputs are kept, each with its beginning and its true length. The others are
counted: one row states their number and their bytes when the minute is over. When the rows of a day reach their bound,
inputs are only counted until the next day.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec

from bus.events import InputQuarantined
from observer.base.local_time import local_datetime
from observer.base.text import plain_text, shown, without_secrets
from observer.base.units import NS_PER_S
from observer.brokers.redaction import redacted

HEAD_BYTES_MAX: Final = 4_096  # of an input; a frame of trades has some hundred
ROWS_PER_MINUTE_MAX: Final = 10  # of each source
DAY_BYTES_MAX: Final = 64_000_000
_REASON_BYTES_MAX: Final = 500
_SOURCES_MAX: Final = 100  # in one minute; what is beyond them counts as one source
_OTHER_SOURCES: Final = "other"
_SOURCE_LENGTH_MAX: Final = 80
_MINUTE_NS: Final = 60 * NS_PER_S


def bounded(item: InputQuarantined) -> InputQuarantined:
    """The input's beginning without secrets; the reason states the true length of a longer one."""
    content = redacted(item.content[: 2 * HEAD_BYTES_MAX], without_secrets)[:HEAD_BYTES_MAX]
    reason = shown(item.reason, _REASON_BYTES_MAX)
    if len(item.content) > HEAD_BYTES_MAX:
        reason = f"{reason} (the first {HEAD_BYTES_MAX:,} of {len(item.content):,} bytes)"
    return InputQuarantined(plain_text(item.source)[:_SOURCE_LENGTH_MAX], item.quarantined_ns, reason, content)


class _Minute(msgspec.Struct):
    """A source's minute so far: inputs that have a row, and number and bytes of the others."""

    began_ns: int
    kept: int = 0
    others: int = 0
    other_bytes: int = 0


class InputQuarantine:
    """The quarantine of one process: which inputs have a row, and the counts of the others.

    Args:
        day_bytes_max: the bound of a day's rows.
    """

    def __init__(self, day_bytes_max: int = DAY_BYTES_MAX) -> None:
        self._day_bytes_max = day_bytes_max
        self._day: date | None = None
        self._day_bytes = 0
        self._minutes: dict[str, _Minute] = {}

    @property
    def counted(self) -> Sequence[str]:
        """The sources whose inputs are only counted at present."""
        return [source for source, minute in self._minutes.items() if minute.others]

    @property
    def is_full(self) -> bool:
        """Whether the day's rows have reached their bound."""
        return self._day_bytes >= self._day_bytes_max

    def resume(self, stored_bytes: int, now_ns: int) -> None:
        """Count what an earlier process of this day stored."""
        self._begin_day(now_ns)
        self._day_bytes += stored_bytes

    def take(
        self, item: InputQuarantined, now_ns: int, rows_max: int = ROWS_PER_MINUTE_MAX
    ) -> Sequence[InputQuarantined]:
        """The rows to store for this input, of whose source a minute has so many, and for the minutes that are over."""
        over = self.after_time(now_ns)
        source = plain_text(item.source)[:_SOURCE_LENGTH_MAX]
        if source not in self._minutes and len(self._minutes) >= _SOURCES_MAX:
            source = _OTHER_SOURCES
        minute = self._minutes.setdefault(source, _Minute(now_ns))
        if self.is_full or minute.kept >= rows_max:
            minute.others += 1
            minute.other_bytes += len(item.content)
            return over
        row = bounded(item)
        minute.kept += 1
        self._day_bytes += len(row.content) + len(row.reason)
        return [*over, row]

    def after_time(self, now_ns: int) -> Sequence[InputQuarantined]:
        """The rows that state the counts of the minutes that are over."""
        self._begin_day(now_ns)
        return self._end(
            [name for name, minute in self._minutes.items() if not 0 <= now_ns - minute.began_ns < _MINUTE_NS], now_ns
        )

    def _begin_day(self, now_ns: int) -> None:
        day = local_datetime(now_ns).date()
        if day != self._day:
            self._day, self._day_bytes = day, 0

    def finish(self, now_ns: int) -> Sequence[InputQuarantined]:
        """The rows that state all counts: the process ends."""
        return self._end(list(self._minutes), now_ns)

    def _end(self, sources: Sequence[str], now_ns: int) -> Sequence[InputQuarantined]:
        ended = {source: self._minutes.pop(source) for source in sources}
        return [
            InputQuarantined(source, now_ns, f"{each.others:,} more with {each.other_bytes:,} bytes, only counted", b"")
            for source, each in ended.items()
            if each.others
        ]
