"""What the day's universe is built with."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from observer.base.clock import Clock
from observer.brokers.broker import HistorySource, QuoteSource
from observer.brokers.domestic import VenueSource
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import Alerts
from observer.reference.listings.model import Listing
from observer.reference.universe.settings import UniverseVenues
from observer.selection.settings import UniverseSettings
from observer.store.reader import StoreReader

if TYPE_CHECKING:
    from bus.producer import Producer


class UniverseParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a universe is built with.

    `provider` is the broker of the listings and bars, `venues` those whose lines the universe holds, `folder` that of
    the universe's files. `history` fetches daily bars, `quotes` the base prices that the master files lack; `listed`
    reads the list of a further venue, and `trading` states whether a stock that such a list names as stopped trades
    there. `bring_listings` checks an exchange's master file, when its listings are missing; `settled` returns when all
    published facts are committed.
    """

    provider: str
    settings: UniverseSettings
    venues: UniverseVenues
    today: TradingDayService
    folder: Path
    clock: Clock
    producer: "Producer"
    history: HistorySource
    quotes: QuoteSource
    listed: Callable[[str], Awaitable[Sequence[Listing]]]
    trading: VenueSource
    reader: StoreReader
    bring_listings: Callable[[str], Awaitable[None]]
    settled: Callable[[], Awaitable[None]]
    alerts: Alerts
