"""A lake that an earlier Observer sealed (tests/archive/sealed): two of its kinds have got columns since."""

import logging
import shutil
import threading

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import observer
from bus.events import Event, ExpectedPrice, MarketStateChanged
from observer.archive.catalogue import NAMESPACE, open_catalogue, outdated_tables, update_catalogue
from observer.archive.copying import LakeCopied, copy_lake, publish_days, wrong_at_target
from observer.archive.day import path_of, sealed_day, sealed_days, version_path
from observer.archive.parquet import columns_of, file_schema
from observer.archive.repair import publish
from observer.archive.restore import LakePlan, lacking, put_back
from observer.archive.sealing import seal_days
from observer.archive.target import FolderTarget
from observer.archive.verification import verify_day
from observer.base.errors import DataFileError
from observer.store.sealing import SealingReader
from tests.archive.object_stores import store_at
from tests.archive.sealed.keep import FOLDER, KEPT, events
from tests.archive.stored import DAY, MARKET, append, made_of, make_stored, remove_sealed
from tests.store.raw import execute

STOP = threading.Event()
ADDED = {"expected_prices": "auction", "market_states": "market_notice"}
LATE: dict[str, Event] = {
    "expected_prices": msgspec.structs.replace(made_of(ExpectedPrice, DAY, "005930", 2), auction="closing"),
    "market_states": msgspec.structs.replace(made_of(MarketStateChanged, DAY, "005930", 2), market_notice="halted"),
}
EACH_ADDED = pytest.mark.parametrize("kind", ADDED)


@pytest.fixture
def url(tmp_path):
    return make_stored(tmp_path, *events())


@pytest.fixture
def lake(tmp_path):
    shutil.copytree(FOLDER / "version-8", lake := tmp_path / "lake")
    publish(lake, day_in(lake))
    return lake


def day_in(lake):
    day = sealed_day(lake, MARKET, DAY)
    assert day is not None
    return day


def sealed(lake, url, remove=()):
    [result] = seal_days(lake, url, MARKET, [DAY], lambda: 2, STOP, remove=remove)
    return result


def problems(lake, url):
    with SealingReader(url) as reader:
        return verify_day(lake, day_in(lake), reader, STOP).problems


@EACH_ADDED
def test_the_kept_file_lacks_a_column_that_the_kind_has_now(lake, kind):
    names = file_schema(kind).names
    assert columns_of(path_of(lake, kind, MARKET, DAY)) == [name for name in names if name != ADDED[kind]] != names


def test_its_files_and_the_rows_of_the_database_are_those_that_were_sealed(lake, url):
    with SealingReader(url) as reader:
        found = verify_day(lake, day_in(lake), reader, STOP)
    assert (found.problems, found.compared_rows) == ((), len(KEPT))


@EACH_ADDED
def test_a_value_that_the_database_has_and_the_file_does_not_is_stated_and_keeps_the_rows(lake, url, kind):
    execute(url, f"UPDATE {kind} SET {ADDED[kind]} = 'x'")
    text = f"the database has values of {ADDED[kind]}, which the sealed day does not have"
    assert problems(lake, url) == (f"{kind} of {DAY}: {text}",)
    with pytest.raises(DataFileError, match=f"no row is removed from the database: .*{text}"):
        sealed(lake, url, remove=[DAY])


@EACH_ADDED
def test_another_value_in_a_column_that_both_have_is_found(lake, url, kind):
    execute(url, f"UPDATE {kind} SET venue = 'another'")
    assert problems(lake, url) == (f"{kind} of {DAY}: the database has 1 rows, the sealed day 1",)


def test_a_file_with_a_column_that_this_program_does_not_know_is_stated(lake, url):
    path = version_path(lake, "trades", MARKET, DAY, 1)
    pq.write_table(pq.ParquetFile(path).read().append_column("dreams", pa.nulls(1, pa.string())), path)
    assert problems(lake, url)[0].startswith(f"{path} is damaged (it has ")


@EACH_ADDED
def test_a_late_row_with_a_value_makes_a_version_with_the_column(lake, url, kind):
    append(url, LATE[kind])
    assert sealed(lake, url).written == (kind,)
    of_late = getattr(LATE[kind], ADDED[kind])
    assert pq.ParquetFile(path_of(lake, kind, MARKET, DAY)).read()[ADDED[kind]].to_pylist() == [None, of_late]
    assert problems(lake, url) == ()


def test_its_rows_are_removed_and_a_late_one_joins_them(lake, url):
    assert sealed(lake, url, remove=[DAY]).removed == ("expected_prices", "trades")
    remove_sealed(url, lake)
    append(url, LATE["expected_prices"])
    assert sealed(lake, url).written == ("expected_prices",)
    file = pq.ParquetFile(path_of(lake, "expected_prices", MARKET, DAY))
    assert file.read()["auction"].to_pylist() == [None, "closing"]
    assert problems(lake, url) == ()


def test_its_versions_are_copied_and_put_back(lake, tmp_path):
    copy, days = tmp_path / "copy", sealed_days(lake)
    assert copy_lake(lake, FolderTarget(copy), STOP) == LakeCopied(1, len(KEPT), [])
    shutil.rmtree(lake)
    found = lacking(lake, FolderTarget(copy), [DAY], STOP)
    assert (len(found.files), found.problems) == (len(KEPT), ())
    put_back(lake, found, STOP)
    assert lacking(lake, FolderTarget(copy), [DAY], STOP) == LakePlan()
    assert day_in(lake).kinds == days[0].kinds


@EACH_ADDED
def test_a_version_that_is_gone_is_put_back_from_the_glob_s_file(lake, kind):
    (path := version_path(lake, kind, MARKET, DAY, 1)).unlink()
    assert publish(lake, day_in(lake))
    assert path.exists()


def test_its_versions_are_published(lake, server):
    store = store_at(server.make_bucket("version-8"), server.endpoint)
    assert [day.session_date for day in publish_days(lake, store, MARKET, STOP)] == [DAY]
    assert wrong_at_target(lake, store, day_in(lake), STOP) == ()


def test_a_store_reads_no_value_in_the_column(lake, tmp_path):
    with observer.open_store(lake) as store:
        for kind, added in ADDED.items():
            found = store.rows.scan(kind, DAY).collect()
            assert (found[added].to_list(), found["venue"].null_count()) == ([None], 0)
        assert store.sql("SELECT count(*) AS rows FROM trades").collect()["rows"].to_list() == [1]
        assert store.export(DAY, tmp_path / "export")


@EACH_ADDED
def test_the_catalogue_s_table_gets_the_column_and_keeps_its_snapshots(lake, url, kind, caplog):
    update_catalogue(lake, sealed_days(lake))
    with open_catalogue(lake) as catalogue:
        table = catalogue.load_table((NAMESPACE, kind))
        with table.update_schema() as update:  # the table as an earlier Observer made it
            update.delete_column(ADDED[kind])
        [first] = table.snapshots()
    append(url, LATE[kind])
    with caplog.at_level(logging.WARNING):
        sealed(lake, url)
    assert caplog.messages == []
    with open_catalogue(lake) as catalogue:
        table = catalogue.load_table((NAMESPACE, kind))
        values = table.scan().to_arrow()[ADDED[kind]].to_pylist()
        assert sorted(values, key=str) == sorted([None, getattr(LATE[kind], ADDED[kind])], key=str)
        assert table.scan(snapshot_id=first.snapshot_id).to_arrow().num_rows == 1
    assert outdated_tables(lake, sealed_days(lake)) == []
