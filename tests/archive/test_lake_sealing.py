"""A sealed day has the database's rows, each version stays, and a kill leaves nothing that a reader sees."""

import fcntl
import os
import shutil
import threading
from contextlib import ExitStack
from itertools import count

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bus.delivery import Delivered
from bus.events import SCHEMA_VERSION, BackupCompleted
from observer.archive.lake.digest import digest_of
from observer.archive.lake.layout import (
    glob_of,
    path_of,
    sealed_day,
    sealed_days,
    version_path,
    versions,
    write_manifest,
)
from observer.archive.lake.parquet import file_schema, metadata_of, read_file
from observer.archive.lake.publishing import confirmed, locked, publish, repair
from observer.archive.lake.sealing import seal, seal_days
from observer.archive.lake.verification import verify_catalogue, verify_day, verify_stored_day
from observer.base.errors import DataFileError, LakeInUseError, StoppedError
from observer.store.arrow import schema_of
from observer.store.sealing import SealingReader
from observer.store.writer import StoreWriter
from tests.archive.stored import DAY, MARKET, NEXT_DAY, STREAM, append, database_rows, day_of, lake_rows, make_stored
from tests.builders import trade

NOT_IN_FILES = {"market", "session_date"}


@pytest.fixture
def url(tmp_path):
    return make_stored(tmp_path, *day_of())


@pytest.fixture
def lake(tmp_path):
    return tmp_path / "lake"


def seal_day(lake, url, day=DAY, now_ns=1):
    with locked(lake):
        repair(lake)
        return seal(lake, url, MARKET, day, now_ns, threading.Event())


def verified(lake, url):
    day = sealed_day(lake, MARKET, DAY)
    assert day is not None
    with SealingReader(url) as reader:
        return verify_day(lake, day, reader, threading.Event())


def test_a_sealed_day_has_the_databases_rows(lake, url):
    result = seal_day(lake, url)
    assert set(result.written) == {"trades", "sweeps", "universes"}
    for kind in result.written:
        columns = file_schema(kind).names
        assert lake_rows(sorted(lake.glob(glob_of(kind))), columns) == database_rows(url, kind, DAY, columns)


def test_any_engine_reads_the_days_by_a_glob(lake, url):
    append(url, *day_of(NEXT_DAY, symbols=1, each=5))
    seal_day(lake, url)
    seal_day(lake, url, NEXT_DAY)
    days = pl.scan_parquet(lake / glob_of("trades"), hive_partitioning=True, try_parse_hive_dates=False)
    by_day = days.group_by("session_date", "market").agg(pl.len(), pl.col("volume").sum()).sort("session_date")
    found = by_day.collect().rows()
    assert found == [(DAY, MARKET, 60, 60.0), (NEXT_DAY, MARKET, 5, 5.0)]


def test_a_file_is_sorted_and_has_its_kinds_columns_but_those_of_its_folders(lake, url):
    seal_day(lake, url)
    table = pq.ParquetFile(path_of(lake, "trades", MARKET, DAY)).read()
    assert table.schema.names == [name for name in schema_of("trades").names if name not in NOT_IN_FILES]
    keys = list(zip(*(table[name].to_pylist() for name in ("symbol", "exchange_time_ns", "sequence")), strict=True))
    assert keys == sorted(keys)
    assert table.schema.field("exchange_time_ns").metadata[b"unit"].startswith(b"ns since")


def test_a_files_metadata_state_its_rows_and_what_it_is(lake, url):
    seal_day(lake, url, now_ns=42)
    stated = metadata_of(path_of(lake, "trades", MARKET, DAY))
    newest = sealed_days(lake)[0].newest("trades")
    assert newest is not None
    of_rows = {"rows": "60", "digest": newest.digest, "schema_version": str(SCHEMA_VERSION)}
    of_file = {"kind": "trades", "market": MARKET, "session_date": DAY, "version": "1", "sealed_at_ns": "42"}
    assert stated.items() >= {**of_rows, **of_file}.items()


def test_a_file_is_compressed_by_zstd_and_differences(lake, url):
    seal_day(lake, url)
    group = pq.read_metadata(path_of(lake, "trades", MARKET, DAY)).row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert "DELTA_BINARY_PACKED" in columns["receive_time_ns"].encodings


