"""Official minute bars beside those of stored trades: each minute counts once, and equal ones are equal."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bus.events import BarsFetched, MinuteBarFetched
from observer.base.units import NS_PER_MINUTE, NS_PER_S
from observer.collection.backfill.comparison import MinuteShape, bars_of_trades, compared, official_bars
from observer.gaps.intervals import UnheldRow
from tests.builders import trade

DAY = "2026-11-18"
DAY_NS = 1_795_000_020_000_000_000 // NS_PER_MINUTE * NS_PER_MINUTE

shapes = st.builds(MinuteShape, *(st.sampled_from([1.0, 2.0, 3.0]) for _ in range(4)), st.integers(1, 3).map(float))
minutes = st.dictionaries(st.integers(0, 8).map(lambda number: DAY_NS + number * NS_PER_MINUTE), shapes)
tapes = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 9), st.integers(1, 5)), max_size=30)


def beside(official, stored):
    fetch = BarsFetched("kis", "005930", DAY, DAY, "minutes", "equal", 1, 0, 1.0, 1.0, 1, DAY_NS, "KRX")
    found = compared(fetch, 7, official, stored)
    assert (found.symbol, found.session_date, found.checked_ns, found.venue) == ("005930", DAY, 7, "KRX")
    return found


def traded(tape):
    """Trades of a second, a price and a volume, in order of time."""
    found, total = [], 0.0
    for second, price, volume in sorted(tape, key=lambda each: each[0]):
        total += volume
        found.append(
            msgspec.structs.replace(
                trade(1),
                exchange_time_ns=DAY_NS + second * NS_PER_S,
                price=float(price),
                volume=float(volume),
                cumulative_volume=total,
            )
        )
    return found


@given(minutes, minutes)
def test_each_minute_counts_once(official, stored):
    found = beside(official, stored)
    words = (found.equal, found.other_volume, found.other_prices, found.without_trades, found.without_bar)
    assert sum(words) == found.minutes == len(official.keys() | stored.keys())
    assert found.equal == sum(official[each] == stored[each] for each in official.keys() & stored.keys())
    assert found.without_trades == len(official.keys() - stored.keys())
    assert found.without_bar == len(stored.keys() - official.keys())
    assert len(found.differences) == found.minutes - found.equal - found.without_trades
    assert [each.minute_start_ns for each in found.differences] == sorted(
        each.minute_start_ns for each in found.differences
    )


@given(tapes, st.randoms())
def test_bars_made_of_all_trades_are_equal_in_any_order_and_stored_twice(tape, rng):
    trades = traded(tape)
    official = {}
    for each in trades:  # in order of time and of the day's volume
        start_ns = each.exchange_time_ns - each.exchange_time_ns % NS_PER_MINUTE
        before = official.get(start_ns, MinuteShape(each.price, each.price, each.price, each.price, 0.0))
        official[start_ns] = MinuteShape(
            *(before.open, max(before.high, each.price), min(before.low, each.price), each.price),
            before.volume + each.volume,
        )
    stored = [*trades, *trades[:3]]
    rng.shuffle(stored)
    found = beside(official, bars_of_trades(stored))
    assert found.equal == found.minutes == len(official)
    assert found.stored_volume == found.official_volume == sum(each.volume for each in trades)


@given(tapes.filter(bool), st.data())
def test_a_missing_trade_is_a_difference_of_its_minute_alone(tape, data):
    trades = traded(tape)
    missing = data.draw(st.sampled_from(trades))
    found = beside(bars_of_trades(trades), bars_of_trades([each for each in trades if each is not missing]))
    assert found.minutes - found.equal == 1
    assert found.other_volume + found.without_trades == 1
    assert found.official_volume - found.stored_volume == missing.volume


def test_a_conflated_row_counts_in_its_minute_beside_the_stored_trades_of_it():
    row = UnheldRow(DAY_NS, DAY_NS + 2, 0.0, 5.0, 1.0, 4.0, 1.0, 3.0, 3.0, 1)
    held = msgspec.structs.replace(trade(1), exchange_time_ns=DAY_NS, price=2.0, volume=2.0, cumulative_volume=4.0)
    assert bars_of_trades([held], [row]) == {DAY_NS: MinuteShape(1.0, 4.0, 1.0, 3.0, 5.0)}


def test_the_later_row_of_a_minute_counts_and_one_without_a_trade_is_none():
    def row(minute, volume, received_ns):
        start_ns = DAY_NS + minute * NS_PER_MINUTE
        values = (1.0, 1.0, 1.0, 1.0, volume, volume)
        return MinuteBarFetched("kis", "005930", "2026-11-18", start_ns, *values, "past_day", received_ns)

    found = official_bars([row(0, 2.0, 9), row(0, 1.0, 5), row(1, 0.0, 5)])
    assert found == {DAY_NS: MinuteShape(1.0, 1.0, 1.0, 1.0, 2.0)}
