"""A stock at all its venues together, on both databases: views and queries are merges of the lines' own rows."""

import itertools
from collections.abc import Callable
from datetime import date

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bus.delivery import Delivered
from bus.events import DailyBar, Event, OrderBook, QualityJudged, Snapshot, Trade, TradesConflated
from observer.base.lines import line_id, stock_of
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from observer.store.consolidated import BestQuote, ConsolidatedBar, DailyVolume, Quote
from observer.store.reader import StoreReader
from observer.store.summary import SweptVolume
from observer.store.views import VIEWS
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.conflated import ConflatedDay, conflated_days
from tests.properties import examples
from tests.reach import reaches
from tests.store.raw import query

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
TEN_NS = local_ns(date(2026, 11, 18), 10)
MIDNIGHT_NS = local_ns(date(2026, 11, 18))
VENUES = ("KRX", "NXT")
DAYS = itertools.count()  # a database keeps the rows of earlier examples: each has days of its own

Store = Callable[..., None]


@pytest.fixture
def store(database_url):
    writer = StoreWriter(database_url)
    writer.open()
    stream = "5" * 32

    def append(*events):
        mark = writer.high_water_marks([stream])[stream]
        writer.commit([Delivered("track-b", stream, mark + 1, events)])

    yield append
    writer.close()


@pytest.fixture
def reader(database_url):
    with StoreReader(database_url) as reader:
        yield reader


# --- builders ---


def at(venue, seconds, total, *, stock="005930", price=100.0, **changes):
    """A trade of ten shares at a venue, so many seconds after ten o'clock."""
    moment_ns = TEN_NS + int(seconds * NS_PER_S)
    own = {"venue": venue, "symbol": line_id(stock, venue, "KRX"), "session_date": DAY, "price": price}
    times = {"exchange_time_ns": moment_ns, "receive_time_ns": moment_ns}
    return trade(1, **{**own, **times, "volume": 10.0, "cumulative_volume": total, **changes})


def bar(venue, volume, day=DAY, stock="005930", low=90.0):
    return DailyBar(
        "kis", line_id(stock, venue, "KRX"), day, 95.0, 120.0, low, 100.0, volume, volume * 100, venue=venue
    )


def snapshot(venue, seconds, bid, ask, volume=1.0):
    own = (line_id("005930", venue, "KRX"), DAY, 1, TEN_NS + seconds * NS_PER_S)
    return Snapshot("kis", *own, 1.0, None, None, None, None, None, None, bid, ask, volume, 0.0, venue=venue)


def book(venue, seconds, bid, ask):
    moment_ns = TEN_NS + seconds * NS_PER_S
    prices = (ask, *[None] * 9, bid, *[None] * 9)
    symbol = line_id("005930", venue, "KRX")
    return OrderBook("kis", symbol, DAY, moment_ns, moment_ns, *prices, *[0.0] * 22, None, 0.0, 0.0, venue=venue)


def conflated(venue, seconds, total):
    from_ns = TEN_NS + seconds * NS_PER_S
    own = (line_id("005930", venue, "KRX"), DAY, from_ns, from_ns + NS_PER_S, from_ns, 3, 30.0)
    return TradesConflated("kis", *own, 101.0, 130.0, 80.0, 102.0, total, None, venue=venue)


def report(venue, slots, day, *, volume, share=1.0):
    counts = (1.0, 1, 100.0, 10.0, 5.0, 1.0, 2, 1)
    own = ("kis", line_id("005930", venue, "KRX"), DAY, 1, slots, "")
    return QualityJudged(
        *own, *counts, day_quality=day, missing_at_most=3.0, day_volume=volume, volume_share=share, venue=venue
    )


# --- swept volumes ---


