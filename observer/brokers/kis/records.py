"""Frames of the KIS stream that carry something else than trades -> facts. Pure (docs/kis.md#frames).

One layout for each kind of record: its TR ids, its documented width, and what reads it. As with trades, the width of a
record comes from the frame, and new fields stand at the end. An order book of 2026, 63 fields where 59 are documented,
cut behind its expected price and cumulative volume; the last field is MARKET_CLS_CODE, the session:

    005930^140610^0^278000^278500^...^282500^277500^277000^...^273000^47584^39910^...^120466^70626^35559^...^25718
    ^794831^496484^0^0^0^0^457236^-274000^5^-100.00^11955000^...^2

A price or volume that a record lacks is none; `(null)` is nothing in a text.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from bus.events import (
    ExpectedPrice,
    InputQuarantined,
    MarketSession,
    MarketStateChanged,
    NavObserved,
    OrderBook,
)
from observer.brokers.broker import StreamFact
from observer.brokers.kis.fields import (
    PROVIDER,
    Frame,
    Source,
    bytes_of,
    day_at,
    day_of,
    is_blank,
    is_time_of_day,
    numbers,
    open_frame,
    optional_number,
    quarantined,
    session_of,
    time_of_day_ns,
    words_of,
)
from observer.brokers.kis.market_codes import AUCTIONS, HOUR_CLASS, MARKET_NOTICES
from observer.brokers.kis.venues import KRX

# --- order book: H0STASP0 --------------------------------------------------------------------------------------

# Ten asks, ten bids (the best first), the volumes at them and in total; expected price and volume; day's volume. What
# lies between is of the after-hours market.
_BOOK_NUMBERS: Final = itemgetter(*range(3, 45), 47, 48)
_BOOK_TOTAL: Final = 53
_BOOK_SESSION: Final = 62  # absent before September 2026

_make_book: Final[Callable[..., OrderBook]] = OrderBook  # its fields stand in the order of the record's


def _order_book(fields: list[bytes], receive_time_ns: int, source: Source) -> OrderBook:
    values = [*_numbers_or_none(_BOOK_NUMBERS(fields)), *numbers([fields[_BOOK_TOTAL]])]
    if min(values) < 0:
        raise ValueError(f"{min(values)} is neither a price nor a volume")
    midnight, session_date = day_at(receive_time_ns)
    return _make_book(
        PROVIDER,
        source.line(fields[0]),
        session_date,
        midnight + time_of_day_ns(fields[1]),
        receive_time_ns,
        *[price or None for price in values[:20]],
        *values[20:42],
        values[42] or None,
        values[43],
        values[44],
        # The fields behind the documented ones differ by venue: at NXT a middle price stands there.
        session_of(fields[_BOOK_SESSION]) if source.venue == KRX and len(fields) > _BOOK_SESSION else None,
        source.venue,
    )


def _numbers_or_none(texts: Sequence[bytes]) -> list[float]:
    """All of them, 0 where a field is blank."""
    return numbers([b"0" if is_blank(text) else text for text in texts])


# --- expected price in auctions: H0STANC0, and records of the trade stream ---------------------------------------


def expected_price(
    fields: list[bytes], receive_time_ns: int, source: Source, session: MarketSession | None = None
) -> ExpectedPrice | None:
    """The expected price of a record, None where no orders cross: without a price. `session` where the record states
    one. Both streams have the same fields.

    Raises:
        ValueError: the record cannot be read.
    """
    price, ask, bid = _numbers_or_none([fields[2], *fields[10:12]])
    if price == 0:
        return None
    [volume] = numbers([fields[12]])
    if not (price > 0.0 <= volume and ask >= 0.0 <= bid):
        raise ValueError(f"price {price}, volume {volume}, ask {ask}, bid {bid}")
    midnight, session_date = day_of(fields[33])
    return ExpectedPrice(
        PROVIDER,
        source.line(fields[0]),
        session_date,
        midnight + time_of_day_ns(fields[1]),
        receive_time_ns,
        price,
        volume,
        bid or None,
        ask or None,
        source.venue,
        session,
        AUCTIONS.get(fields[HOUR_CLASS].strip()),
    )


# --- market operation: H0STMKO0 --------------------------------------------------------------------------------

# Ten fields on the wire; the documents have an eleventh, a code of the venue, which the TR id states in any case:
#
#     396300^N^(null)^^311^^^55^N^N
#
# The third field is the market's, also a stop of all of it (`market_codes`); whether TRHT_YN says Y in one, too, is not
# documented.
_HALTED: Final = {"Y": True, "N": False, "": False}
_STATE_TEXTS: Final = 9  # behind the symbol


def _market_state(fields: list[bytes], receive_time_ns: int, source: Source) -> MarketStateChanged:
    halted, reason, market, expected, extension, allocation, state, interruption, after_hours = (
        words_of(field) for field in fields[1 : 1 + _STATE_TEXTS]
    )
    return MarketStateChanged(
        provider=PROVIDER,
        symbol=source.line(fields[0]),
        receive_time_ns=receive_time_ns,
        halted=_HALTED[halted],
        halt_reason=reason,
        market_state=market,
        expected_market_state=expected,
        extension=extension,
        allocation=allocation,
        symbol_state=state,
        volatility_interruption=interruption,
        after_hours_interruption=after_hours,
        venue=source.venue,
        market_notice=MARKET_NOTICES.get(market),
    )


# --- ETF net asset value: H0STNAV0 -----------------------------------------------------------------------------

# Symbol, NAV, sign code, change, change in percent, open, high, low:
#
#     069500^37235.46^5^-381.26^-1.01^37646.25^37646.25^37202.10
#
_FALLING: Final = frozenset({b"4", b"5"})  # limit down, down


def _nav(fields: list[bytes], receive_time_ns: int, source: Source) -> NavObserved:
    [nav], (first, highest, lowest) = numbers([fields[1]]), _numbers_or_none(fields[5:8])
    if not (nav > 0.0 and min(first, highest, lowest) >= 0.0):
        raise ValueError(f"NAV {nav}, open {first}, high {highest}, low {lowest}")
    # Some fields carry the sign in the number as well (docs/kis.md#rest-envelope).
    change = abs(optional_number(fields[3]))
    return NavObserved(
        PROVIDER,
        source.line(fields[0]),
        receive_time_ns,
        nav,
        -change if fields[2].strip() in _FALLING else change,
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
    read: Callable[[list[bytes], int, Source], StreamFact | None]


_ORDER_BOOK: Final = _Layout("order_book", 59, hour=True, read=_order_book)
_EXPECTED_PRICE: Final = _Layout("expected_price", 45, hour=True, read=expected_price)
_MARKET_STATE: Final = _Layout("market_state", 10, hour=False, read=_market_state)
_LAYOUTS: Final[dict[bytes, _Layout]] = {
    b"H0STASP0": _ORDER_BOOK,
    b"H0UNASP0": _ORDER_BOOK,
    b"H0NXASP0": _ORDER_BOOK,
    b"H0STANC0": _EXPECTED_PRICE,
    b"H0NXANC0": _EXPECTED_PRICE,
    b"H0STMKO0": _MARKET_STATE,
    b"H0UNMKO0": _MARKET_STATE,
    b"H0NXMKO0": _MARKET_STATE,
    b"H0STNAV0": _Layout("nav", 8, hour=False, read=_nav),
}


FACT_TRANSACTIONS: Final = frozenset(_LAYOUTS)
"""The TR ids of the records that are read here: facts, no trades."""


def parse_facts(frame: str | bytes, receive_time_ns: int) -> tuple[list[StreamFact], InputQuarantined | None]:
    """The facts of one frame in its order, and the frame itself with a reason when any of it could not be read.

    Of a broken frame the whole records before the break are kept. Never raises.
    """
    content = bytes_of(frame)
    facts: list[StreamFact] = []
    kind = "stream"
    try:
        opened = open_frame(content)
        layout = _LAYOUTS.get(opened[0])
        if layout is None:
            # Overseas trades (HDFSCNT0) end here too: nothing of ours registers them.
            reason = f"{ascii(opened[0][:32])[1:]} is a record of no kind that is kept"
        else:
            kind = layout.name
            reason = _read_records(layout, opened, receive_time_ns, facts)
    except (ValueError, KeyError) as error:
        reason = f"record {len(facts) + 1}: {type(error).__name__}: {error}"
    return facts, quarantined(kind, content, receive_time_ns, reason) if reason else None


def _read_records(layout: _Layout, opened: Frame, receive_time_ns: int, facts: list[StreamFact]) -> str:
    """Append every whole record to `facts`, so that those before an error stay; returns what is wrong, if anything.

    Raises:
        ValueError, KeyError: a record cannot be read; those before it have been appended.
    """
    _, source, records, fields, width, remainder = opened
    reason, read_width = "", width
    if remainder or width < layout.width_min:
        width, read_width = _width_by_content(layout, fields), layout.width_min
        reason = f"{len(fields)} fields do not make {records} records of at least {layout.width_min}"
    for start in range(0, len(fields) - width + 1, width):
        record = fields[start : start + read_width]
        if (fact := layout.read(record, receive_time_ns, source)) is not None:
            facts.append(fact)  # survives an error
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
