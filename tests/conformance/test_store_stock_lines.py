"""What readers say of a stock at all its venues is a fold of its lines' rows, found by their ids alone.

Also where the order of texts ignores punctuation; and the lines of other stocks cost nothing.
"""

from datetime import date, timedelta
from functools import partial
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from bus.delivery import Delivered
from bus.events import DailyBar, OrderBook, QualityJudged, Snapshot, Trade, TradesConflated
from observer.base.lines import line_id, stock_of
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.store.quotes import MAX_QUOTE_AGE_NS, BestQuote, Quote
from observer.store.reader import StoreReader
from observer.store.summary import SweptVolume
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.conformance.conftest import postgresql_database
from tests.properties import examples
from tests.store.migrated import make_database

IGNORES_PUNCTUATION = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'und-u-ka-shifted'"
STOCKS = ("A", "AB", "A1", "AN", "ANX", "KRX", "a")  # without the separator, "ANXT" lies between "ANX" and "A.NXT"
UNKNOWN = ("", "A.", "A.NXT", "AX", "Z")
VENUES = ("KRX", "NXT", "ATS")
SECOND_MAX = 900
DAYS = count()  # a database keeps the rows of earlier examples: each has days of its own


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "without punctuation"])
def url(request, tmp_path_factory):
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path_factory.mktemp('lines') / 'observer.sqlite3'}"
        make_database(found)
        yield found
        return
    with postgresql_database("" if request.param == "postgresql" else IGNORES_PUNCTUATION) as found:
        make_database(found)
        yield found


@pytest.fixture(scope="module")
def store(url):
    writer = StoreWriter(url)
    writer.open()
    streams = count(1)
    yield lambda events: writer.commit([Delivered("track-b", f"{next(streams):032x}", 1, events)])
    writer.close()


@pytest.fixture(scope="module")
def reader(url):
    with StoreReader(url) as reader:
        yield reader


@pytest.fixture
def day():
    return date(2027, 1, 1) + timedelta(days=next(DAYS))


# --- days with rows of several lines ---

PRICES = st.none() | st.integers(90, 110).map(float)
KINDS = st.sampled_from(["trade", "trade", "snapshot", "snapshot", "book", "bar", "report"])
LINES = st.tuples(st.sampled_from(STOCKS), st.sampled_from(VENUES))
ROWS = st.lists(st.tuples(KINDS, LINES, st.integers(0, SECOND_MAX), PRICES, PRICES), max_size=40)


def made(day, number, given_row):
    """A row of a line: a kind, a stock and a venue, a second after ten, a bid and an ask. A halted line has snapshots
    without prices, and no trade.
    """
    kind, (stock, venue), second, bid, ask = given_row
    symbol, at_ns = line_id(stock, venue, "KRX"), local_ns(day, 10) + second * NS_PER_S + number
    own = ("kis", symbol, day.isoformat())
    match kind:
        case "trade":
            times = {"exchange_time_ns": at_ns, "receive_time_ns": at_ns, "cumulative_volume": float(number)}
            prices = {"bid": bid, "ask": ask, "gap_id": None if number % 5 else "g"}
            return trade(1, symbol=symbol, session_date=own[2], venue=venue, **times, **prices)
        case "snapshot":
            return Snapshot(*own, 1, at_ns, 1.0, *[None] * 6, bid, ask, float(number), 0.0, venue=venue)
        case "book":
            levels = (ask, *[None] * 9, bid, *[None] * 9)
            return OrderBook(*own, at_ns, at_ns, *levels, *[0.0] * 22, None, 0.0, 0.0, venue=venue)
        case "report":
            counts = (1.0, 1, 100.0, 10.0, 5.0, 1.0, 2, 1)
            return QualityJudged(*own, 1, "complete", "", *counts, day_quality="whole", day_volume=float(number))
    return DailyBar(*own, 1.0, 2.0, 0.5, 1.0, float(number), 1.0, venue=venue)


def quotes_of(rows, stock, at_ns):
    """By line the last quote of the ten minutes before. A recovered trade says nothing of the quotes that stand."""
    found = {}
    for row in rows:
        match row:
            case Trade(gap_id=None) if row.bid is not None or row.ask is not None:
                quote = Quote(row.symbol, row.receive_time_ns, row.bid, row.ask)
            case Snapshot():
                quote = Quote(row.symbol, row.receive_time_ns, row.bid, row.ask)
            case OrderBook():
                quote = Quote(row.symbol, row.receive_time_ns, row.bid_1, row.ask_1)
            case _:
                continue
        is_newer = quote.symbol not in found or quote.quoted_ns > found[quote.symbol].quoted_ns
        if is_newer and stock_of(quote.symbol) == stock and at_ns - MAX_QUOTE_AGE_NS < quote.quoted_ns <= at_ns:
            found[quote.symbol] = quote
    return [found[symbol] for symbol in sorted(found)]


def best_of(stock, quotes):
    """The highest bid and the lowest ask; of equal ones the newer."""
    bids = [each for each in quotes if each.bid is not None]
    asks = [each for each in quotes if each.ask is not None]
    bid = max(bids, key=lambda each: (each.bid, each.quoted_ns), default=None)
    ask = min(asks, key=lambda each: (each.ask, -each.quoted_ns), default=None)
    return BestQuote(stock, bid, ask, quotes)


