"""Bars: the pieces that they are made of, and whether they are complete."""

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import observer
from bus.events import SlotAssigned
from observer.research.bars import BarRows, bars
from observer.research.reading import stored_schema
from tests.research.stored import DAY, NEXT_DAY, STREAM, append, at, make_store, traded, url_of

MINUTE_NS = 60_000_000_000
SECOND_NS = 1_000_000_000


def times(frame):
    return [each.strftime("%H:%M:%S") for each in frame["time"]]


def test_a_bar_has_streamed_and_recovered_trades(store):
    found = store.bars("005930", DAY, interval="1m").collect()
    columns = ("open", "high", "low", "close", "volume", "trades", "complete")
    assert times(found) == ["09:00:00", "09:01:00", "09:02:00", "09:04:00"]
    assert found.select(columns).rows()[1] == (70_200, 70_200, 70_150, 70_150, 20, 2, True)
    assert found["vwap"][1] == (70_200 * 5 + 70_150 * 15) / 20
    assert found["complete"].all()


def test_bars_are_adjusted_by_the_day_of_the_market_in_every_zone(tmp_path):
    folder = make_store(tmp_path)
    began_ns = at("09:00:00", NEXT_DAY)  # in New York it is the evening before the change of shares
    slot = SlotAssigned("main:01", "000660", began_ns, "volume_surge", 9.0, "free_slot", None, None, "KRX")
    trade = traded("000660", "09:00:00", 100_000, 1, 1, session_date=NEXT_DAY, exchange_time_ns=began_ns)
    append(url_of(folder), STREAM, slot, trade)
    with observer.open_store(folder, tz="America/New_York") as opened:
        found = opened.bars("000660", DAY, NEXT_DAY, adjusted=True).select("close", "volume").collect().rows()
    assert (found[0], found[-1]) == ((100_000, 2), (100_000, 1))


def test_without_the_recovered_trade_the_bars_around_it_are_not_complete(store):
    found = store.bars("005930", DAY, known_at="2026-11-18 09:04:30").collect()
    assert dict(zip(times(found), found["complete"], strict=True)) == {
        "09:00:00": True,
        "09:01:00": False,
        "09:02:00": False,
        "09:04:00": False,  # nothing says yet that no trade followed
    }


def test_minute_bars_fill_a_gap_to_the_share(store):
    found = store.bars("000660", DAY).select("open", "volume", "vwap", "trades", "filled", "complete").collect()
    assert found.rows() == [
        (200_000, 1, 200_000, 1, 0, True),
        (200_100, 6, None, None, 6, True),
        (200_300, 3, None, None, 3, True),
        (200_500, 2, 200_500, 1, 0, False),
    ]


def test_a_longer_bar_is_made_of_both(store):
    [row] = store.bars("000660", DAY, interval="5m").collect().rows(named=True)
    assert (row["open"], row["high"], row["low"], row["close"]) == (200_000, 200_500, 200_000, 200_500)
    assert (row["volume"], row["filled"], row["vwap"], row["trades"]) == (12, 9, None, None)


def test_a_bar_shorter_than_a_minute_has_no_minute_bar_and_is_not_complete(store):
    found = store.bars("000660", DAY, interval="30s").collect()
    assert times(found) == ["09:00:00", "09:03:00"]
    assert not found["complete"].any()


def test_the_lines_of_a_stock_are_one_bar(store):
    [row] = store.bars("035420", DAY).collect().rows(named=True)
    assert (row["open"], row["close"], row["volume"]) == (1_000, 1_010, 3)