def test_the_swept_volume_of_a_venue_is_that_of_its_lines_and_apart_what_lies_outside_its_regular_session(
    store, reader
):
    def swept(venue, seconds, volume, stock="005930", day=DAY):
        own = {"symbol": line_id(stock, venue, "KRX"), "cumulative_value": volume * 100, "session_date": day}
        return msgspec.structs.replace(snapshot(venue, seconds, None, None, volume), **own)

    store(
        *(swept("NXT", second, volume) for second, volume in ((-60, 7.0), (-1, 10.0), (0, 11.0), (99, 40.0))),
        *(swept("NXT", second, volume) for second, volume in ((100, 45.0), (900, 60.0))),
        swept("NXT", 50, 500.0, "000660"),
        swept("KRX", 50, 9_000.0),
        swept("NXT", 50, 70_000.0, day=NEXT_DAY),
    )
    regular_ns = (TEN_NS, TEN_NS + 100 * NS_PER_S)
    assert reader.swept_volume(DAY, "NXT", regular_ns) == SweptVolume(560.0, 56_000.0, 30.0, 3_000.0)
    assert reader.swept_volume(DAY, "none", regular_ns) == SweptVolume()


# --- trades --------------------------------------------------------------------------------------------------


def test_the_trades_of_both_venues_are_in_time_order_then_by_venue_then_by_volume(store, reader):
    in_order = [
        at("NXT", 0, 10.0), at("KRX", 1, 10.0), at("KRX", 1, 20.0), at("NXT", 1, 20.0), at("KRX", 2, 30.0),
    ]  # fmt: skip
    store(*reversed(in_order), at("KRX", 0, 10.0, stock="000660"), at("NXT", 0, 5.0, session_date=NEXT_DAY))
    assert reader.consolidated_trades("005930", DAY) == in_order


def test_a_view_of_trades_names_the_stock_of_every_line(store, database_url):
    store(at("KRX", 1, 10.0), at("NXT", 1, 10.0), at("", 2, 20.0), at("NXT", 1, 10.0, stock="00593A"))
    rows = query(database_url, "SELECT stock, symbol, venue FROM consolidated_trades ORDER BY stock, symbol, venue")
    assert rows == [
        ("005930", "005930", ""), ("005930", "005930", "KRX"), ("005930", "005930.NXT", "NXT"),
        ("00593A", "00593A.NXT", "NXT"),
    ]  # fmt: skip


def test_a_stock_whose_symbol_ends_as_its_venue_is_named_is_no_line_of_another_stock(store, database_url):
    store(at("KRX", 1, 10.0, stock="KRX"), at("NXT", 1, 10.0, stock="AB"))
    assert query(database_url, "SELECT stock FROM consolidated_trades ORDER BY 1") == [("AB",), ("KRX",)]


def test_no_row_of_a_view_is_taken_for_an_event(database_url):
    for name in VIEWS:
        query(database_url, f"SELECT * FROM {name} WHERE stock = 'none'")
        with pytest.raises(Exception, match="sequence"):
            query(database_url, f"SELECT {name}.sequence FROM {name}")


def test_an_empty_database_has_no_stock(reader, database_url):
    assert [query(database_url, f"SELECT * FROM {name}") for name in VIEWS] == [[]] * len(VIEWS)
    assert (reader.consolidated_trades("005930", DAY), reader.consolidated_bars("005930", DAY, 1)) == ([], [])


LINES = st.tuples(st.sampled_from(["A", "AB", "B1"]), st.sampled_from(VENUES))


@st.composite
def days_of_trades(draw):
    """Trades of some lines in any order of storing; the day's volume of each line grows with its time."""
    moment = st.tuples(LINES, st.integers(0, 300), st.integers(1, 9))
    moments = draw(st.lists(moment, min_size=draw(st.integers(0, 15)), max_size=30))
    totals: dict[tuple[str, str], float] = {}
    found = []
    for (stock, venue), seconds, volume in sorted(moments, key=lambda each: each[1]):
        totals[stock, venue] = total = totals.get((stock, venue), 0.0) + volume
        price = float(100 + seconds % 7)
        found.append(at(venue, seconds, total, stock=stock, price=price, volume=float(volume)))
    return draw(st.permutations(found))


