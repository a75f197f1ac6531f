"""A lake at an object store answers as the local one does."""

import threading

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import observer
from observer.archive.copying import publish_days
from observer.archive.sealing import seal_days
from observer.base.errors import ConfigError, MissingKeysError, NoDataError, TargetError
from tests.archive.object_stores import KEYS, store_at
from tests.research.stored import DAY, MARKET, NEXT_DAY, make_store, url_of

STOP = threading.Event()
VARIABLES = {"AWS_ACCESS_KEY_ID": KEYS.access_key, "AWS_SECRET_ACCESS_KEY": KEYS.secret_key}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    folder = make_store(tmp_path_factory.mktemp("published"))
    lake = folder / "data/lake"
    list(seal_days(lake, url_of(folder), MARKET, [DAY, NEXT_DAY], lambda: 1, STOP))
    return lake


@pytest.fixture(scope="module")
def url(lake, server):
    url = server.make_bucket("published")
    list(publish_days(lake, store_at(url, server.endpoint), MARKET, STOP))
    return url


@pytest.fixture(autouse=True)
def _environment(server, monkeypatch):
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": server.endpoint, "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def stores(lake, url):
    with observer.open_store(lake) as local, observer.open_store(url) as published:
        yield local, published


@pytest.mark.parametrize("symbols", [None, "005930", ["000660", "035420"]])
def test_trades_snapshots_and_bars_are_those_of_the_local_lake(stores, symbols):
    local, published = stores
    for relation in ("trades", "snapshots", "bars"):
        assert_frame_equal(getattr(published, relation)(symbols, DAY), getattr(local, relation)(symbols, DAY))


@pytest.mark.parametrize("relation", ["gaps", "quality", "slots", "triggers", "universe", "summary"])
def test_what_happened_on_a_day_is_that_of_the_local_lake(stores, relation):
    local, published = stores
    assert_frame_equal(getattr(published, relation)(DAY), getattr(local, relation)(DAY))


def test_sql_and_days_are_those_of_the_local_lake(stores):
    local, published = stores
    query = f"SELECT symbol, sum(volume) AS volume FROM trades WHERE day = '{DAY}' GROUP BY ALL ORDER BY ALL"
    assert_frame_equal(published.sql(query), local.sql(query))
    assert_frame_equal(published.days(), local.days())
    assert "005930" in published.sql(query).collect()["symbol"].to_list()


def test_no_text_of_a_store_or_a_frame_has_the_keys(stores):
    trades = stores[1].trades("005930", DAY).filter(pl.col("volume") > 0)
    for text in (repr(stores[1]), repr(trades), trades.explain(optimized=False), trades.explain()):
        assert KEYS.secret_key not in text
        assert KEYS.access_key not in text


def test_what_cannot_be_opened_is_one_line_with_the_remedy(url, monkeypatch):
    with pytest.raises(NoDataError, match="has no sealed day: `observer lake publish` puts them there"):
        observer.open_store(f"{url}/elsewhere")
    with pytest.raises(ConfigError, match="must be s3://BUCKET/PREFIX"):
        observer.open_store("s3://")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(TargetError, match="does not answer as it should"):
        observer.open_store(url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(MissingKeysError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        observer.open_store(url)
