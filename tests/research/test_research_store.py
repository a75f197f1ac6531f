"""The research API over the small store (stored.py): every function, what is missing, and what was known when."""

from datetime import UTC, date, datetime

import msgspec
import polars as pl
import pytest

import observer
from bus.events import OrderBook
from observer.base.errors import ConfigError, NoDataError
from tests.research.stored import DAY, NEXT_DAY, STREAM, append, at, make_store, url_of


def column(frame, name):
    return frame.collect()[name].to_list()


def test_the_days_are_those_with_a_session(store):
    rows = store.days().collect().rows()
    assert rows == [(date(2026, 11, 18), "database", 6, 5), (date(2026, 11, 19), "database", 2, 0)]


def test_a_summary_counts_the_rows_of_each_relation(store):
    counts = dict(store.summary(DAY).select("relation", "rows").collect().rows())
    assert counts["trades"] == 10
    assert counts["gaps"] == 3
    assert counts["slots"] == 5


def test_trades_are_streamed_and_recovered_ones_in_the_order_of_volume(store):
    found = store.trades("005930", DAY).collect()
    assert found["cumulative_volume"].to_list() == [10, 30, 35, 50, 60, 100]
    assert found["source"].to_list() == ["stream", "stream", "stream", "recovered", "stream", "stream"]
    assert found["quality"].unique().to_list() == ["recovered"]
    assert found.columns[:11] == (
        ["time", "symbol", "venue", "session", "price", "volume", "side", "bid", "ask", "source", "quality"]
    )


def test_times_are_of_the_market_s_zone_unless_another_is_asked_for(store, folder):
    assert store.trades("005930", DAY).collect_schema()["time"] == pl.Datetime("ns", "Asia/Seoul")
    with observer.open_store(folder, tz="UTC") as other:
        first = other.trades("005930", DAY).collect()["time"][0]
    assert first == datetime(2026, 11, 18, 0, 0, 1, tzinfo=UTC)


def test_a_stock_is_all_its_lines_and_a_line_is_one(store):
    assert sorted(store.trades("035420", DAY).collect().select("symbol", "venue").rows()) == [
        ("035420", "KRX"),
        ("035420", "NXT"),
    ]
    assert column(store.trades("035420.NXT", DAY), "venue") == ["NXT"]


def test_moments_bound_the_trades(store):
    found = store.trades("005930", "2026-11-18 09:00:30", datetime.fromisoformat("2026-11-18T09:02:20"))
    assert column(found, "cumulative_volume") == [30, 35, 50]


@pytest.mark.parametrize("day", ["20261118", date(2026, 11, 18), datetime(2026, 11, 17, 23, 30, tzinfo=UTC)])
def test_a_day_is_a_text_a_date_or_a_moment(store, day):
    assert store.trades("005930", day).collect().height == 6


def test_a_query_reads_its_columns_and_those_that_name_a_trade_only(store):
    plan = store.trades("005930", DAY).select("price").explain()
    assert "PROJECT 7/18 COLUMNS" in plan


def test_a_predicate_and_a_limit_give_the_rows_that_they_give_in_memory(store):
    trades = store.trades(None, DAY)
    condition = (pl.col("price") > 1_000) & (pl.col("symbol") == "035420")
    assert trades.filter(condition).collect().equals(trades.collect().filter(condition))
    assert trades.head(2).collect().equals(trades.collect().head(2))


def test_frames_become_pandas_and_arrow(store):
    trades = store.trades("005930", DAY).filter(pl.col("volume") > 10)
    assert list(trades.to_pandas()["volume"]) == [20, 15, 40]
    assert trades.to_arrow().num_rows == 3


def test_snapshots_are_what_sweeps_saw(store):
    assert store.snapshots("005930", DAY).select("sweep", "price", "volume").collect().rows() == [(1, 70_300, 60)]


def test_daily_bars_are_the_newest_and_go_back_before_the_first_session(store):
    found = store.daily("005930", "2026-11-01", DAY).select("day", "close", "volume").collect()
    assert found.rows() == [(date(2026, 11, 17), 69_000, 500), (date(2026, 11, 18), 70_200, 200)]


def test_adjusted_bars_are_in_shares_of_the_last_day(store):
    [(close, volume)] = store.daily("000660", DAY, adjusted=True).select("close", "volume").collect().rows()
    assert (close, volume) == (100_000, 100)
    bars = store.bars("000660", DAY, adjusted=True).collect()
    assert bars["open"][0] == 100_000
    assert bars["volume"].sum() == 24
    assert column(store.daily("005930", DAY, adjusted=True), "close") == [70_200]


def test_the_premium_of_an_etf_has_the_days_of_its_values(store):
    found = store.etf_premium("069500", "2026-01-01", "2026-01-31").select("day", "premium_percent").collect()
    assert found.rows() == [(date(2026, 1, 2), -0.99), (date(2026, 1, 5), 0.0)]


