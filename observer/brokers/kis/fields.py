"""Fields of a stream record -> values, and the frame around the records. Pure.

A frame is `E|TR_ID|NNN|payload`: E 0 for plain text, NNN the number of records, the payload all fields of all records
joined by `^` (docs/kis.md#frames). Everything here takes bytes: what a socket gives, and what splits fastest.

Numbers are read by msgspec's JSON decoder, which takes a fifth of the time of `float`. It knows no padding and no
leading zeros; `padded_number` does, for the fields that need it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Final, TypeAlias, TypeVar

import msgspec

from bus.events import InputQuarantined, MarketSession
from observer.base.lines import line_id
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.brokers.kis.times import date_text_of, midnight_ns, since_midnight_ns
from observer.brokers.kis.venues import CONSOLIDATED, KRX, NXT

_Value = TypeVar("_Value")

PROVIDER: Final = "kis"
COUNT_MAX: Final = 2**63 - 1  # what the bus and both databases can carry
RECORDS_MAX: Final = 999  # NNN has three digits
_SYMBOL_BYTES: Final = frozenset({6, 7, 9})  # 005930, Q500001, F70100030
_KST_OFFSET_NS: Final = 9 * 3600 * NS_PER_S

_NULL: Final = b"(null)"  # KIS's word for nothing, in any field (docs/kis.md#frames)
SESSIONS: Final[dict[bytes, MarketSession]] = {b"1": "pre", b"2": "regular", b"3": "after", b"5": "closed"}

session_of: Final[Callable[[bytes], MarketSession | None]] = SESSIONS.get
"""The session of a MARKET_CLS_CODE (docs/kis.md#trades); None for any other text: its time states it then."""

number: Final = msgspec.json.Decoder(float).decode
"""A number as KIS usually writes it. Raises msgspec.DecodeError for anything else, then ask `padded_number`."""

count: Final = msgspec.json.Decoder(int).decode
"""A whole number, as `number`."""


def padded_number(text: bytes) -> float:
    """A number with blanks around it, leading zeros or a plus sign.

    Raises:
        ValueError: it is none, or none that is finite.
    """
    value = float(text)
    if not isfinite(value) or b"_" in text:
        raise ValueError(f"{_shown(text)} is not a number")
    return value


def padded_count(text: bytes) -> int:
    """A whole number with blanks around it, leading zeros or a plus sign.

    Raises:
        ValueError: it is none.
    """
    if b"_" in text:
        raise ValueError(f"{_shown(text)} is not a number")
    return int(text)


def is_blank(text: bytes) -> bool:
    """Whether a field holds nothing: blanks, or KIS's null."""
    return text.strip() in (b"", _NULL)


def optional_number(text: bytes) -> float:
    """A number that a record may lack, see `padded_number`: 0 for none."""
    return 0.0 if is_blank(text) else padded_number(text)


def numbers(texts: Sequence[bytes]) -> list[float]:
    """All of them, see `padded_number`."""
    try:
        return [number(text) for text in texts]
    except msgspec.DecodeError:
        return [padded_number(text) for text in texts]


class _Remembered(dict[bytes, _Value]):
    """What a function makes of a text, remembered: the same few texts come again and again. A full one begins anew, so
    texts from outside cannot fill the memory. A look-up costs a third of one in an `lru_cache`.
    """

    __slots__ = ("_make", "_texts_max")

    def __init__(self, make: Callable[[bytes], _Value], texts_max: int) -> None:
        super().__init__()
        self._make = make
        self._texts_max = texts_max

    def __missing__(self, text: bytes) -> _Value:
        value = self._make(text)
        if len(self) >= self._texts_max:
            self.clear()
        self[text] = value
        return value


def _symbol(text: bytes) -> str:
    """A symbol: letters and digits, `005930`, `0004Y0`, `F70100030`.

    Its length is looked at too: of a frame that is cut where its fields still divide evenly, the second record begins
    within the first one, and its symbol is some number.

    Raises:
        ValueError: it is none.
    """
    if len(text) not in _SYMBOL_BYTES or not text.isalnum():
        raise ValueError(f"{_shown(text)} is not a symbol")
    return text.decode()


symbol_of: Final[Callable[[bytes], str]] = _Remembered(_symbol, 8192).__getitem__
_nxt_line: Final = _Remembered(lambda text: line_id(_symbol(text), NXT, KRX), 8192).__getitem__
_consolidated_line: Final = _Remembered(lambda text: line_id(_symbol(text), CONSOLIDATED, KRX), 8192).__getitem__


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where the records of a TR id are from: the name of the venue, and the line's id of a record's symbol (raises
    ValueError as `symbol_of`).
    """

    venue: str
    line: Callable[[bytes], str]


# By the third and fourth letter of a TR id.
SOURCES: Final[Mapping[bytes, Source]] = {
    b"ST": Source(KRX, symbol_of),
    b"NX": Source(NXT, _nxt_line),
    b"UN": Source(CONSOLIDATED, _consolidated_line),
}
SOURCE: Final = slice(2, 4)  # of a TR id


def words_of(text: bytes) -> str:
    """A code or a sentence, without blanks around it; empty for KIS's null.

    Raises:
        ValueError: it is not UTF-8, or holds control characters (no database takes all of them).
    """
    words = "" if is_blank(text) else text.decode().strip()
    if not words.isprintable():
        raise ValueError(f"{_shown(text)} is not a text")
    return words


def _day(date: bytes) -> tuple[int, str]:
    """The midnight and the ISO name of a day YYYYMMDD; every record of a stream names the same one.

    Raises:
        ValueError: it is no day.
    """
    text = date.decode()
    return midnight_ns(text), f"{text[:4]}-{text[4:6]}-{text[6:]}"


day_of: Final[Callable[[bytes], tuple[int, str]]] = _Remembered(_day, 8).__getitem__


def day_at(receive_time_ns: int) -> tuple[int, str]:
    """The midnight and the ISO name of the Korean day of a moment, for records that name none."""
    return _numbered_day((receive_time_ns + _KST_OFFSET_NS) // NS_PER_DAY)


@lru_cache(maxsize=8)
def _numbered_day(days: int) -> tuple[int, str]:
    return day_of(date_text_of(days * NS_PER_DAY).encode())


def _time_of_day_ns(hour: bytes) -> int:
    """Nanoseconds from midnight to HHMMSS; the records of an hour and more name few seconds.

    Raises:
        ValueError: it is no time of day.
    """
    return since_midnight_ns(hour.decode())


time_of_day_ns: Final[Callable[[bytes], int]] = _Remembered(_time_of_day_ns, 4096).__getitem__


def is_time_of_day(text: bytes) -> bool:
    """Whether a field can be a time HHMMSS."""
    try:
        time_of_day_ns(text)
    except ValueError:
        return False
    return True


def bytes_of(frame: str | bytes) -> bytes:
    """A frame as it came, whatever was in it."""
    return frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")


Frame: TypeAlias = tuple[bytes, Source, int, list[bytes], int, int]
"""A frame taken apart: its TR id and the source that this states, the number of records that it claims, all fields, and
what their number makes of it: so many to a record, and so many that are left over.
"""


def open_frame(frame: bytes) -> Frame:
    """Take a frame apart.

    Raises:
        ValueError: it is no frame of plain text.
    """
    encrypted, transaction, count_text, payload = frame.split(b"|", 3)
    if encrypted != b"0":
        raise ValueError(f"encryption flag {_shown(encrypted)} where plain text was expected")
    records = padded_count(count_text)
    if not 0 < records <= RECORDS_MAX:
        raise ValueError(f"{records} records")
    fields = payload.split(b"^")
    source = SOURCES.get(transaction[SOURCE], SOURCES[b"ST"])
    return transaction, source, records, fields, *divmod(len(fields), records)


def quarantined(source: str, frame: bytes, receive_time_ns: int, reason: str) -> InputQuarantined:
    """A frame that could not be read, or not all of it, with the reason."""
    return InputQuarantined(source=f"kis.{source}", quarantined_ns=receive_time_ns, reason=reason, content=frame)


def _shown(text: bytes) -> str:
    """A field in a reason: short, whatever came."""
    return ascii(text[:32])[1:]
