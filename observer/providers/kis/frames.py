"""Trade frames of the KIS stream -> trades. Pure, and the hottest code of the provider.

A frame is `E|TR_ID|NNN|payload`: E 0 for plain text, NNN the number of records, the payload all fields of all records
joined by `^` (kis-api.md, section 5). A record of H0STCNT0, cut after its date:

    005930^140610^277750^2^3750^1.37^280395.69^283000^283500^276500^278000^277500^5^11955000^3352130122500^83251^86830
    ^3579^120.39^5217059^6280658^5^0.53^53.70^090023^5^-5250^090048^5^-5750^135824^2^1250^20260922^...

The width of a record is fields / NNN, never a constant: 46 fields in 2024, 47 in 2026, new ones always at the end. The
simulator states the same field order once more, on purpose: a shared table would hide the error it exists to find.
"""

from functools import lru_cache
from math import inf
from operator import itemgetter
from typing import Final

from bus.events import InputQuarantined, Side, Trade
from observer.providers.kis.moments import midnight_ns, since_midnight_ns

PROVIDER: Final = "kis"
TRADE_TRANSACTIONS: Final = frozenset({"H0STCNT0", "H0UNCNT0", "H0NXCNT0"})  # KRX, both venues, NXT: one layout
_RECORDS_MAX: Final = 999  # NNN has three digits
_WIDTH_MIN: Final = 46  # the documented record; later ones are wider
_HEAD: Final = 34  # fields up to and with the last one that is read
_HOUR: Final = 1
_DATE: Final = 33

# symbol, hour, price, ask, bid, volume, cumulative volume, sell count, buy count, aggressor, date
_needed = itemgetter(0, _HOUR, 2, 10, 11, 12, 13, 15, 16, 21, _DATE)
_SIDES: Final[dict[str, Side]] = {"1": "buy", "3": "auction", "5": "sell"}


def parse_trades(frame: str | bytes, receive_time_ns: int) -> tuple[list[Trade], InputQuarantined | None]:
    """The trades of one frame in its order, and the frame itself with a reason when any of it could not be read.

    Of a broken frame the whole records before the break are kept. Never raises.
    """
    trades: list[Trade] = []
    try:
        text = frame if isinstance(frame, str) else frame.decode()
        count, payload = _open(text)
        field_count = payload.count("^") + 1
        width, remainder = divmod(field_count, count)
        if remainder or width < _WIDTH_MIN:
            fields = payload.split("^")
            _read_records(fields, _width_by_content(fields), receive_time_ns, trades)
            reason = f"{field_count} fields do not make {count} records of at least {_WIDTH_MIN}"
            return trades, _quarantined(frame, receive_time_ns, reason)
        if count == 1:  # by far the commonest frame: what lies behind the last field that is read stays unsplit
            trades.append(_trade(payload.split("^", _HEAD), receive_time_ns))
        else:
            _read_records(payload.split("^"), width, receive_time_ns, trades)
    except (ValueError, KeyError, OverflowError) as error:
        reason = f"record {len(trades) + 1}: {type(error).__name__}: {error}"
        return trades, _quarantined(frame, receive_time_ns, reason)
    return trades, None


def _open(text: str) -> tuple[int, str]:
    """The number of records that the header claims, and the payload."""
    encrypted, transaction, count_text, payload = text.split("|", 3)
    if encrypted != "0":
        raise ValueError(f"encryption flag {encrypted!r} where plain text was expected")
    if transaction not in TRADE_TRANSACTIONS:
        raise ValueError(f"{transaction!r} is not a trade record")
    count = int(count_text)
    if not 0 < count <= _RECORDS_MAX:
        raise ValueError(f"{count} records")
    return count, payload


def _read_records(fields: list[str], width: int, receive_time_ns: int, trades: list[Trade]) -> None:
    """Append the trade of every whole record to `trades`, so that those before an error stay."""
    starts = range(0, len(fields) - width + 1, width)
    # From a generator `extend` appends one by one, so what came before an error is there.
    trades.extend(_trade(fields[start : start + _HEAD], receive_time_ns) for start in starts)


def _trade(head: list[str], receive_time_ns: int) -> Trade:
    """One record's trade, from its first fields."""
    symbol, hour, price_text, ask, bid, volume_text, total_text, sells, buys, aggressor, date = _needed(head)
    price, volume, total = float(price_text), float(volume_text), float(total_text)
    # Written so that a NaN fails too: every comparison with one is false.
    if not (symbol and 0.0 < price < inf and 0.0 < volume <= total < inf):
        raise ValueError(f"symbol {symbol!r}, price {price_text}, volume {volume_text}, day's volume {total_text}")
    midnight, session_date = _day(date)
    return Trade(
        PROVIDER,
        symbol,
        session_date,
        midnight + since_midnight_ns(hour),
        receive_time_ns,
        price,
        volume,
        total,
        int(sells) + int(buys),
        _SIDES[aggressor],
        float(bid) or None,
        float(ask) or None,
    )


@lru_cache(maxsize=8)
def _day(date: str) -> tuple[int, str]:
    """The midnight and the ISO name of a day; every record of a stream names the same one."""
    return midnight_ns(date), f"{date[:4]}-{date[4:6]}-{date[6:]}"


def _width_by_content(fields: list[str]) -> int:
    """The record width of a frame whose counts do not fit: where the next record visibly begins.

    A record begins with a symbol and a time of day; the date of the first one must come again when the second reaches
    that far. With no second record in sight, one record is taken if there is enough of it for the documented width.
    """
    for start in range(_WIDTH_MIN, len(fields) - _HOUR):
        date = fields[start + _DATE] if start + _DATE < len(fields) else fields[_DATE]
        if len(fields[start]) >= 6 and _is_hour(fields[start + _HOUR]) and date == fields[_DATE]:
            return start
    return max(_WIDTH_MIN, len(fields))


def _is_hour(text: str) -> bool:
    try:
        since_midnight_ns(text)
    except ValueError:
        return False
    return True


def _quarantined(frame: str | bytes, receive_time_ns: int, reason: str) -> InputQuarantined:
    content = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
    return InputQuarantined(source="kis.trades", quarantined_ns=receive_time_ns, reason=reason, content=content)