@reaches(stock_with_two_venues=9, minute_of_several_trades=17)
@settings(examples(0.1), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rounds=st.lists(days_of_trades(), min_size=1, max_size=4))
def test_what_is_consolidated_is_the_merge_of_the_lines_and_its_volume_is_their_sum(
    store, reader, database_url, rounds, reach
):
    for stored in rounds:
        day = f"day {next(DAYS)}"
        of_day = [msgspec.structs.replace(each, session_date=day) for each in stored]
        store(*of_day)
        for stock in ("A", "AB", "B1"):
            own = [each for each in of_day if stock_of(each.symbol) == stock]
            in_order = sorted(own, key=lambda each: (each.exchange_time_ns, each.venue, each.cumulative_volume))
            assert reader.consolidated_trades(stock, day) == in_order
            minutes = query(
                database_url,
                "SELECT minute_start_ns, open, high, low, close, volume, trades FROM consolidated_minute_bars "
                f"WHERE stock = '{stock}' AND session_date = '{day}' ORDER BY minute_start_ns",
            )
            assert minutes == by_minute(in_order)
            assert sum(minute[5] for minute in minutes) == sum(each.volume for each in own)
            reach.count("stock_with_two_venues", len({each.venue for each in own}) > 1)
            reach.count("minute_of_several_trades", sum(minute[6] > 1 for minute in minutes))


