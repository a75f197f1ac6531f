"""A sealed day answers as the database did, and no row is read twice."""

import shutil
import threading

import pytest
from polars.testing import assert_frame_equal

import observer
from bus.events import DailyBar, SweepCompleted, TradesConflated
from observer.archive.day import manifest_path, sealed_days
from observer.archive.sealing import seal_days
from observer.base.errors import DataFileError, NoDataError, StoreError
from tests.archive.stored import remove_sealed, removing
from tests.folders import as_made
from tests.research.stored import DAY, MARKET, STREAM, append, at, make_store, traded, url_of
from tests.store.migrated import make_database


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A store whose first day is sealed, in the folder of the default."""
    folder = make_store(tmp_path_factory.mktemp("sealed"))
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def sealed(own):
    with observer.open_store(own) as opened:
        yield opened


def seal(folder, *remove):
    lake = folder / "data" / "lake"
    list(seal_days(lake, url_of(folder), MARKET, [DAY], lambda: 1, threading.Event(), remove=remove))


def make_sealed(folder):
    make_store(folder)
    seal(folder)


def make_removed(folder):
    make_store(folder)
    seal(folder, DAY)
    remove_sealed(url_of(folder), folder / "data" / "lake")


@pytest.fixture(scope="module")
def removed(tmp_path_factory):
    """A store whose first day is sealed and removed from the database."""
    make_removed(folder := tmp_path_factory.mktemp("removed"))
    with observer.open_store(folder) as opened:
        yield opened


def test_the_days_say_where_they_are_read(sealed):
    assert sealed.days().collect()["source"].to_list() == ["lake", "database"]


@pytest.mark.parametrize("symbols", [None, "005930", ["000660", "035420"]])
def test_trades_and_bars_are_those_of_the_database(store, sealed, symbols):
    assert_frame_equal(sealed.trades(symbols, DAY), store.trades(symbols, DAY))
    assert_frame_equal(sealed.bars(symbols, DAY), store.bars(symbols, DAY))


@pytest.mark.parametrize("symbols", [None, "005930", ["000660", "035420"]])
def test_what_was_removed_from_the_database_is_read_as_before(store, removed, symbols):
    assert_frame_equal(removed.trades(symbols, DAY), store.trades(symbols, DAY))
    assert_frame_equal(removed.bars(symbols, DAY), store.bars(symbols, DAY))
    assert_frame_equal(removed.snapshots(symbols, DAY), store.snapshots(symbols, DAY))


@pytest.mark.parametrize("relation", ["gaps", "quality", "slots", "triggers", "universe"])
def test_what_happened_on_a_removed_day_is_read_as_before(store, removed, relation):
    assert_frame_equal(getattr(removed, relation)(DAY), getattr(store, relation)(DAY))


def test_between_two_batches_of_a_removal_and_with_a_late_row_no_row_is_lost_or_twice(tmp_path):
    folder = make_store(tmp_path / "removing")
    beside = make_store(tmp_path / "beside")
    seal(folder, DAY)
    [of_trades] = [each for each in removable(folder) if each.kind == "trades"]
    with removing(url_of(folder)) as writer:
        writer.remove(of_trades, 0, rows_max=3)
    late = traded("005930", "09:06:00", 70_000, 5, 105, gap_id="g4")
    for each in (folder, beside):
        append(url_of(each), STREAM, late)
    assert_same_trades(folder, beside)
    remove_sealed(url_of(folder), folder / "data" / "lake")
    assert_same_trades(folder, beside)
    seal(folder)
    assert_same_trades(folder, beside)
    remove_sealed(url_of(folder), folder / "data" / "lake")
    assert_same_trades(folder, beside)


def test_a_database_without_its_lake_says_that_the_rows_were_removed(tmp_path):
    folder = as_made(make_removed)
    alone = shutil.copy(url_of(folder).removeprefix("sqlite:///"), tmp_path / "alone.db")
    with observer.open_store(alone) as database:
        with pytest.raises(NoDataError, match="the rows of 2026-11-18 were removed from this database"):
            database.trades("005930", DAY).collect()
        assert database.quality(DAY).collect().height > 0


def test_a_store_decodes_the_manifests_of_the_days_alone_that_are_asked_for():
    folder = as_made(make_sealed)
    manifest_path(folder / "data/lake", MARKET, "2026-01-02").write_bytes(b"damaged")
    with observer.open_store(folder) as opened:
        assert opened.trades("005930", DAY).collect().height > 0
        with pytest.raises(DataFileError, match=r"2026-01-02\.json"):
            opened.trades("005930", "2026-01-02").collect()


def removable(folder):
    [day] = sealed_days(folder / "data" / "lake")
    return day.removable_rows()


def assert_same_trades(folder, beside):
    with observer.open_store(folder) as found, observer.open_store(beside) as expected:
        assert_frame_equal(found.trades(None, DAY), expected.trades(None, DAY))


def test_a_store_that_is_open_while_its_rows_are_removed_says_so_and_gives_no_part_of_them():
    folder = as_made(make_sealed)
    append(url_of(folder), STREAM, traded("005930", "09:06:00", 70_000, 5, 105))  # so the database is read
    with observer.open_store(folder) as hot:
        seal(folder, DAY)
        with pytest.raises(StoreError, match="2026-11-18: trades went to the lake while the store was open"):
            hot.trades("005930", DAY).collect()
    with observer.open_store(folder) as again:
        assert again.trades("005930", DAY).collect().height == 7


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_store_whose_late_rows_went_to_a_newer_version_says_so_and_does_not_lack_them(is_removed):
    folder = as_made(make_removed if is_removed else make_sealed)
    append(url_of(folder), STREAM, traded("005930", "09:06:00", 70_000, 5, 105, gap_id="g4"))
    with observer.open_store(folder) as before, observer.open_store(folder) as asked:
        assert asked.trades("005930", DAY).collect().height == 7
        seal(folder, DAY)
        remove_sealed(url_of(folder), folder / "data" / "lake")
        for opened in (before, asked):
            with pytest.raises(StoreError, match="2026-11-18: trades went to the lake while the store was open: open"):
                opened.trades("005930", DAY).collect()
    with observer.open_store(folder) as again:
        assert again.trades("005930", DAY).collect().height == 7


def test_a_store_reads_a_version_that_has_all_its_rows_after_these_left_the_database():
    folder = as_made(make_sealed)
    with observer.open_store(folder) as opened:
        seal(folder, DAY)
        remove_sealed(url_of(folder), folder / "data" / "lake")
        assert opened.trades("005930", DAY).collect().height == 6


@pytest.mark.parametrize("relation", ["gaps", "quality", "slots", "triggers", "universe"])
def test_the_other_relations_are_those_of_the_database(store, sealed, relation):
    assert_frame_equal(getattr(sealed, relation)(DAY), getattr(store, relation)(DAY))


def test_daily_bars_join_sealed_days_and_the_database(store, sealed):
    assert_frame_equal(sealed.daily("005930", "2026-11-01", DAY), store.daily("005930", "2026-11-01", DAY))


def test_a_lake_alone_is_a_store(store, own):
    with observer.open_store(own / "data" / "lake") as lake:
        assert_frame_equal(lake.trades(None, DAY), store.trades(None, DAY))
        assert lake.sql(f"SELECT count(*) FROM trades WHERE day = '{DAY}'").collect().item() == 10
        with pytest.raises(observer.NotCollected, match="listings are in the database"):
            lake.instruments(DAY)


def test_rows_that_came_after_the_sealing_are_read():
    folder = as_made(make_sealed)
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


def test_rows_that_were_committed_after_the_opening_are_not_read(tmp_path):
    folder = make_store(tmp_path)
    with observer.open_store(folder) as before:
        later = traded("005930", "09:06:00", 70_000, 5, 105)
        append(url_of(folder), STREAM, later)
        append(url_of(folder), "6" * 32, traded("005930", "09:07:00", 70_000, 5, 110))
        assert before.trades("005930", DAY).collect().height == 6
    with observer.open_store(folder) as after:
        assert after.trades("005930", DAY).collect().height == 8


def test_rows_of_a_new_database_are_read_beside_those_that_an_earlier_one_sealed():
    folder = as_made(make_sealed)
    for path in (folder / "data").glob("observer.db*"):
        path.unlink()
    make_database(url_of(folder))

    def trades_after(minute, rows):
        """The trades of a line after so many new ones."""
        trades = [traded("005930", f"10:{minute}:{second:02}", 70_000, 1, 200) for second in range(rows)]
        append(url_of(folder), "6" * 32, *trades)
        with observer.open_store(folder) as opened:
            return opened.trades("005930", DAY).collect().height

    assert trades_after(10, 12) == 6 + 12, "the database has more rows than the file"
    seal(folder)
    assert trades_after(11, 3) == 6 + 12 + 3, "the database has fewer rows than the file of both"
    append(url_of(folder), "6" * 32, SweepCompleted("kis", DAY, 2, at("09:13:00"), at("09:13:10"), 1, 1, 1))
    with observer.open_store(folder) as opened:
        sweeps = opened.rows.scan("sweeps", DAY).collect()
    assert sweeps["sweep"].to_list() == [1, 2], "rows without a symbol join, too"
