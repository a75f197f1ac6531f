"""What a day of Track B works with."""

import msgspec

from bus.endpoints import Address
from bus.producer import Producer
from observer.base.clock import Clock
from observer.brokers.broker import HaltSource, QuoteSource
from observer.collection.late_end import StopVolumes
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader


class StreamParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the stream's trades are recorded with. `provider` is the broker of the market data stream, `quotes` its REST
    quotes, `clock` the market's time; `alerts` are those of the process.
    """

    provider: str
    quotes: QuoteSource
    producer: Producer
    clock: Clock
    alerts: Alerts


class DayParts(StreamParts, frozen=True, kw_only=True):
    """`halts` are the broker's halt queries; `stop_volumes` the volumes at Track B's stop, for a day that is ended
    later. `reader` has earlier days, Track A's data and those of an earlier process of this day; `feed_address` is that
    of the feed of committed snapshots.
    """

    halts: HaltSource
    stop_volumes: StopVolumes
    reader: StoreReader
    feed_address: Address
