"""Trade frames of the KIS stream -> trades, and expected prices. Pure, and the hottest code of the provider.

A record of H0STCNT0 (docs/kis.md#trades), cut after its date:

    005930^140610^277750^2^3750^1.37^280395.69^283000^283500^276500^278000^277500^5^11955000^3352130122500^83251^86830
    ^3579^120.39^5217059^6280658^5^0.53^53.70^090023^5^-5250^090048^5^-5750^135824^2^1250^20260922^...

The width of a record is fields / records, never a constant: 46 fields in 2024, 47 since September 2026, new ones always
at the end. The 47th is MARKET_CLS_CODE, the session. A record without an ask, a bid, a count or a known CCLD_DVSN is
still a trade: these are unknown then.

HOUR_CLS_CODE, the 44th field, is 0 for a trade. With A, B, C or D the record states the expected price and volume of an
auction, in the places of a trade's: without a price it states nothing, and an unreadable one costs no other record. A
record with any other code is neither: it ends the reading of its frame, which is kept with the reason.

The simulator states the same field order once more, on purpose: a shared table would hide the error it exists to find.
"""

import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec

from bus.events import ExpectedPrice, InputQuarantined, MarketSession, Side, Trade
from observer.brokers.kis.fields import (
    COUNT_MAX,
    PROVIDER,
    RECORDS_MAX,
    SOURCE,
    SOURCES,
    Source,
    bytes_of,
    count,
    day_of,
    is_blank,
    is_time_of_day,
    number,
    open_frame,
    optional_number,
    padded_count,
    padded_number,
    quarantined,
    session_of,
    time_of_day_ns,
)
from observer.brokers.kis.market_codes import AUCTIONS, DEALT, HOUR_CLASS
from observer.brokers.kis.records import expected_price

TRADE_TRANSACTIONS: Final = frozenset({b"H0STCNT0", b"H0UNCNT0", b"H0NXCNT0"})  # KRX, both venues, NXT: one layout
RECORD_WIDTH_MIN: Final = 46  # the documented record; later ones are wider
_WIDTH_MAX: Final = 4 * RECORD_WIDTH_MIN  # where a width is looked for: a frame of a megabyte must not hold the stream
_REASONS_MAX: Final = 3  # in the words about one broken frame
_HEAD: Final = 34  # fields up to and with the last one that is read
_HOUR: Final = 1
_DATE: Final = 33
_SESSION: Final = 46  # absent from records of 46 fields

# The fields behind the head: so many in the narrowest record, and in two of them; and the places of two of them.
_TAIL_MIN: Final = RECORD_WIDTH_MIN - _HEAD
_TAIL_OF_TWO: Final = 2 * RECORD_WIDTH_MIN - _HEAD
_TAIL_HOUR_CLASS: Final = HOUR_CLASS - _HEAD
_TAIL_SESSION: Final = _SESSION - _HEAD

# Every header that a frame of ours should have, with its number of records and their source: looked up, not taken
# apart.
_HEADERS: Final = {
    b"0|%s|%03d|" % (transaction, records): (records, SOURCES[transaction[SOURCE]])
    for transaction in TRADE_TRANSACTIONS
    for records in range(1, RECORDS_MAX + 1)
}
_NO_HEADER: Final = (0, SOURCES[b"ST"])
_PAYLOAD: Final = len(b"0|H0STCNT0|001|")

# symbol, hour, price, ask, bid, volume, cumulative volume, sell count, buy count, aggressor, date
_NEEDED: Final = (0, _HOUR, 2, 10, 11, 12, 13, 15, 16, 21, _DATE)
_Needed: TypeAlias = tuple[bytes, ...]  # as many
# The fields of one record up to the last one that is read; those of `_NEEDED` are groups. It never goes back.
_FIELD: Final = b"[^^]*+"
_HEAD_FIELDS: Final = [b"(%b)" % _FIELD if index in _NEEDED else _FIELD for index in range(_HEAD)]
_match_head: Final = re.compile(b"".join(field + b"\\^" for field in _HEAD_FIELDS)).match
_SIDES: Final[dict[bytes, Side]] = {b"1": "buy", b"3": "auction", b"5": "sell"}


