"""What the stream can be asked for: for each TR id, a symbol's records of the day with their times. Pure.

Records of KRX, NXT and both together are those of the market's views, see `venues`.

Halts (TRHT_YN): KIS documents the flag and not which record brings a Y, for nothing is dealt in a halt. This market
repeats the last trade's record when a disclosure halt begins, with the halt's time, no volume and the flag; the trade
that ends the halt says N like any other.

Captured frames, which a real session received, are sent again as they are: JSON lines with the frame under `raw`.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.kis.auctions import AuctionTimeline
from observer.simulator.kis.etf import nav_timeline
from observer.simulator.kis.frames import TRADE_FIELDS, Timeline, TradeTimeline
from observer.simulator.kis.records import BOOK_FIELDS, BookTimeline, OperationTimeline
from observer.simulator.kis.venues import is_silent, streamed_view
from observer.simulator.market.instruments import Instrument
from observer.simulator.market.market import Market, hhmmss

TRADE_TR_IDS: Final = frozenset({"H0STCNT0", "H0NXCNT0", "H0UNCNT0"})
BOOK_TR_IDS: Final = frozenset({"H0STASP0", "H0NXASP0", "H0UNASP0"})

STATE_TR_IDS: Final = frozenset({"H0STMKO0", "H0NXMKO0", "H0UNMKO0"})
_ALL_DAY: Final = 2**63


class Timelines:
    """The records of a market. They are made when first asked for, and kept: all sessions share them."""

    def __init__(
        self, market: Market, *, trade_fields: int, book_fields: int, state_fields: int, expected_prices: bool = False
    ) -> None:
        """The record widths depend on the year and are at least the documented ones. `expected_prices`: also those of
        auctions are among the trades.

        Raises:
            ValueError: a record would be narrower than KIS documents it.
        """
        if trade_fields < TRADE_FIELDS or book_fields < BOOK_FIELDS:
            raise ValueError(f"records of at least {TRADE_FIELDS} and {BOOK_FIELDS} fields are documented")
        self._market = market
        self._made: dict[tuple[str, str], Timeline] = {}
        self._makers: dict[str, Callable[[Market, Instrument], Timeline]] = {
            **dict.fromkeys(
                TRADE_TR_IDS, partial(noticed_trades, fields=trade_fields, expected_prices=expected_prices)
            ),
            **dict.fromkeys(BOOK_TR_IDS, lambda market, listed: BookTimeline(market, listed, book_fields)),
            "H0STANC0": AuctionTimeline,
            "H0NXANC0": lambda _market, _listed: Timeline(),  # NXT has no auction at its opening and its close
            **dict.fromkeys(STATE_TR_IDS, lambda market, listed: OperationTimeline(market, listed, state_fields)),
            "H0STNAV0": nav_timeline,
        }

    def offers(self, tr_id: str) -> bool:
        """Whether the TR id is a known kind of record."""
        return tr_id in self._makers

    def of(self, tr_id: str, symbol: str) -> Timeline | None:
        """A symbol's records of one kind; None for a symbol that is not listed. Raises KeyError for another TR id."""
        timeline = self._made.get((tr_id, symbol))
        if timeline is None:
            instrument = self._market.instrument(symbol)
            if instrument is None:
                return None
            if is_silent(self._market, tr_id, symbol):
                timeline = Timeline()
            else:
                timeline = self._makers[tr_id](streamed_view(self._market, tr_id), instrument)
            self._made[tr_id, symbol] = timeline
        return timeline


CapturedFrames = Mapping[tuple[str, str], tuple[str, ...]]

_DATA_PARTS = 4


class _Line(msgspec.Struct, frozen=True):
    raw: str


def captured_frames(content: bytes) -> CapturedFrames:
    """Data frames by TR id and key (the first field of the first record), in their order; control messages are left
    out.

    Raises:
        ValueError: a line is not a JSON object with a `raw`.
    """
    frames: dict[tuple[str, str], tuple[str, ...]] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            raw = msgspec.json.decode(line, type=_Line).raw
        except msgspec.DecodeError as error:
            raise ValueError(f"line {number} of the captured frames: {error}") from error
        parts = raw.split("|", _DATA_PARTS - 1)
        if raw[:1] in ("0", "1") and len(parts) == _DATA_PARTS:
            key = (parts[1], parts[3].partition("^")[0])
            frames[key] = (*frames.get(key, ()), raw)
    return frames


_TIME: Final = 1
_VOLUME: Final = 12
_HALTED: Final = 35


def noticed_trades(market: Market, instrument: Instrument, *, fields: int, expected_prices: bool) -> Timeline:
    """The records of the day: trades, among them a notice of each disclosure halt, and the expected prices of auctions.
    Of both venues together there are no expected prices.
    """
    trades, shown = TradeTimeline(market, instrument, fields), list[Notice]()
    if expected_prices and (market.name != "consolidated" or not market.whole_day):
        expected = AuctionTimeline(market, instrument, fields)
        count = expected.count_until(_ALL_DAY)
        shown = [Notice(expected.time_ns(index), partial(expected.record, index)) for index in range(count)]
    disclosed = (halt.start_ns for halt in market.halts(instrument.symbol) if halt.reason == "disclosure")
    halted = [
        Notice(start_ns, partial(_halted, market, trades, start_ns))
        for start_ns in disclosed
        if trades.count_until(start_ns)
    ]
    notices = sorted([*shown, *halted], key=lambda notice: notice.time_ns)
    return NoticedTrades(trades, notices) if notices else trades


def _halted(market: Market, trades: TradeTimeline, start_ns: int) -> str:
    """The last trade's record again, with the halt's time and flag, and no volume."""
    reported = trades.record(trades.count_until(start_ns) - 1).split("^")
    reported[_TIME] = hhmmss((start_ns - market.midnight_ns) // NS_PER_S)
    reported[_VOLUME], reported[_HALTED] = "0", "Y"
    return "^".join(reported)


class Notice(msgspec.Struct, frozen=True):
    """A record of the trade stream that is no trade, and when it is due."""

    time_ns: int
    record: Callable[[], str]


class NoticedTrades(Timeline):
    """Trades with notices among them. `_indices` are those of the notices, each behind the trades before it."""

    def __init__(self, trades: TradeTimeline, notices: Sequence[Notice]) -> None:
        self._trades = trades
        self._notices = notices
        super().__init__([notice.time_ns for notice in notices])
        self._indices = [trades.count_until(time_ns) + number for number, time_ns in enumerate(self._times_ns)]

    def count_until(self, moment_ns: int) -> int:
        """How many records there are at or before a moment."""
        return self._trades.count_until(moment_ns) + super().count_until(moment_ns)

    def notices(self, first: int, end: int) -> int:
        """How many records from one number (inclusive) to the other (exclusive) are no trades."""
        return bisect_left(self._indices, end) - bisect_left(self._indices, first)

    def time_ns(self, index: int) -> int:
        """When a record is due."""
        before = bisect_left(self._indices, index)
        return self._times_ns[before] if self._is_notice(index, before) else self._trades.time_ns(index - before)

    def record(self, index: int) -> str:
        """The `index`-th record (from 0)."""
        before = bisect_left(self._indices, index)
        return self._notices[before].record() if self._is_notice(index, before) else self._trades.record(index - before)

    def _is_notice(self, index: int, before: int) -> bool:
        return before < len(self._indices) and self._indices[before] == index