def by_minute(in_order):
    minutes: dict[int, list[Trade]] = {}
    for each in in_order:
        minutes.setdefault(each.exchange_time_ns // NS_PER_MINUTE * NS_PER_MINUTE, []).append(each)
    return [
        (
            start_ns, own[0].price, max(each.price for each in own), min(each.price for each in own), own[-1].price,
            sum(each.volume for each in own), len(own),
        )
        for start_ns, own in minutes.items()
    ]  # fmt: skip


# --- bars ----------------------------------------------------------------------------------------------------


def test_a_minute_bar_opens_and_closes_by_time_whichever_venue_traded(store, reader):
    store(at("NXT", 0, 10.0, price=101.0), at("KRX", 5, 10.0, price=99.0), at("KRX", 6, 20.0, price=103.0))
    store(at("NXT", 59, 20.0, price=100.0), at("KRX", 60, 30.0, price=105.0))
    first, second = reader.consolidated_bars("005930", DAY, NS_PER_MINUTE)
    volumes = {"005930.NXT": 20.0, "005930": 20.0}
    assert first == ConsolidatedBar(
        "005930", DAY, TEN_NS, TEN_NS + NS_PER_MINUTE, 101.0, 103.0, 99.0, 100.0, 40.0, 100.75, 4, volumes
    )
    assert (second.start_ns, second.open, second.volumes) == (TEN_NS + NS_PER_MINUTE, 105.0, {"005930": 10.0})


def test_a_bar_of_a_whole_day_starts_at_the_local_midnight(store, reader):
    store(at("NXT", -7_000, 10.0, price=101.0), at("KRX", 7_000, 10.0, price=99.0))
    [day] = reader.consolidated_bars("005930", DAY, NS_PER_DAY)
    assert (day.start_ns, day.open, day.close, day.volume) == (MIDNIGHT_NS, 101.0, 99.0, 20.0)


def test_conflated_rows_count_in_a_bar_whose_average_price_is_then_unknown(store, reader, database_url):
    store(at("KRX", 0, 10.0), conflated("NXT", 1, 30.0))
    [found] = reader.consolidated_bars("005930", DAY, NS_PER_MINUTE)
    assert (found.open, found.high, found.low, found.close) == (100.0, 130.0, 80.0, 102.0)
    assert (found.volume, found.trades, found.vwap) == (40.0, 4, None)
    columns = "open, high, low, close, volume, vwap, trades, venues"
    [row] = query(database_url, f"SELECT {columns} FROM consolidated_minute_bars")
    assert row == (100.0, 130.0, 80.0, 102.0, 40.0, None, 4, 2)


def of_day(conflated_day, day, stock):
    """The stored trades and the conflated rows, as events."""
    found: list[Event] = [
        at(
            "KRX", each.second, each.upto, stock=stock, price=each.price, volume=each.volume, session_date=day,
            gap_id="late",
        )
        for each in conflated_day.held
    ]  # fmt: skip
    for row in conflated_day.rows:
        times = (TEN_NS + row[0].second * NS_PER_S, TEN_NS + row[-1].second * NS_PER_S, TEN_NS)
        prices = [each.price for each in row]
        shape = (prices[0], max(prices), min(prices), prices[-1])
        volume = sum(each.volume for each in row)
        found.append(
            TradesConflated("kis", stock, day, *times, len(row), volume, *shape, row[-1].upto, None, venue="KRX")
        )
    return found


@reaches(held_beside_conflated=4)
@settings(examples(0.1), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rounds=st.lists(conflated_days(), min_size=1, max_size=4))
@example(rounds=[ConflatedDay.of([(21, 1, 1), (60, 1, 1), (60, 2, 1)], rows=[(0, 3)], held=[1])])
def test_a_share_of_a_conflated_row_and_of_a_stored_trade_counts_once(store, database_url, rounds, reach):
    for each in rounds:
        day = f"day {next(DAYS)}"
        store(*of_day(each, day, "A"))
        rows = query(
            database_url,
            "SELECT minute_start_ns, volume, trades, open, high, low, close FROM consolidated_minute_bars "
            f"WHERE stock = 'A' AND session_date = '{day}' ORDER BY minute_start_ns",
        )
        minutes = {(row[0] - TEN_NS) // NS_PER_MINUTE: tuple(row[1:3]) for row in rows}
        assert minutes == each.volumes_by_minute()
        reach.count("held_beside_conflated", bool(each.held and each.rows))
        if rows:
            prices = [trade.price for trade in each.counted]
            assert (rows[0][3], max(row[4] for row in rows), min(row[5] for row in rows), rows[-1][6]) == (
                prices[0], max(prices), min(prices), each.last_price(),
            )  # fmt: skip


def test_both_ways_to_a_bar_count_a_share_once(store, reader, database_url):
    trades = [(1, 10, 5), (1, 11, 4), (2, 12, 3), (3, 13, 2)]
    store(*of_day(ConflatedDay.of(trades, rows=[(0, 2), (2, 4)], held=[0, 1, 2]), DAY, "A"))
    [found] = reader.consolidated_bars("A", DAY, NS_PER_MINUTE)
    assert (found.open, found.close, found.volume, found.trades, found.vwap) == (10.0, 13.0, 14.0, 4, None)
    rows = query(database_url, "SELECT volume, trades, after_volume FROM consolidated_conflated_trades")
    assert rows == [(2.0, 1, 9.0)]
    _, unheld = reader.stored_trades("A", DAY)
    assert [(each.volume, each.trades, each.upto_volume) for each in unheld] == [(2.0, 1, 14.0)]


def test_a_daily_bar_is_the_sum_of_the_newest_bar_of_each_line(store, database_url):
    store(bar("KRX", 1.0), bar("KRX", 100.0), bar("NXT", 50.0, low=80.0), bar("KRX", 7.0, NEXT_DAY))
    columns = "session_date, open, high, low, close, volume, value, vwap, venues"
    rows = query(database_url, f"SELECT {columns} FROM consolidated_daily_bars WHERE stock = '005930' ORDER BY 1")
    assert rows == [
        (DAY, 95.0, 120.0, 80.0, 100.0, 150.0, 15_000.0, 100.0, 2),
        (NEXT_DAY, 95.0, 120.0, 90.0, 100.0, 7.0, 700.0, 100.0, 1),
    ]


def test_open_and_close_of_a_daily_bar_are_the_main_lines(store, database_url):
    store(msgspec.structs.replace(bar("NXT", 5.0), open=1.0, close=2.0))
    assert query(database_url, "SELECT open, close, volume FROM consolidated_daily_bars") == [(None, None, 5.0)]


def test_the_days_volumes_are_of_daily_bars_and_without_one_of_the_last_snapshot(store, reader):
    store(bar("KRX", 100.0), snapshot("KRX", 9, None, None, 90.0))
    store(snapshot("NXT", 1, None, None, 40.0), snapshot("NXT", 2, None, None, 45.0), bar("KRX", 3.0, stock="000660"))
    both = DailyVolume("005930", DAY, {"005930": 100.0, "005930.NXT": 45.0}, 145.0, is_final=False)
    assert reader.daily_volumes(DAY, "005930") == {"005930": both}
    assert reader.daily_volumes(DAY)["000660"] == DailyVolume("000660", DAY, {"000660": 3.0}, 3.0, is_final=True)
    assert reader.daily_volumes(NEXT_DAY) == {}


# --- quotes --------------------------------------------------------------------------------------------------


def moment_ns(seconds):
    return TEN_NS + seconds * NS_PER_S


def test_the_best_quote_is_the_highest_bid_and_the_lowest_ask_of_the_lines_last_quotes(store, reader, database_url):
    store(book("KRX", 1, 99.0, 100.0), snapshot("KRX", 2, 98.0, 101.0), book("NXT", 3, 97.0, 100.5))
    krx, nxt = Quote("005930", moment_ns(2), 98.0, 101.0), Quote("005930.NXT", moment_ns(3), 97.0, 100.5)
    assert reader.best_quote("005930", moment_ns(3)) == BestQuote("005930", krx, nxt, [krx, nxt])
    columns = "bid, bid_symbol, bid_ns, ask, ask_symbol, ask_ns, venues"
    [row] = query(database_url, f"SELECT {columns} FROM best_quotes WHERE stock = '005930'")
    assert row == (98.0, "005930", moment_ns(2), 100.5, "005930.NXT", moment_ns(3), 2)


def test_a_quote_that_came_later_or_is_too_old_does_not_count(store, reader):
    store(snapshot("KRX", 0, 99.0, 100.0), snapshot("NXT", 50, 98.0, 101.0), snapshot("NXT", 61, 1.0, 2.0))
    nxt = Quote("005930.NXT", moment_ns(50), 98.0, 101.0)
    assert reader.best_quote("005930", moment_ns(60), 60 * NS_PER_S) == BestQuote("005930", nxt, nxt, [nxt])
    assert reader.best_quote("005930", moment_ns(-1)) == BestQuote("005930", None, None, [])


def test_a_line_without_a_bid_has_no_best_bid(store, reader, database_url):
    store(snapshot("KRX", 0, None, 100.0))
    found = reader.best_quote("005930", moment_ns(1))
    assert (found.bid, found.ask) == (None, Quote("005930", moment_ns(0), None, 100.0))
    assert query(database_url, "SELECT bid, bid_symbol, ask_symbol FROM best_quotes") == [(None, None, "005930")]


def test_a_recovered_trade_says_nothing_of_the_quotes_that_stand_now(store, reader):
    store(at("KRX", 1, 10.0, bid=99.0, ask=100.0), at("KRX", 2, 20.0, bid=1.0, ask=2.0, gap_id="g"))
    found = reader.best_quote("005930", moment_ns(5))
    assert found.bid == Quote("005930", moment_ns(1), 99.0, 100.0)


# --- quality -------------------------------------------------------------------------------------------------


def test_the_quality_of_a_stock_is_the_weaker_word_and_the_sum_of_the_volumes(store, reader):
    store(report("KRX", "complete", "whole", volume=300.0), report("NXT", "degraded", "part", volume=100.0, share=0.5))
    [found] = reader.stock_qualities(DAY)
    assert (found.stock, found.slots_quality, found.day_quality) == ("005930", "degraded", "part")
    assert (found.streamed_volume, found.recovered_volume, found.missing_at_most, found.gaps) == (200.0, 20.0, 6.0, 4)
    assert (found.day_volume, found.volume_share) == (400.0, 0.875)
    assert [each.symbol for each in found.reports] == ["005930", "005930.NXT"]
    assert reader.stock_qualities(DAY, "000660") == []


def test_a_venue_that_traded_without_a_slot_makes_the_stocks_day_a_part(store, reader):
    store(report("KRX", "complete", "whole", volume=300.0), bar("NXT", 100.0))
    [found] = reader.stock_qualities(DAY, "005930")
    assert (found.slots_quality, found.day_quality, found.volume_share) == ("complete", "part", 0.75)
    assert found.day_volumes == {"005930": 300.0, "005930.NXT": 100.0}
