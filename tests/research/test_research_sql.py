"""SQL over the relations of all days: read only, with conditions that reach the rows of few days and symbols."""

import threading
from collections.abc import Sequence

import polars as pl
import pytest

from observer.base.errors import ConfigError
from observer.research.frame import allowed
from observer.research.reading import Rows
from tests.research.stored import DAY
from tests.waiting import until


def test_a_query_joins_relations_of_all_days(store):
    found = store.sql(
        "SELECT day, symbol, count(*) AS trades, sum(volume) AS volume FROM trades JOIN quality USING (day, symbol) "
        f"WHERE day = '{DAY}' GROUP BY ALL ORDER BY symbol"
    ).collect()
    assert found.select("symbol", "trades", "volume").rows() == [("000660", 2, 3.0), ("005930", 6, 100.0)]


def test_times_are_local_in_conditions_and_results(store):
    found = store.sql("SELECT time FROM trades WHERE time < '2026-11-18 09:00:05' ORDER BY time").collect()
    assert [each.isoformat() for each in found["time"]] == ["2026-11-18T09:00:01+09:00"]


@pytest.mark.parametrize("relation", ["trades", "bars", "snapshots", "daily", "universe", "gaps", "quality",
                                      "slots", "triggers", "etf_premium"])  # fmt: skip
def test_each_relation_counts_as_its_frames_do(store, relation):
    of_days = [
        dict(store.summary(day).select("relation", "rows").collect().rows())[relation] for day in (DAY, "2026-11-19")
    ]
    counted = store.sql(f"SELECT count(*) AS n FROM {relation} WHERE day >= '{DAY}'").collect().item()
    assert counted == sum(of_days)


@pytest.mark.parametrize("relation", ["daily", "etf_premium"])
def test_a_history_has_its_days_before_the_first_session(store, relation):
    found = store.sql(f"SELECT * EXCLUDE (day), day FROM {relation} ORDER BY symbol, day").collect()
    asked = getattr(store, relation)(None, "2000-01-01", "2026-12-31").collect()
    assert found.select("symbol", "day").rows() == asked.select("symbol", "day").rows()
    assert str(found["day"].min()) == {"daily": "2026-11-17", "etf_premium": "2026-01-02"}[relation]


def test_a_condition_finds_a_symbol_outside_the_universe(store):
    assert store.sql("SELECT nav FROM etf_premium WHERE symbol = '069500'").collect().height == 2


@pytest.mark.parametrize("condition", [
    "hour(time) = 9", "date_trunc('minute', time) = TIMESTAMPTZ '2026-11-18 09:04:00+09'",
    "time_bucket(INTERVAL 5 minutes, time) = TIMESTAMPTZ '2026-11-18 09:00:00+09'",
])  # fmt: skip
def test_functions_of_time_take_the_times(store, condition):
    found = store.sql(f"SELECT volume FROM trades WHERE symbol = '005930' AND {condition}").collect()
    assert found["volume"].sum() == (40 if "trunc" in condition else 100)


def test_a_query_has_a_bound_of_memory(store):
    assert store.sql("SELECT current_setting('memory_limit')").collect().item() == "2.0 GiB"


ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 1"


def test_a_query_that_takes_too_long_ends_with_the_remedy_and_the_next_one_is_answered(store, monkeypatch):
    monkeypatch.setattr(store, "query_limit_s", 0.2)
    with pytest.raises(ConfigError, match=r"^the query took more than 0.2 s: .*\[store\] query_limit_s$"):
        store.sql(ENDLESS)
    assert store.sql("SELECT 1 AS n").collect().item() == 1


def test_reading_for_a_query_that_is_over_ends_with_its_day(store, monkeypatch):
    read: list[str] = []
    scan = Rows.scan

    def slow(rows, kind, day, lines=None):
        read.append(day)
        until(lambda: [each for each in threading.enumerate() if each.name == "query limit"] == [], "the limit")
        return scan(rows, kind, day, lines)

    monkeypatch.setattr(Rows, "scan", slow)
    monkeypatch.setattr(store, "query_limit_s", 0.1)
    with pytest.raises(ConfigError, match="took more than"):
        store.sql("SELECT count(*) FROM trades")
    assert len(set(read)) == 1


def test_conditions_on_day_and_symbol_reach_what_is_read(store, monkeypatch):
    read: list[tuple[str, str, Sequence[str] | None]] = []
    scan = Rows.scan

    def noted(rows, kind, day, lines=None):
        read.append((kind, day, lines))
        return scan(rows, kind, day, lines)

    monkeypatch.setattr(Rows, "scan", noted)
    store.sql(f"SELECT price FROM trades WHERE day = '{DAY}' AND symbol IN ('035420', '247540')").collect()
    of_trades = [(day, lines) for kind, day, lines in read if kind == "trades" and day > "2000"]
    assert of_trades == [(DAY, ["035420", "035420.NXT", "247540"])]


@pytest.mark.parametrize(
    "query",
    [
        "DROP VIEW trades",
        "CREATE TABLE mine AS SELECT 1",
        "COPY (SELECT 1) TO 'mine.csv'",
        "SELECT 1; SELECT 2",
        "",
        "SET enable_external_access = true",
    ],
)
def test_what_is_not_one_query_is_refused(store, query):
    with pytest.raises(ConfigError, match="not one query: give one SELECT over trades, bars"):
        store.sql(query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT * FROM read_csv('/etc/hostname')", "disabled by configuration"),
        ("SELECT * FROM nothing", "nothing does not exist"),
        ("SELEC 1", "syntax error"),
    ],
)
def test_a_query_that_fails_says_why_in_one_line(store, query, said):
    with pytest.raises(ConfigError, match=said) as caught:
        store.sql(query)
    assert "\n" not in str(caught.value)


def test_a_condition_leaves_only_values_that_satisfy_it():
    both = (pl.col("symbol").is_in(["a", "b"])) & (pl.col("price") > 1) & (pl.col("symbol") != "b")
    assert allowed(both, "symbol", ["a", "b", "c"], pl.String) == ["a"]
    either = (pl.col("symbol") == "a") | (pl.col("price") > 1)
    assert allowed(either, "symbol", ["a", "b"], pl.String) == ["a", "b"]
    assert allowed(None, "symbol", ["a"], pl.String) == ["a"]
