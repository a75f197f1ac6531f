"""Compares the fetched minute bars of a day with its stored trades, symbol by symbol."""

from collections.abc import Iterator

import msgspec

from bus.events import BarsChecked, BarsFetched
from observer.backfill.comparison import bars_of_trades, compared, official_bars
from observer.store.reader import StoreReader


def checked_bars(reader: StoreReader, fetches: list[BarsFetched], checked_ns: int) -> Iterator[BarsChecked]:
    """The comparison of each fetched symbol's day that has stored trades; the others have nothing to compare."""
    for fetch in fetches:
        stored = bars_of_trades(*reader.stored_trades(fetch.symbol, fetch.session_date))
        if stored:
            official = official_bars(reader.fetched_minute_bars(fetch.symbol, fetch.session_date))
            found = msgspec.structs.asdict(compared(official, stored))
            yield BarsChecked(
                *(fetch.provider, fetch.symbol, fetch.session_date, checked_ns), **found, venue=fetch.venue
            )