def volumes_of(rows, stock):
    """By line the volume of its report, of its newest bar, else of its last snapshot."""
    found = {}
    for row in rows:
        if isinstance(row, Snapshot):
            found[row.symbol] = max(found.get(row.symbol, 0.0), row.cumulative_volume)
    found |= {row.symbol: row.volume for row in rows if isinstance(row, DailyBar)}
    found |= {row.symbol: row.day_volume for row in rows if isinstance(row, QualityJudged)}
    return {symbol: volume for symbol, volume in found.items() if stock_of(symbol) == stock}


@settings(examples(0.14), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=ROWS, at_second=st.integers(0, SECOND_MAX))
def test_what_is_said_of_a_stock_is_a_fold_of_the_rows_of_its_lines(url, store, reader, rows, at_second):
    day = date(2027, 1, 1) + timedelta(days=next(DAYS))
    text, at_ns = day.isoformat(), local_ns(day, 10) + at_second * NS_PER_S
    events = [made(day, number, each) for number, each in enumerate(rows)]
    store(events)
    for stock in (*STOCKS, *UNKNOWN):
        assert reader.best_quote(stock, at_ns) == best_of(stock, quotes_of(events, stock, at_ns))
    found = reader.by_stock(text, reader.quality(text))
    judged = {stock_of(each.symbol) for each in events if isinstance(each, QualityJudged)}
    assert {each.stock: each.day_volumes for each in found} == {stock: volumes_of(events, stock) for stock in judged}


def test_a_venue_that_traded_without_a_slot_makes_the_stocks_day_a_part(store, reader, day):
    store(
        [made(day, 300, ("report", ("A", "KRX"), 0, None, None)), made(day, 100, ("bar", ("A", "NXT"), 0, None, None))]
    )
    [found] = reader.by_stock(day.isoformat(), reader.quality(day.isoformat()))
    assert (found.slots_quality, found.day_quality) == ("complete", "part")
    assert found.day_volumes == {"A": 300.0, "A.NXT": 100.0}


def test_the_swept_volume_of_a_venue_is_that_of_its_lines_and_apart_what_lies_outside_its_regular_session(
    store, reader, day
):
    ten_ns = local_ns(day, 10)

    def swept(venue, seconds, volume, stock="005930", of_day=day):
        own = made(of_day, 0, ("snapshot", (stock, venue), seconds, None, None))
        return msgspec.structs.replace(own, cumulative_volume=volume, cumulative_value=volume * 100)

    store(
        [
            *(swept("NXT", second, volume) for second, volume in ((-60, 7.0), (-1, 10.0), (0, 11.0), (99, 40.0))),
            *(swept("NXT", second, volume) for second, volume in ((100, 45.0), (900, 60.0))),
            swept("NXT", 50, 500.0, "000660"),
            swept("KRX", 50, 9_000.0),
        ]
    )
    regular_ns = (ten_ns, ten_ns + 100 * NS_PER_S)
    found = reader.swept_volume(day.isoformat(), "NXT", regular_ns)
    assert found == SweptVolume(560.0, 56_000.0, 30.0, 3_000.0)
    assert reader.swept_volume(day.isoformat(), "none", regular_ns) == SweptVolume()


def test_conflated_rows_have_the_shares_that_no_stored_trade_has(store, reader, day):
    text, ten_ns = day.isoformat(), local_ns(day, 10)

    def row(symbol, from_s, total, volume):
        times = (ten_ns + from_s * NS_PER_S, ten_ns + (from_s + 1) * NS_PER_S, ten_ns)
        return TradesConflated("kis", symbol, text, *times, 2, volume, 1.0, 2.0, 0.5, 1.5, total, None, venue="KRX")

    held = [trade(1, symbol="A", session_date=text, volume=5.0, cumulative_volume=each) for each in (5.0, 10.0)]
    store([row("A", 9, 30.0, 20.0), row("A", 1, 15.0, 10.0), row("A", 0, 5.0, 5.0), row("B", 0, 9.0, 9.0), *held])
    trades, unheld = reader.stored_trades("A", text)
    assert trades == held
    assert [(each.from_ns, each.after_volume, each.upto_volume, each.volume, each.trades) for each in unheld] == [
        (ten_ns + NS_PER_S, 5.0, 15.0, 5.0, 1), (ten_ns + 9 * NS_PER_S, 10.0, 30.0, 20.0, 2),
    ]  # fmt: skip


# --- what it costs ---


def steps_of(ask):
    """The hundreds of steps of SQLite's machine that the queries take."""
    steps = [0]

    def note():
        steps[0] += 1
        return 0

    def watch(connection, *_):
        connection.set_progress_handler(note, 100)

    event.listen(Engine, "connect", watch)
    try:
        ask()
    finally:
        event.remove(Engine, "connect", watch)
    return steps[0]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_lines_of_other_stocks_cost_a_question_about_one_nothing(store, reader):
    day = date(2026, 1, 5)
    kinds = ("trade", "snapshot", "book", "bar")

    def store_stocks(names):
        rows = [(kind, (name, venue), 1, 1.0, 2.0) for name in names for venue in VENUES[:2] for kind in kinds]
        store([made(day, number, row) for number, row in enumerate(rows, 1)])

    ask = partial(reader.best_quote, "B000", local_ns(day, 12), 10**15)
    store_stocks(["B000"])
    alone = steps_of(ask)
    store_stocks([f"B{number:03}" for number in range(1, 400)])
    assert steps_of(ask) <= alone + 2
