"""A stock's lines are found by their ids alone: what readers and views say of a stock is a fold of its lines' rows.
Also where the order of texts ignores punctuation; and the lines of other stocks cost nothing.
"""

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from bus.delivery import Delivered
from bus.events import DailyBar, OrderBook, Snapshot, Trade
from observer.base.lines import line_id, stock_of
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.store.consolidated import MAX_QUOTE_AGE_NS, DailyVolume, Quote
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.conformance.conftest import postgresql_database
from tests.properties import examples
from tests.store.migrated import make_database
from tests.store.raw import query

IGNORES_PUNCTUATION = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'und-u-ka-shifted'"
STOCKS = ("A", "AB", "A1", "AN", "ANX", "KRX", "a")  # without the separator, "ANXT" lies between "ANX" and "A.NXT"
UNKNOWN = ("", "A.", "A.NXT", "AX", "Z")
VENUES = ("KRX", "NXT", "ATS")
SECOND_MAX = 900

Store = Callable[..., None]


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


# --- days with rows of several lines ---

Given = tuple[str, tuple[str, str], int, float | None, float | None]
"""A kind, a stock and a venue, a second after ten, a bid and an ask."""

PRICES = st.none() | st.integers(90, 110).map(float)
KINDS = st.sampled_from(["trade", "trade", "snapshot", "snapshot", "book", "bar"])
LINES = st.tuples(st.sampled_from(STOCKS), st.sampled_from(VENUES))
ROWS = st.lists(st.tuples(KINDS, LINES, st.integers(0, SECOND_MAX), PRICES, PRICES), max_size=40)


def made(day, number, given_row):
    """A row of a line. A halted line has snapshots without prices, and no trade."""
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
    return DailyBar(*own, 1.0, 2.0, 0.5, 1.0, float(number), 1.0, venue=venue)


def quotes_of(rows, stock, at_ns):
    """By line the last quote of the ten minutes before."""
    found: dict[str, Quote] = {}
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


def volumes_of(rows, stock, day):
    """The volume of the newest bar of each line, else of its last snapshot."""
    bars = {row.symbol: row.volume for row in rows if isinstance(row, DailyBar)}
    swept: dict[str, float] = {}
    for row in rows:
        if isinstance(row, Snapshot):
            swept[row.symbol] = max(swept.get(row.symbol, 0.0), row.cumulative_volume)
    volumes = {symbol: each for symbol, each in (swept | bars).items() if stock_of(symbol) == stock}
    if not volumes:
        return {}
    is_final = volumes.keys() <= bars.keys()
    return {stock: DailyVolume(stock, day, volumes, sum(volumes.values()), is_final)}


DAYS = count()  # a database keeps the rows of earlier examples: each has days of its own


@settings(examples(0.14), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=ROWS, at_second=st.integers(0, SECOND_MAX))
def test_what_is_said_of_a_stock_is_a_fold_of_the_rows_of_its_lines(url, store, reader, rows, at_second):
    day = date(2027, 1, 1) + timedelta(days=next(DAYS))
    text, at_ns = day.isoformat(), local_ns(day, 10) + at_second * NS_PER_S
    events = [made(day, number, each) for number, each in enumerate(rows)]
    store(events)
    own = [each for each in events if isinstance(each, Trade)]
    in_order = sorted(own, key=lambda each: (each.exchange_time_ns, each.venue, each.cumulative_volume))
    counts, asked = [], []
    for stock in (*STOCKS, *UNKNOWN):
        trades = [each for each in in_order if stock_of(each.symbol) == stock]
        assert reader.consolidated_trades(stock, text) == trades
        assert reader.best_quote(stock, at_ns).quotes == quotes_of(events, stock, at_ns)
        assert reader.daily_volumes(text, stock) == volumes_of(events, stock, text)
        bars = reader.consolidated_bars(stock, text, NS_PER_DAY)
        assert sum(each.volume for each in bars) == sum(each.volume for each in trades)
        counts.append(len(trades))
        asked.append(f"(SELECT count(*) FROM consolidated_trades WHERE stock = '{stock}' AND session_date = '{text}')")
    assert query(url, f"SELECT {', '.join(asked)}") == [tuple(counts)]
    every = {name: each for stock in STOCKS for name, each in volumes_of(events, stock, text).items()}
    assert reader.daily_volumes(text) == every
    named = query(url, f"SELECT DISTINCT symbol, stock FROM consolidated_quotes WHERE session_date = '{text}'")
    assert all(stock_of(str(symbol)) == stock for symbol, stock in named)


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
    text, noon_ns = day.isoformat(), local_ns(day, 12)
    kinds = ("trade", "snapshot", "book", "bar")

    def store_stocks(names):
        rows = [(kind, (name, venue), 1, 1.0, 2.0) for name in names for venue in VENUES[:2] for kind in kinds]
        store([made(day, number, row) for number, row in enumerate(rows, 1)])

    questions = {
        "best_quote": partial(reader.best_quote, "B000", noon_ns, 10**15),
        "daily_volumes": partial(reader.daily_volumes, text, "B000"),
        "consolidated_trades": partial(reader.consolidated_trades, "B000", text),
    }
    store_stocks(["B000"])
    alone = {name: steps_of(ask) for name, ask in questions.items()}
    store_stocks([f"B{number:03}" for number in range(1, 400)])
    beside = {name: steps_of(ask) for name, ask in questions.items()}
    assert all(beside[name] <= alone[name] + 2 for name in questions), (alone, beside)
