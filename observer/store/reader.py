"""Queries of the database; answers are frozen structs: events as they were published, or small records.

Reading never waits for the writer and never makes it wait. Each query sees one state of the database: all of a commit,
or nothing of it. A query is in the file of its subject: days, trades, history (snapshots, sweeps, bars), profiles,
listings, universes, decisions, slots, gaps, quality, quotes, backfill (fetched
bars), tape, summary; ETFs and sectors have readers of their own.
"""

from observer.store.backfill import BackfillReader
from observer.store.days import DayReader
from observer.store.decisions import DecisionReader
from observer.store.gaps import GapReader
from observer.store.history import HistoryReader
from observer.store.listings import ListingReader
from observer.store.profiles import ProfileReader
from observer.store.quality import QualityReader
from observer.store.quotes import QuoteReader
from observer.store.slots import SlotReader
from observer.store.summary import SummaryReader
from observer.store.tape import TapeReader
from observer.store.trades import TradeReader
from observer.store.universes import UniverseReader


class StoreReader(
    DayReader,
    TradeReader,
    HistoryReader,
    ProfileReader,
    ListingReader,
    UniverseReader,
    DecisionReader,
    SlotReader,
    GapReader,
    QualityReader,
    QuoteReader,
    BackfillReader,
    TapeReader,
    SummaryReader,
):
    """All subjects over one pool of connections, for processes that query several; it adds no query.

    What the data cover and what not (which symbols, from when on, in which order): docs/data.md.
    """