def parse_trades(
    frame: str | bytes, receive_time_ns: int
) -> tuple[list[Trade], Sequence[ExpectedPrice], InputQuarantined | None]:
    """The trades of one frame in its order, its expected prices, and the frame itself with a reason when any of it
    could not be read.

    Of a broken frame the whole records before the break are kept; an unreadable expected price is no break. Never
    raises.
    """
    content = frame if isinstance(frame, bytes) else bytes_of(frame)
    trades: list[Trade] = []
    expected: list[ExpectedPrice] = []
    wrong: list[str] = []  # also with each expected price that gives no row; empty: nothing is wrong with it
    try:
        records, source = _HEADERS.get(content[:_PAYLOAD], _NO_HEADER)
        if records == 1:
            # By far the commonest frame.
            if head := _match_head(content, _PAYLOAD):
                tail = content[head.end() :].split(b"^")
                if _TAIL_MIN <= len(tail) < _TAIL_OF_TWO and tail[_TAIL_HOUR_CLASS] == DEALT:
                    session = session_of(tail[_TAIL_SESSION]) if len(tail) > _TAIL_SESSION else None
                    return [_trade(head.groups(), session, receive_time_ns, source.line, source.venue)], (), None
        elif records:
            fields = content[_PAYLOAD:].split(b"^")
            width, remainder = divmod(len(fields), records)
            if remainder == 0 and width >= RECORD_WIDTH_MIN:
                _read_records(fields, width, receive_time_ns, source, trades, expected, wrong)
                return trades, expected, _broken(content, receive_time_ns, wrong) if wrong else None
        wrong.append(_read_unusual(content, receive_time_ns, trades, expected, wrong))
    except (ValueError, KeyError) as error:
        record = len(trades) + len(expected) + len(wrong) + 1
        wrong.append(f"record {record}: {type(error).__name__}: {error}")
    return trades, expected, _broken(content, receive_time_ns, wrong)


def _broken(content: bytes, receive_time_ns: int, wrong: Sequence[str]) -> InputQuarantined | None:
    reason = "; ".join([each for each in wrong if each][-_REASONS_MAX:])
    return quarantined("trades", content, receive_time_ns, reason) if reason else None


def unread_lines(content: bytes, trades: int) -> Collection[str] | None:
    """The ids of the lines whose trades a broken frame may hold behind the first ones, of which so many were read; None
    where the frame does not show them. Never raises.
    """
    try:
        _, source, _, fields, width, remainder = open_frame(content)
        if remainder or not RECORD_WIDTH_MIN <= width < 2 * RECORD_WIDTH_MIN:
            return None
        starts = [start for start in range(0, len(fields), width) if fields[start + HOUR_CLASS].strip() not in AUCTIONS]
        return {source.line(fields[start]) for start in starts[trades:]}
    except (ValueError, KeyError):
        return None


def _read_unusual(
    content: bytes, receive_time_ns: int, trades: list[Trade], expected: list[ExpectedPrice], wrong: list[str]
) -> str:
    """Append what is whole in a frame whose header or number of fields is not the usual; returns what is wrong with it.

    Raises:
        ValueError: nothing of it can be read, or its records only up to what has been appended.
    """
    transaction, source, records, fields, width, remainder = open_frame(content)
    if transaction not in TRADE_TRANSACTIONS:
        raise ValueError(f"{transaction!r} is not a trade record")
    seen = width if 0 < width < 2 * RECORD_WIDTH_MIN else _width_by_content(fields)
    if remainder == 0 and width >= RECORD_WIDTH_MIN and width == seen:
        _read_records(fields, width, receive_time_ns, source, trades, expected, wrong)
        return ""
    _read_records(fields, _width_by_content(fields), receive_time_ns, source, trades, expected, wrong)
    return f"{len(fields)} fields do not make {records} records of at least {RECORD_WIDTH_MIN}"


