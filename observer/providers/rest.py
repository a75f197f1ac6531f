"""All REST calls of an account's client: one Protocol over those of the subjects."""

from typing import Protocol

from observer.listings.model import SecuritySource
from observer.providers.broker import HaltSource, HistorySource, QuoteSource
from observer.providers.domestic import PastBarSource, SessionSource, VenueSource
from observer.providers.etf import EtfSource
from observer.providers.time_and_sales import TradePageSource


class RestClient(
    QuoteSource,
    HaltSource,
    HistorySource,
    TradePageSource,
    PastBarSource,
    EtfSource,
    SecuritySource,
    SessionSource,
    VenueSource,
    Protocol,
):
    """The calls of one account. `Broker.capabilities` says which of them the broker offers; no other is made."""