def rows_of(
    trades,
    minutes=(),
    line="A",
):
    """Trades as (second, volume, cumulative volume), and minute bars as (minute, volume)."""
    common = {"stream": 1, "provider": "kis", "symbol": line, "session_date": DAY, "venue": line.partition(".")[2]}
    of_trades = [
        common
        | {"sequence": nth, "exchange_time_ns": int(second * SECOND_NS), "receive_time_ns": 0, "price": 10.0}
        | {"volume": volume, "cumulative_volume": total, "side": "buy", "side_inferred": False}
        for nth, (second, volume, total) in enumerate(trades)
    ]
    of_minutes = [
        common
        | {"sequence": nth, "minute_start_ns": minute * MINUTE_NS, "volume": volume, "gap_id": "g"}
        | dict.fromkeys(("open", "high", "low", "close"), 10.0)
        for nth, (minute, volume) in enumerate(minutes)
    ]
    given = {"trades": of_trades, "recovered_minute_bars": of_minutes, "conflated_trades": [], "reconciliations": []}
    frames = {kind: pl.LazyFrame(rows, schema=dict(stored_schema(kind))) for kind, rows in given.items()}
    return BarRows(
        frames["trades"], frames["conflated_trades"], frames["recovered_minute_bars"], frames["reconciliations"]
    )


def both(first, second):
    """The rows of two lines."""
    names = ("trades", "conflated", "minutes", "reconciliations")
    return BarRows(*(pl.concat([getattr(first, name), getattr(second, name)]) for name in names))


def complete(rows):
    found = bars(rows, MINUTE_NS, 0, "UTC")
    return dict(zip(found["time"].dt.epoch("s") // 60, found["complete"], strict=True))


@pytest.mark.parametrize(
    ("trades", "expected"),
    [
        ([(1, 1, 1), (61, 1, 2), (121, 1, 3)], {0: True, 1: True, 2: False}),  # the last link proves nothing after it
        ([(1, 1, 5), (61, 1, 6), (121, 1, 7)], {0: False, 1: True, 2: False}),  # trades before the first one
        ([(1, 1, 1), (181, 1, 3), (250, 1, 4)], {0: False, 3: False, 4: False}),  # one between them
        ([(1, 1, 1), (1, 1, 1), (61, 1, 2), (121, 1, 3)], {0: True, 1: True, 2: False}),  # one stored twice
    ],
)
def test_a_bar_is_complete_if_the_chain_of_volume_has_no_break(trades, expected):
    assert complete(rows_of(trades)) == expected


def test_a_trade_that_is_stored_twice_counts_once():
    found = bars(rows_of([(1, 1, 1), (61, 2, 3), (61, 2, 3), (121, 1, 4)]), MINUTE_NS, 0, "UTC")
    assert found.select("volume", "trades", "complete").rows() == [(1, 1, True), (2, 1, True), (1, 1, False)]


EACH_MINUTE = [(60.0 * minute + 1, 1.0, minute + 1.0) for minute in range(6)]


@pytest.mark.parametrize(
    ("of_other_line", "expected"),
    [
        # Its 500 missing shares belong to any minute from 0 to 4, and after its last link nothing is proved.
        ([(1, 1, 1), (241, 1, 502), (301, 1, 503)], [False, False, False, False, False, False]),
        ([(1, 1, 1), (121, 1, 2)], [True, True, False, False, False, False]),  # it has no link after minute 2
        ([(121, 1, 5), (301, 1, 6)], [False, False, False, True, True, False]),  # its first trades are missing
    ],
)
def test_a_bar_of_a_stock_is_complete_if_none_of_its_lines_has_a_break(of_other_line, expected):
    rows = both(rows_of(EACH_MINUTE), rows_of(of_other_line, line="A.NXT"))
    assert complete(rows) == dict(enumerate(expected))


def test_a_minute_bar_of_one_line_does_not_complete_the_minute_of_another():
    other = rows_of([(1, 1, 1), (181, 1, 12), (301, 1, 13)], line="A.NXT")
    known = complete(both(rows_of(EACH_MINUTE, [(1, 1)]), other))
    assert known == {0: False, 1: False, 2: False, 3: False, 4: True, 5: False}


def test_minute_bars_that_lack_shares_leave_the_other_bars_incomplete():
    known = complete(rows_of([(1, 1, 1), (181, 1, 12), (241, 1, 13)], [(1, 4), (2, 5)]))
    assert known == {0: False, 1: True, 2: True, 3: False, 4: False}


def test_a_minute_bar_replaces_the_trades_of_its_minute():
    found = bars(rows_of([(1, 1, 1), (61, 2, 6), (121, 1, 7)], [(1, 5)]), MINUTE_NS, 0, "UTC")
    assert found.select("volume", "filled").rows() == [(1, 0), (5, 3), (1, 0)]


@st.composite
def lines_with_gaps(draw):
    """Trades of two stocks, some of them missing, and what reconciliation knows of their volumes."""
    parts = []
    for line in ("A", "B"):
        second, total, trades, checks = 0.0, 0.0, [], []
        for step, volume, is_stored in draw(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 5), st.booleans()))):
            second, total = second + step, total + volume
            if is_stored:
                trades.append((second, float(volume), total))
            if draw(st.booleans()):
                checks.append((int(second * SECOND_NS), total))
        rows = rows_of(trades, line=line)
        common = {"stream": 1, "provider": "kis", "symbol": line, "session_date": DAY, "venue": "", "checked_ns": 0}
        shares = dict.fromkeys(("streamed_volume", "recovered_volume", "difference"), 0.0)
        checked = [
            common | shares | {"sequence": nth, "from_ns": at_ns, "to_ns": at_ns} | dict.fromkeys(_AROUND, volume)
            for nth, (at_ns, volume) in enumerate(checks)
        ]
        schema = dict(stored_schema("reconciliations"))
        parts.append(msgspec.structs.replace(rows, reconciliations=pl.LazyFrame(checked, schema=schema)))
    return both(*parts)