def _read_records(
    fields: list[bytes],
    width: int,
    receive_time_ns: int,
    source: Source,
    trades: list[Trade],
    expected: list[ExpectedPrice],
    wrong: list[str],
) -> None:
    """Append what every whole record states to `trades` or `expected`, so that those before an error stay. For an
    expected price that gives no row append to `wrong` what is wrong with it, if anything.

    Raises:
        ValueError, KeyError: a trade cannot be read.
    """
    line, venue = source.line, source.venue
    for needed, start, session_at in _needed_of_each(width, len(fields) // width):
        session = session_of(fields[session_at]) if session_at else None
        code = fields[start + HOUR_CLASS].strip()
        if code == DEALT:
            trades.append(_trade(needed(fields), session, receive_time_ns, line, venue))  # survives an error
        elif code in AUCTIONS:
            try:
                found = expected_price(fields[start : start + RECORD_WIDTH_MIN], receive_time_ns, source, session)
            except ValueError as error:
                wrong.append(f"record {start // width + 1}: {type(error).__name__}: {error}")
                continue
            if found is None:
                wrong.append("")
            else:
                expected.append(found)
        else:
            raise ValueError(f"HOUR_CLS_CODE {ascii(code[:32])[1:]} is neither that of a trade nor of an auction")


@lru_cache(maxsize=16)
def _needed_of_each(width: int, records: int) -> Sequence[tuple[Callable[[list[bytes]], _Needed], int, int]]:
    """What selects the needed fields of each record from all fields of a frame, its first index, and that of its
    session, 0 for none. Cached: an itemgetter is cheaper than a slice, and the frames of a day have few shapes.
    """
    starts = range(0, width * records, width)
    sessions = range(_SESSION, width * records, width) if width > _SESSION else [0] * records
    return [
        (itemgetter(*(start + index for index in _NEEDED)), start, session_at)
        for start, session_at in zip(starts, sessions, strict=True)
    ]


def _trade(
    needed: _Needed, session: MarketSession | None, receive_time_ns: int, line: Callable[[bytes], str], venue: str
) -> Trade:
    """One record's trade."""
    symbol, hour, price_text, ask_text, bid_text, volume_text, total_text, sells, buys, aggressor, date = needed
    trades: int | None
    try:
        price, volume, total = number(price_text), number(volume_text), number(total_text)
        ask, bid, trades = number(ask_text), number(bid_text), count(sells) + count(buys)
    except msgspec.DecodeError:  # padded, perhaps, or blank
        price, volume, total = padded_number(price_text), padded_number(volume_text), padded_number(total_text)
        ask, bid, trades = optional_number(ask_text), optional_number(bid_text), _count_of(sells, buys)
    if not (price > 0.0 < volume <= total and ask >= 0.0 <= bid and 0 <= (trades or 0) <= COUNT_MAX):
        raise ValueError(f"price {price}, volume {volume}, day's volume {total}, ask {ask}, bid {bid}, trades {trades}")
    midnight, session_date = day_of(date)
    return Trade(
        PROVIDER,
        line(symbol),
        session_date,
        midnight + time_of_day_ns(hour),
        receive_time_ns,
        price,
        volume,
        total,
        trades,
        _SIDES.get(aggressor, "unknown"),
        bid or None,
        ask or None,
        None,  # by position up to the last one: names cost more
        False,
        session,
        venue,
    )


def _count_of(sells: bytes, buys: bytes) -> int | None:
    """The day's number of trades; None when either count is blank."""
    return None if is_blank(sells) or is_blank(buys) else padded_count(sells) + padded_count(buys)


def _width_by_content(fields: list[bytes]) -> int:
    """The record width of a frame whose counts do not fit: where the next record visibly begins.

    A record begins with a symbol and a time of day; the date of the first one must come again when the second reaches
    that far. With no second record in sight, one record is taken if there is enough of it for the documented width.
    """
    for start in range(RECORD_WIDTH_MIN, min(len(fields) - _HOUR, _WIDTH_MAX)):
        date = fields[start + _DATE] if start + _DATE < len(fields) else fields[_DATE]
        if len(fields[start]) >= 6 and is_time_of_day(fields[start + _HOUR]) and date == fields[_DATE]:
            return start
    return max(RECORD_WIDTH_MIN, len(fields))