def test_gaps_have_their_last_outcome(store):
    found = store.gaps(DAY).select("symbol", "missing_volume", "outcome", "source", "lost_reason").collect()
    assert sorted(found.rows(), key=str) == [
        ("000660", 9, "recovered", "minute_bars", None),
        ("005930", 15, "recovered", "time_and_sales", None),
        ("035420", 3, "lost", None, "the broker has no trades of it"),
    ]


def test_slots_have_their_ends_and_triggers_too(store):
    ends = store.slots(DAY).select("symbol", "venue", pl.col("until").is_not_null(), "release_reason").collect()
    assert ("403800", "KRX", True, "expired") in ends.rows()
    assert ("035420", "NXT", False, None) in ends.rows()
    [(kind, held, until)] = store.triggers(DAY).select("kind", "held_until", "until").collect().rows()
    assert (kind, held.minute, until.minute) == ("volume_surge", 4, 10)


def test_quality_has_a_row_of_each_judged_symbol(store):
    found = store.quality(DAY, NEXT_DAY).select("symbol", "slots_quality").collect()
    assert found.rows() == [("000660", "degraded"), ("005930", "recovered")]


def test_instruments_are_those_listed_at_the_end_of_a_day(store):
    assert column(store.instruments("2026-11-17", "stock"), "symbol") == ["005930", "111111", "247540"]
    assert column(store.instruments(DAY), "symbol") == ["005930", "069500", "247540", "900001"]
    assert column(store.instruments(kind="etf"), "symbol") == ["069500"]


@pytest.mark.parametrize(
    ("symbol", "on", "status", "evidence"),
    [
        ("247540", "2019-03-04", "not listed", "listed on 2019-03-05, says the KOSPI master file of 2026-11-13"),
        ("247540", "2019-03-05", "listed", "KOSPI master file of 2026-11-13: listed on 2019-03-05"),
        (
            "111111",
            "2020-01-02",
            "unknown",
            "the first file of KOSPI is of 2026-11-13, and it states no day of listing",
        ),
        ("111111", "2026-11-17", "listed", "KOSPI master file of 2026-11-13"),
        ("111111", DAY, "not listed", "absent since the KOSPI master file of 2026-11-18"),
        (
            "900001",
            "2026-11-16",
            "not listed",
            "first in the KOSPI master file of 2026-11-18, and files are read since ",
        ),
    ],
)
def test_whether_a_symbol_was_listed_has_its_evidence(store, symbol, on, status, evidence):
    found = store.listed(symbol, on)
    assert found.status == status
    assert found.evidence.startswith(evidence)


# --- what is missing -----------------------------------------------------------------------------------------------


def test_a_symbol_with_a_slot_and_without_a_trade_has_an_empty_frame(store):
    assert store.trades("403800", DAY).collect().is_empty()
    assert store.bars("403800", DAY).collect().is_empty()


def test_a_symbol_without_a_slot_was_not_collected(store):
    with pytest.raises(observer.NotCollected, match=r"247540 had no slot on 2026-11-18.*observer slots pin 247540"):
        store.trades("247540", DAY)
    with pytest.raises(observer.NotCollected, match="247540 had no slot"):
        store.bars(["005930", "247540"], DAY)


def test_a_symbol_outside_the_universe_was_not_swept(store):
    with pytest.raises(observer.NotCollected, match="069500 was not in the universe of 2026-11-18"):
        store.snapshots("069500", DAY)


def test_a_span_with_a_day_that_has_a_symbol_is_what_there_is(store):
    assert store.trades("005930", "2026-11-01", NEXT_DAY).collect().height == 6


def test_an_unknown_symbol_names_the_nearest(store):
    with pytest.raises(observer.UnknownSymbol, match="'005931' is not a stored symbol: did you mean 005930"):
        store.trades("005931", DAY)
    with pytest.raises(observer.UnknownSymbol, match="instruments"):
        store.listed("ZZZZ", DAY)


def test_an_unknown_day_names_stored_ones(store):
    with pytest.raises(observer.UnknownDay, match="2026-11-17 is not stored: stored are 2026-11-18, 2026-11-19"):
        store.trades("005930", "2026-11-17")
    with pytest.raises(observer.UnknownDay, match="2025-01-01 to 2025-12-31 is not stored"):
        store.gaps("2025-01-01", "2025-12-31")


def test_a_kind_of_record_that_is_not_streamed_names_the_setting(store):
    with pytest.raises(observer.NotCollected, match=r"^order_book: add it to \[track_b\] records$"):
        store.book("005930", at="2026-11-18 10:00:00")