def test_sealing_again_changes_nothing(lake, url):
    seal_day(lake, url)
    before = {path: path.stat().st_mtime_ns for path in lake.rglob("*.*")}
    assert seal_day(lake, url, now_ns=2).written == ()
    assert {path: path.stat().st_mtime_ns for path in lake.rglob("*.*")} == before


def test_a_day_that_changed_gets_a_new_version_and_the_old_one_stays(lake, url):
    seal_day(lake, url, now_ns=1)
    append(url, trade(99, symbol="000010", gap_id="late"))
    assert seal_day(lake, url, now_ns=2).written == ("trades",)
    found = versions(lake, "trades", DAY)
    assert [(version.version, version.rows, version.sealed_at_ns) for version, _path in found] == [
        (1, 60, 1),
        (2, 61, 2),
    ]
    assert [sum(batch.num_rows for batch in read_file(path)) for _version, path in found] == [60, 61]
    assert metadata_of(path_of(lake, "trades", MARKET, DAY))["version"] == "2"
    assert verified(lake, url).problems == ()


def test_a_database_with_fewer_rows_than_the_sealed_day_changes_nothing(lake, url, tmp_path):
    seal_day(lake, url)
    (tmp_path / "restored").mkdir()
    older = make_stored(tmp_path / "restored", *day_of(each=10))
    with pytest.raises(DataFileError, match=r"fewer rows than the sealed day \(trades 30 of 60\)"):
        seal_day(lake, older)
    assert verified(lake, url).problems == ()


def test_rows_of_another_market_are_refused(lake, url):
    with locked(lake), pytest.raises(DataFileError, match="rows of market krx in a database of crypto"):
        seal(lake, url, "crypto", DAY, 1, threading.Event())
    assert sealed_days(lake) == []


@pytest.mark.parametrize("read_rows", [59, 61])
def test_fewer_or_more_rows_than_were_counted_are_an_error(lake, url, monkeypatch, read_rows):
    read = SealingReader.batches

    def read_others(reader, kind, session_date):
        [batch] = read(reader, kind, session_date)
        yield batch.slice(1)
        if read_rows > batch.num_rows:
            yield batch.slice(0, 2)

    monkeypatch.setattr(SealingReader, "batches", read_others)
    with pytest.raises(DataFileError, match=f"{read_rows} rows of trades were read, but the database counts 60"):
        seal_day(lake, url)
    assert sealed_days(lake) == []


def test_a_stopped_sealing_leaves_the_lake_as_it_was(lake, url):
    stop = threading.Event()
    stop.set()
    with locked(lake), pytest.raises(StoppedError, match=f"the sealing of {DAY} was interrupted"):
        seal(lake, url, MARKET, DAY, 1, stop)
    assert sealed_days(lake) == []
    assert list(lake.glob(glob_of())) == []


def test_what_no_manifest_names_is_removed_at_the_next_start(lake, url):
    seal_day(lake, url)
    orphan = version_path(lake, "trades", MARKET, DAY, 2)
    orphan.write_bytes(b"half")
    (lake / "_staging" / "trades.part").write_bytes(b"half")
    with locked(lake):
        assert repair(lake).removed == 2
    assert not orphan.exists()
    assert verified(lake, url).problems == ()


def test_a_lost_manifest_is_made_again_and_no_version_is_removed(lake, url):
    seal_day(lake, url, now_ns=1)
    append(url, trade(99, symbol="000010"), *day_of(NEXT_DAY, symbols=1, each=5))
    before = seal_day(lake, url, now_ns=2).day
    files = sorted((lake / "_versions").rglob("*.parquet"))
    (lake / "_days" / f"market={MARKET}" / f"{DAY}.json").unlink()
    seal_day(lake, url, NEXT_DAY)
    found = sealed_day(lake, MARKET, DAY)
    assert found is not None
    assert (found.kinds, found.sealed_at_ns) == (before.kinds, 2)
    assert set(files) < set((lake / "_versions").rglob("*.parquet"))
    assert verified(lake, url).problems == ()
    assert seal_day(lake, url).day.marks == before.marks


