"""Settings of one streaming connection, beside its dialect and credentials."""

from observer.brokers.broker import RecordKind
from observer.brokers.dialect import StreamTraits
from observer.brokers.settings import StreamLimits


class StreamSettings(StreamLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address, the records to stream, the limits and the waits. `_s` is machine time, `_market_s` is market time.

    Each symbol takes one of the `capacity` subscriptions for each kind in `records`, so two kinds halve the number of
    symbols. `attempts_per_hour` and the delays are the requirement's (docs/requirement.md); the last delay repeats. The
    connection retries refused subscriptions every `refusal_market_s`.
    """

    url: str
    provider: str
    account: str
    capacity: int
    traits: StreamTraits = StreamTraits()
    records: tuple[RecordKind, ...] = ("trades",)
    connect_s: float = 10.0
    acknowledgement_s: float = 5.0
    close_s: float = 2.0
    key_check_s: float = 1.0
    delays_market_s: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
    refusal_market_s: float = 300.0

    def __post_init__(self) -> None:
        """Requires trades among the records: the listener's `on_subscribed` reports them."""
        StreamLimits.__post_init__(self)
        once = len(set(self.records)) == len(self.records)
        if "trades" not in self.records or not once or len(self.records) > self.capacity:
            raise ValueError(f"records {self.records} of capacity {self.capacity}: each once, and trades among them")
        if self.traits.batch_max != 1:
            raise ValueError(f"batch_max {self.traits.batch_max}: this loop sends one subscription a message")