def test_the_book_is_the_last_one_by_then(tmp_path):
    folder = make_store(tmp_path)
    none = dict.fromkeys((f"{side}_{level}" for side in ("ask", "bid") for level in range(2, 11)), None)
    volumes = {f"{side}_volume_{level}": 0.0 for side in ("ask", "bid") for level in range(1, 11)}
    first = OrderBook(
        provider="kis", symbol="005930", session_date=DAY, exchange_time_ns=at("09:59:00"),
        receive_time_ns=at("09:59:00"), ask_1=70_100, bid_1=70_000, total_ask_volume=3, total_bid_volume=4,
        expected_price=None, expected_volume=0, cumulative_volume=100, venue="KRX",
        **(none | volumes | {"ask_volume_1": 3.0, "bid_volume_1": 4.0}),
    )  # fmt: skip
    later = msgspec.structs.replace(first, receive_time_ns=at("10:00:01"), bid_1=69_900)
    append(url_of(folder), STREAM, first, later)
    with observer.open_store(folder) as opened:
        book = opened.book("005930", at="2026-11-18 10:00:00").collect()
        assert book.select("level", "bid", "bid_volume", "ask", "ask_volume").rows()[:2] == [
            (1, 70_000, 4, 70_100, 3),
            (2, None, 0, None, 0),
        ]
        assert opened.book("005930", at="2026-11-18 10:00:01").collect()["bid"][0] == 69_900
        assert opened.book("005930", at="2026-11-18 10:10:02").collect().is_empty()  # the last one is too old


def test_daily_bars_of_other_days_name_the_stored_ones(store):
    with pytest.raises(observer.NotCollected, match="its days are 2026-11-17 to 2026-11-18"):
        store.daily("005930", "2020-01-01", "2020-12-31")


@pytest.mark.parametrize("interval", ["7m", "0m", "one", "25h"])
def test_an_interval_divides_a_day(store, interval):
    with pytest.raises(ConfigError, match="no interval of bars"):
        store.bars("005930", DAY, interval=interval)


def test_arguments_that_name_nothing_are_refused(store):
    with pytest.raises(ConfigError, match="neither a day"):
        store.trades("005930", "last week")
    with pytest.raises(ConfigError, match="give the earlier one first"):
        store.trades("005930", NEXT_DAY, DAY)
    with pytest.raises(ConfigError, match="no symbol"):
        store.trades([], DAY)
    with pytest.raises(ConfigError, match="no kind of instrument"):
        store.instruments(kind="bond")


# --- what was known when -------------------------------------------------------------------------------------------


def test_a_recovered_trade_is_known_from_its_arrival(store):
    assert store.trades("005930", DAY, known_at="2026-11-18 09:04:59").collect().height == 5
    assert store.trades("005930", DAY, known_at="2026-11-18 09:05:00").collect().height == 6


def test_a_universe_is_that_of_the_last_known_build(store):
    assert column(store.universe(NEXT_DAY), "symbol") == ["000660", "005930"]
    assert column(store.universe(NEXT_DAY, known_at="2026-11-19 08:40"), "symbol") == ["005930"]
    with pytest.raises(observer.NotCollected, match="no universe of 2026-11-19 was built by 2026-11-19 08:00"):
        store.universe(NEXT_DAY, known_at="2026-11-19 08:00")


def test_a_gap_is_open_until_its_outcome_was_known(store):
    outcomes = store.gaps(DAY, known_at="2026-11-18 09:05:30").select("gap_id", "outcome").collect()
    assert dict(outcomes.rows()) == {"g1": "recovered", "g2": "open"}  # the third was detected later


def test_a_listing_is_what_files_had_shown_by_then(store):
    assert store.listed("111111", DAY, known_at="2026-11-17").status == "listed"
    assert column(store.instruments(DAY, known_at="2026-11-17"), "symbol") == ["005930", "069500", "111111", "247540"]
    with pytest.raises(observer.NotCollected, match="the first was read on 2026-11-13"):
        store.instruments("2020-01-01")


def test_a_price_is_adjusted_by_changes_that_were_known(store):
    early = store.bars("000660", DAY, adjusted=True, known_at=DAY).collect()
    assert early["open"][0] == 200_000


# --- the doors -----------------------------------------------------------------------------------------------------


def test_a_store_opens_from_a_folder_a_configuration_a_database_and_a_url(folder, monkeypatch):
    database = folder / "data" / "observer.db"
    monkeypatch.chdir(folder / "data")
    for target in (folder, folder / "observer.toml", str(database), f"sqlite:///{database}", None):
        with observer.open_store(target) as opened:
            assert opened.days().collect().height == 2


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(NoDataError, match=r"there is no .*nothing"):
        observer.open_store(tmp_path / "nothing")
    with pytest.raises(NoDataError, match=r"has no observer\.toml"):
        observer.open_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoDataError, match=r"no observer\.toml with a database"):
        observer.open_store()
    with pytest.raises(AttributeError, match="no attribute"):
        _ = observer.nothing


def test_an_unknown_zone_is_refused(folder):
    with pytest.raises(ConfigError, match="'Korea/Nowhere' is no time zone"):
        observer.open_store(folder, tz="Korea/Nowhere")


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_day_is_exported_as_files_that_polars_reads(store, tmp_path, form):
    files = {path.stem: path for path in store.export(DAY, tmp_path / "day", form)}
    read = pl.read_parquet if form == "parquet" else pl.read_csv
    assert read(files["trades"]).height == 10
    assert read(files["bars"])["complete"].to_list() == [True] * 3 + [False] + [True] * 4 + [False]
    with pytest.raises(ConfigError, match="no format"):
        store.export(DAY, tmp_path, "xlsx")
