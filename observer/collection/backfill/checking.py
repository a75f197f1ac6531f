"""Reads a symbol's day, and compares its fetched minute bars with bars made of its stored trades."""

from bus.events import BarsChecked, BarsFetched
from observer.collection.backfill.comparison import bars_of_trades, compared, official_bars
from observer.store.reader import StoreReader


def check_of(reader: StoreReader, fetch: BarsFetched, checked_ns: int) -> BarsChecked | None:
    """The comparison of a fetched day; None without stored trades, which leave nothing to compare.

    Raises:
        StoreError: the database does not answer.
    """
    stored = bars_of_trades(*reader.stored_trades(fetch.symbol, fetch.session_date))
    if not stored:
        return None
    official = official_bars(reader.fetched_minute_bars(fetch.symbol, fetch.session_date))
    return compared(fetch, checked_ns, official, stored)
