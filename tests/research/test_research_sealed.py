"""A sealed day answers as the database did, and no row is read twice."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

import observer
from bus.events import DailyBar, TradesConflated
from observer.lake.sealing import seal_days
from observer.research.store import Store
from tests.research.stored import DAY, MARKET, STREAM, append, at, make_store, traded, url_of


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose first day is sealed, in the folder of the default."""
    folder = make_store(tmp_path_factory.mktemp("sealed"))
    list(seal_days(folder / "data" / "lake", url_of(folder), MARKET, [DAY], lambda: 1, threading.Event()))
    return folder


@pytest.fixture(scope="module")
def sealed(own: Path) -> Iterator[Store]:
    with observer.open_store(own) as opened:
        yield opened


def test_the_days_say_where_they_are_read(sealed: Store) -> None:
    assert sealed.days().collect()["source"].to_list() == ["lake", "database"]


@pytest.mark.parametrize("symbols", [None, "005930", ["000660", "035420"]])
def test_trades_and_bars_are_those_of_the_database(
    store: Store, sealed: Store, symbols: str | list[str] | None
) -> None:
    assert_frame_equal(sealed.trades(symbols, DAY), store.trades(symbols, DAY))
    assert_frame_equal(sealed.bars(symbols, DAY), store.bars(symbols, DAY))


@pytest.mark.parametrize("relation", ["gaps", "quality", "slots", "triggers", "universe"])
def test_the_other_relations_are_those_of_the_database(store: Store, sealed: Store, relation: str) -> None:
    assert_frame_equal(getattr(sealed, relation)(DAY), getattr(store, relation)(DAY))


def test_daily_bars_join_sealed_days_and_the_database(store: Store, sealed: Store) -> None:
    assert_frame_equal(sealed.daily("005930", "2026-11-01", DAY), store.daily("005930", "2026-11-01", DAY))


def test_a_lake_alone_is_a_store(store: Store, own: Path) -> None:
    with observer.open_store(own / "data" / "lake") as lake:
        assert_frame_equal(lake.trades(None, DAY), store.trades(None, DAY))
        assert lake.sql(f"SELECT count(*) FROM trades WHERE day = '{DAY}'").collect().item() == 10
        with pytest.raises(observer.NotCollected, match="listings are in the database"):
            lake.instruments(DAY)


def test_rows_that_came_after_the_sealing_are_read(tmp_path: Path) -> None:
    folder = make_store(tmp_path)
    list(seal_days(folder / "data" / "lake", url_of(folder), MARKET, [DAY], lambda: 1, threading.Event()))
    with observer.open_store(folder) as before:
        recovered = traded("005930", "09:06:00", 70_000, 5, 105, gap_id="g4")
        daily = DailyBar("kis", "403800", DAY, 9, 9, 9, 9, 1, 9, "broker", "KRX", "regular")
        at_ns = at("09:07:00")
        first_of_its_kind = TradesConflated("kis", "005930", DAY, at_ns, at_ns, at_ns, 3, 7, 9, 9, 9, 9, 112, None)
        append(url_of(folder), STREAM, recovered, daily, first_of_its_kind)
        assert before.trades("005930", DAY).collect().height == 6
    with observer.open_store(folder) as after:
        assert after.days().collect()["source"][0] == "lake"
        assert after.trades("005930", DAY).collect()["source"].to_list()[-1] == "recovered"
        assert after.daily("403800", DAY).collect()["close"].to_list() == [9]
        assert after.bars("005930", DAY).collect()["volume"].sum() == 112


def test_rows_that_were_committed_after_the_opening_are_not_read(tmp_path: Path) -> None:
    folder = make_store(tmp_path)
    with observer.open_store(folder) as before:
        later = traded("005930", "09:06:00", 70_000, 5, 105)
        append(url_of(folder), STREAM, later)
        append(url_of(folder), "6" * 32, traded("005930", "09:07:00", 70_000, 5, 110))
        assert before.trades("005930", DAY).collect().height == 6
    with observer.open_store(folder) as after:
        assert after.trades("005930", DAY).collect().height == 8
