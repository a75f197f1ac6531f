"""All REST calls of an account's client: one Protocol over those of the subjects."""

from typing import Protocol

from observer.brokers.broker import HaltSource, HistorySource, QuoteSource
from observer.brokers.domestic import BarArchive, PastBarSource, SessionSource, VenueSource
from observer.brokers.etf import EtfSource
from observer.brokers.time_and_sales import TradePageSource
from observer.reference.listings.model import SecuritySource


class RestClient(
    QuoteSource,
    HaltSource,
    HistorySource,
    TradePageSource,
    PastBarSource,
    BarArchive,
    EtfSource,
    SecuritySource,
    SessionSource,
    VenueSource,
    Protocol,
):
    """The calls of one account. `Broker.capabilities` says which of them the broker offers; no other is made."""
