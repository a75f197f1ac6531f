"""Frames of the KIS stream that carry something else than trades -> facts. Pure (kis-api.md, section 9).

One layout for each kind of record: its TR ids, its documented width, and what reads it. As with trades, the width of a
record comes from the frame, and new fields stand at the end. An order book of 2026, 63 fields where 59 are documented,
cut behind its expected price and cumulative volume:

    005930^140610^0^278000^278500^...^282500^277500^277000^...^273000^47584^39910^...^120466^70626^35559^...^25718
    ^794831^496484^0^0^0^0^457236^-274000^5^-100.00^11955000^...
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Final

import msgspec

from bus.events import ExpectedPrice, InputQuarantined, MarketStateChanged, NavObserved, OrderBook
from observer.providers.broker import StreamFact
from observer.providers.kis.fields import (
    PROVIDER,
    bytes_of,
    day_at,
    day_of,
    is_time_of_day,
    numbers,
    open_frame,
    padded_number,
    quarantined,
    symbol_of,
    time_of_day_ns,
    words_of,
)

# --- order book: H0STASP0 --------------------------------------------------------------------------------------

# Ten asks, ten bids (the best first), the volumes at them and in total; expected price and volume; day's volume. What
# lies between is of the after-hours market.
_BOOK_NUMBERS: Final = itemgetter(*range(3, 45), 47, 48, 53)


_make_book: Final[Callable[..., OrderBook]] = OrderBook  # its fields stand in the order of the record's


def _order_book(fields: list[bytes], receive_time_ns: int) -> OrderBook:
    values = numbers(_BOOK_NUMBERS(fields))
    if min(values) < 0:
        raise ValueError(f"{min(values)} is neither a price nor a volume")
    midnight, session_date = day_at(receive_time_ns)
    return _make_book(
        PROVIDER,
        symbol_of(fields[0]),
        session_date,
        midnight + time_of_day_ns(fields[1]),
        receive_time_ns,
        *[price or None for price in values[:20]],
        *values[20:42],
        values[42] or None,
        values[43],
        values[44],
    )


# --- expected price in auctions: H0STANC0 ----------------------------------------------------------------------


def _expected_price(fields: list[bytes], receive_time_ns: int) -> ExpectedPrice:
    price, ask, bid, volume = numbers([fields[2], *fields[10:13]])
    if not (price > 0.0 <= volume and ask >= 0.0 <= bid):
        raise ValueError(f"price {price}, volume {volume}, ask {ask}, bid {bid}")
    midnight, session_date = day_of(fields[33])
    return ExpectedPrice(
        PROVIDER,
        symbol_of(fields[0]),
        session_date,
        midnight + time_of_day_ns(fields[1]),
        receive_time_ns,
        price,
        volume,
        bid or None,
        ask or None,
    )


# --- market operation: H0STMKO0 --------------------------------------------------------------------------------

_HALTED: Final = {"Y": True, "N": False, "": False}


def _market_state(fields: list[bytes], receive_time_ns: int) -> MarketStateChanged:
    halted, *words = [words_of(field) for field in fields[1:11]]
    return MarketStateChanged(PROVIDER, symbol_of(fields[0]), receive_time_ns, _HALTED[halted], *words)


# --- ETF net asset value: H0STNAV0 -----------------------------------------------------------------------------

_FALLING: Final = frozenset({b"4", b"5"})  # limit down, down


def _nav(fields: list[bytes], receive_time_ns: int) -> NavObserved:
    nav, first, highest, lowest = numbers([fields[5], *fields[9:12]])
    if not (nav > 0.0 and min(first, highest, lowest) >= 0.0):
        raise ValueError(f"NAV {nav}, open {first}, high {highest}, low {lowest}")
    # Some fields carry the sign in the number as well (kis-api.md, section 5).
    change = abs(padded_number(fields[7]))
    return NavObserved(
        PROVIDER,
        symbol_of(fields[4]),
        receive_time_ns,
        nav,
        -change if fields[6].strip() in _FALLING else change,
        first or None,
        highest or None,
        lowest or None,
    )


# --- frames ----------------------------------------------------------------------------------------------------


class _Layout(msgspec.Struct, frozen=True):
    """One kind of record. `hour` says that the field behind the symbol, which is the first one, is a time of day."""

    name: str
    width_min: int
    hour: bool
    read: Callable[[list[bytes], int], StreamFact]


_ORDER_BOOK: Final = _Layout("order_book", 59, hour=True, read=_order_book)
_LAYOUTS: Final[dict[bytes, _Layout]] = {
    b"H0STASP0": _ORDER_BOOK,
    b"H0UNASP0": _ORDER_BOOK,
    b"H0NXASP0": _ORDER_BOOK,
    b"H0STANC0": _Layout("expected_price", 45, hour=True, read=_expected_price),
    b"H0STMKO0": _Layout("market_state", 11, hour=False, read=_market_state),
    b"H0STNAV0": _Layout("nav", 12, hour=False, read=_nav),
}


def parse_facts(frame: str | bytes, receive_time_ns: int) -> tuple[list[StreamFact], InputQuarantined | None]:
    """The facts of one frame in its order, and the frame itself with a reason when any of it could not be read.

    Of a broken frame the whole records before the break are kept. Never raises.
    """
    content = bytes_of(frame)
    facts: list[StreamFact] = []
    source = "stream"
    try:
        transaction, records, payload = open_frame(content)
        layout = _LAYOUTS.get(transaction)
        if layout is None:
            # Overseas trades (HDFSCNT0) end here too: nothing of ours registers them.
            reason = f"{ascii(transaction[:32])[1:]} is a record of no kind that is kept"
        else:
            source = layout.name
            reason = _read_records(layout, records, payload.split(b"^"), receive_time_ns, facts)
    except (ValueError, KeyError) as error:
        reason = f"record {len(facts) + 1}: {type(error).__name__}: {error}"
    return facts, quarantined(source, content, receive_time_ns, reason) if reason else None


def _read_records(
    layout: _Layout, records: int, fields: list[bytes], receive_time_ns: int, facts: list[StreamFact]
) -> str:
    """Append every whole record to `facts`, so that those before an error stay; returns what is wrong, if anything.

    Raises:
        ValueError, KeyError: a record cannot be read; those before it have been appended.
    """
    width, remainder = divmod(len(fields), records)
    reason = ""
    if remainder or width < layout.width_min:
        width = _width_by_content(layout, fields)
        reason = f"{len(fields)} fields do not make {records} records of at least {layout.width_min}"
    for start in range(0, len(fields) - width + 1, width):
        facts.append(layout.read(fields[start : start + layout.width_min], receive_time_ns))  # noqa: PERF401 - survives an error
    return reason


_WIDTHS_MAX: Final = 4  # times the documented width: a frame of a megabyte must not hold the stream


def _width_by_content(layout: _Layout, fields: list[bytes]) -> int:
    """The record width of a frame whose counts do not fit: where the next record visibly begins, with a symbol and a
    time of day. With none in sight only the first record can be distinguished from the rest, if something stands behind
    it: its own last field may be cut.
    """
    if layout.hour:
        for start in range(layout.width_min, min(len(fields) - 1, _WIDTHS_MAX * layout.width_min)):
            if len(fields[start]) >= 6 and fields[start].isalnum() and is_time_of_day(fields[start + 1]):
                return start
    return max(layout.width_min + 1, len(fields))
