"""The universe as a file: the requirement's format, its names, and how many are kept."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bus.events import UniverseBuilt
from observer.reference.universe.file_format import FILES_KEPT, content_of, file_name, outdated
from tests.selection.builders import member

BUILT = UniverseBuilt(
    provider="kis",
    market="kr_stocks",
    session_date="2026-01-20",
    previous_session_date="2026-01-19",
    built_ns=1_768_852_800_000_000_000,  # 05:00 in Korea
    symbols=2,
    considered=9,
    minimum_close=4_000.0,
)


def test_the_content_has_the_requirement_s_keys_and_ours_beside_them():
    members = [member(rank=1), member("000660", name="SK하이닉스", rank=2, average_volume_20d=None)]
    document = json.loads(content_of(BUILT, members))
    assert document["metadata"] == {
        "date": "20260120",
        "previous_trading_day": "20260119",
        "generated_at": "2026-01-19T20:00:00Z",
        "symbol_count": 2,
        "market": "kr_stocks",
        "filter_criteria": "close_price >= 4000 KRW",
        "version": "1.0",
    }
    assert [list(symbol)[:5] for symbol in document["symbols"]] == [
        ["code", "name", "market_cap", "prev_close", "avg_volume_20d"]
    ] * 2
    assert document["symbols"][1] == {
        "code": "000660",
        "name": "SK하이닉스",
        "market_cap": 10**12,
        "prev_close": 10_000,
        "avg_volume_20d": None,
        "average_true_range_14d": 100.0,
        "exchange": "KOSPI",
        "rank": 2,
    }


def test_numbers_keep_their_decimals():
    small = member(previous_close=0.0123, average_volume_20d=1.5, market_cap=0.5)
    [symbol] = json.loads(content_of(BUILT, [small]))["symbols"]
    assert (symbol["prev_close"], symbol["avg_volume_20d"], symbol["market_cap"]) == (0.0123, 1.5, 0.5)


def test_the_file_is_named_after_day_and_market():
    assert file_name("2026-01-20", "kr_stocks") == "20260120_kr_stocks.json"


days = st.dates().map(lambda day: day.isoformat())


@given(
    st.sets(days, max_size=25), st.lists(st.sampled_from(["notes.txt", "20260101_us_stocks.json", "x_kr_stocks.json"]))
)
def test_the_newest_ten_of_a_market_are_kept_and_nothing_else_is_touched(kept, others):
    names = [file_name(day, "kr_stocks") for day in kept]
    gone = outdated([*others, *names], "kr_stocks")
    assert set(gone) <= set(names)
    assert len(names) - len(gone) == min(len(names), FILES_KEPT)
    assert all(name < other for name in gone for other in set(names) - set(gone))