_AROUND = ("after_volume", "before_volume")


@given(lines_with_gaps(), st.sampled_from([10 * SECOND_NS, MINUTE_NS, 5 * MINUTE_NS]))
def test_bars_do_not_depend_on_the_order_of_the_rows(rows, interval_ns):
    backwards = msgspec.structs.replace(rows, trades=rows.trades.reverse())
    assert_frame_equal(bars(rows, interval_ns, 0, "UTC"), bars(backwards, interval_ns, 0, "UTC"))


@given(lines_with_gaps())
def test_a_bar_without_a_missing_share_around_it_is_complete_and_another_is_not(rows):
    found = bars(rows, MINUTE_NS, 0, "UTC")
    for line in ("A", "B"):
        links = chained_by_hand(rows, line)
        for row in found.filter(pl.col("symbol") == line).iter_rows(named=True):
            minute = int(row["time"].timestamp()) // 60
            assert row["complete"] == all(not first <= minute <= last for first, last in links)


def chained_by_hand(rows, line):
    """The minutes [first, last] in which shares of a line are missing; after its last link they are without an end."""
    trades = rows.trades.filter(pl.col("symbol") == line).collect().rows(named=True)
    checks = rows.reconciliations.filter(pl.col("symbol") == line).collect().rows(named=True)
    links = [(each["cumulative_volume"], each["exchange_time_ns"], each["volume"]) for each in trades]
    links += [(each["after_volume"], each["from_ns"], 0.0) for each in checks]
    if not links:
        return []
    links.sort(key=lambda link: (link[0], -link[2], link[1]))
    first_ns, last_ns = min(link[1] for link in links), max(link[1] for link in links)
    found, known, known_ns = [], 0.0, first_ns
    for total, at_ns, volume in links:
        if total - volume > known:
            found.append((known_ns // MINUTE_NS, at_ns // MINUTE_NS))
        known, known_ns = total, at_ns
    return [*found, (last_ns // MINUTE_NS, float("inf"))]


def test_no_rows_are_no_bars():
    assert bars(rows_of([]), MINUTE_NS, 0, "UTC").is_empty()