def test_a_first_sealing_that_a_kill_ended_leaves_nothing(lake, url):
    seal_day(lake, url)
    (lake / "_days" / f"market={MARKET}" / f"{DAY}.json").unlink()
    for path in lake.glob(glob_of()):
        path.unlink()
    with locked(lake):
        assert repair(lake).removed == 3
    assert sealed_days(lake) == []


def test_a_file_that_a_kill_left_unpublished_is_published_at_the_next_start(lake, url):
    seal_day(lake, url)
    path_of(lake, "trades", MARKET, DAY).unlink()
    assert "publishes it again" in verified(lake, url).problems[0]
    with locked(lake):
        assert repair(lake).published == 1
    assert verified(lake, url).problems == ()


def test_a_file_system_without_hard_links_gets_copies(lake, url, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    seal_day(lake, url)
    assert path_of(lake, "trades", MARKET, DAY).stat().st_nlink == 1
    with locked(lake):
        assert repair(lake).published == 0
    assert verified(lake, url).problems == ()


def test_a_copy_with_another_byte_is_noticed_and_published_again(lake, url, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    seal_day(lake, url)
    copy = path_of(lake, "trades", MARKET, DAY)
    there = copy.stat()
    content = bytearray(copy.read_bytes())
    content[200] ^= 0xFF
    copy.write_bytes(content)
    os.utime(copy, ns=(there.st_atime_ns, there.st_mtime_ns))
    [problem] = verified(lake, url).problems
    assert problem.endswith("`observer lake seal 2026-11-18` publishes it again")
    seal_day(lake, url)
    assert verified(lake, url).problems == ()


def test_only_one_process_changes_a_lake(lake):
    with locked(lake), pytest.raises(LakeInUseError, match="another process seals"), locked(lake):
        pass


def test_a_verification_s_look_at_the_lock_keeps_no_process_from_taking_it(lake, monkeypatch):
    monkeypatch.setattr("observer.archive.lake.publishing._TAKE_S", 60.0)
    with locked(lake):
        looking = (lake / "_lock").open("rb")
    fcntl.flock(looking, fcntl.LOCK_SH)
    is_over = threading.Event()

    def end_look():
        is_over.set()  # before: the lock is free before the file says that it is closed
        looking.close()

    looked = threading.Timer(0.02, end_look)
    looked.start()
    with locked(lake):
        assert is_over.is_set()
    looked.join()


def test_a_verification_that_finds_something_else_each_time_ends_with_its_third_look(lake):
    looks = count(1)
    assert confirmed(lake, lambda: [f"{next(looks)} rows"], lambda each: each, threading.Event()) == ["3 rows"]


def test_verification_compares_files_with_the_database(lake, url):
    seal_day(lake, url)
    whole = verified(lake, url)
    assert (whole.kinds, whole.rows, whole.compared_rows, whole.problems) == (3, 62, 62, ())
    append(url, trade(99, symbol="000010"))
    [problem] = verified(lake, url).problems
    assert problem.startswith("trades of 2026-11-18: the database has 61 rows, the sealed day 60: `observer lake seal")


def test_what_a_process_is_about_to_publish_is_no_difference(lake, url):
    seal_day(lake, url)
    append(url, trade(99, symbol="000010", gap_id="late"))
    stop, waits = threading.Event(), 0
    [before] = sealed_days(lake)
    with ExitStack() as sealing:
        sealing.enter_context(locked(lake))
        seal(lake, url, MARKET, DAY, 2, stop)
        [day] = sealed_days(lake)
        publish(lake, before, by_content=True)  # as it is between the manifest and the publication

        def waiting():
            nonlocal waits
            waits += 1
            publish(lake, day)
            sealing.close()

        found = confirmed(
            lake, lambda: verify_stored_day(lake, day, url, stop), lambda each: each.problems, stop, waiting
        )
    assert (found.problems, waits) == ((), 1)
    publish(lake, before, by_content=True)
    found = confirmed(lake, lambda: verify_stored_day(lake, day, url, stop), lambda each: each.problems, stop, waiting)
    [problem] = found.problems
    assert problem.endswith(f"`observer lake seal {DAY}` publishes it again"), "no process is about to"
    with locked(lake):
        stop.set()
        with pytest.raises(StoppedError):
            confirmed(lake, lambda: ["wrong"], lambda each: each, stop)


def test_rows_of_a_kind_that_only_a_later_observer_knows_are_one_line_and_keep_nothing_from_being_sealed(lake, url):
    seal_day(lake, url)
    [day] = sealed_days(lake)
    later = msgspec.structs.replace(day, kinds={**day.kinds, "dreams": day.kinds["trades"]})
    write_manifest(lake, later)
    path = version_path(lake, "dreams", MARKET, DAY, 1)
    path.parent.mkdir(parents=True)
    shutil.copyfile(version_path(lake, "trades", MARKET, DAY, 1), path)
    text = "this program knows no rows of the kind dreams: a later Observer sealed them, use that one"
    assert verified(lake, url).problems == (f"dreams of {DAY}: {text}",)
    with pytest.raises(DataFileError, match=text):
        file_schema("dreams")
    append(url, trade(99, symbol="000010", gap_id="late"))
    [result] = seal_days(lake, url, MARKET, [DAY], lambda: 2, threading.Event())
    assert result.written == ("trades",)
    assert verify_catalogue(lake) == ()


def test_verification_counts_kinds_that_one_side_lacks(lake, tmp_path):
    universe, sweep, *trades = day_of()
    url = make_stored(tmp_path, universe, *trades)
    seal_day(lake, url)
    append(url, sweep)
    [problem] = verified(lake, url).problems
    assert problem.startswith("sweeps of 2026-11-18: the database has 1 rows, the sealed day none")
    (tmp_path / "restored").mkdir()
    [problem] = verified(lake, make_stored(tmp_path / "restored", universe)).problems
    assert problem == "trades of 2026-11-18: the database has 0 rows, the sealed day 60"


def test_verification_notices_a_damaged_and_a_missing_file(lake, url):
    seal_day(lake, url)
    trades, sweeps = (version_path(lake, kind, MARKET, DAY, 1) for kind in ("trades", "sweeps"))
    content = bytearray(trades.read_bytes())
    content[200] ^= 0xFF
    trades.write_bytes(content)
    sweeps.unlink()
    problems = verified(lake, url).problems
    assert len([each for each in problems if str(trades) in each]) == 1
    assert len([each for each in problems if str(sweeps) in each]) == 1


def test_the_digest_depends_on_each_value_and_not_on_the_batches(lake, url):
    columns = file_schema("trades").names
    with SealingReader(url) as reader:
        [batch] = reader.batches("trades", DAY)
    _rows, whole = digest_of([batch], columns)
    assert digest_of([batch.slice(0, 7), batch.slice(7)], columns) == (60, whole)
    others = {name: digest_of([_with_next_value(batch, name)], columns)[1] for name in columns}
    assert whole not in others.values()


def _with_next_value(batch, name):
    """The batch with the first value of a column replaced by another one."""
    field = batch.schema.field(name)
    others = {pa.int64(): 987_654_321, pa.float64(): 0.123, pa.string(): "other", pa.bool_(): True}
    values = [others[field.type], *batch.column(name).to_pylist()[1:]]
    place = batch.schema.get_field_index(name)
    return batch.set_column(place, field, pa.array(values, field.type))


def test_a_manifest_has_the_marks_of_the_streams_with_rows_of_its_day(lake, url):
    writer = StoreWriter(url)
    writer.open()
    for number in range(5):
        writer.commit([Delivered("track-b", f"{number:032x}", 1, [trade(1, session_date=NEXT_DAY)])])
    writer.close()
    of_day, of_next_day = (seal_day(lake, url, day).day for day in (DAY, NEXT_DAY))
    assert of_day.marks == {STREAM: 62}
    assert of_next_day.marks == {f"{number:032x}": 1 for number in range(5)}


def test_a_day_is_backed_up_by_a_package_that_was_completed_at_its_moment_or_later(url):
    append(url, BackupCompleted(10, "package", 1, ""))
    with SealingReader(url) as reader:
        assert [reader.is_backed_up(moment_ns) for moment_ns in (9, 10, 11)] == [True, True, False]
