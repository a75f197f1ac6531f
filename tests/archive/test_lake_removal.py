"""Rows of an old sealed day leave the database once the lake has them, and a late row joins the sealed ones."""

import multiprocessing
import os
import shutil
import signal
import threading

import msgspec
import pyarrow as pa
import pytest
from sqlalchemy import Engine, event

from bus.delivery import Delivered
from observer.archive.day import (
    SealedDay,
    days_to_remove,
    path_of,
    sealed_day,
    sealed_days,
    version_path,
    write_manifest,
)
from observer.archive.lock import confirmed
from observer.archive.merging import merged
from observer.archive.parquet import file_schema
from observer.archive.sealing import seal_days
from observer.archive.verification import verify_day, verify_stored_day
from observer.base.errors import DataFileError
from observer.store.kinds import KINDS
from observer.store.sealing import SealingReader
from observer.store.writer import StoreWriter
from observer.system.doctor.stored import Stored, examine
from tests.archive.stored import (
    DAY,
    MARKET,
    NEXT_DAY,
    STREAM,
    append,
    database_rows,
    day_of,
    first_day_removed,
    lake_rows,
    make_stored,
    of_every_kind,
    remove_sealed,
    removing,
    two_sealed_days,
    url_in,
)
from tests.builders import trade
from tests.store.migrated import make_database
from tests.store.raw import execute

OTHER = "6" * 32
COLUMNS = file_schema("trades").names


@pytest.fixture
def kept():
    return two_sealed_days()


@pytest.fixture
def lake(kept):
    return kept[0]


@pytest.fixture
def url(kept):
    return kept[1]


def sealed(lake, url, *, now_ns=1, remove=False):
    days = [DAY, NEXT_DAY]
    removed = [DAY] if remove else []
    return list(seal_days(lake, url, MARKET, days, lambda: now_ns, threading.Event(), remove=removed))


def day_in(lake, session_date=DAY):
    day = sealed_day(lake, MARKET, session_date)
    assert day is not None
    return day


def problems(lake, url):
    with SealingReader(url) as reader:
        return verify_day(lake, day_in(lake), reader, threading.Event()).problems


def count(url, kind, session_date=DAY):
    return len(database_rows(url, kind, session_date, ["sequence"]))


def recounted(url, lake, folder):
    """The level and the text of the doctor's recount."""

    def removable():
        return [rows for day in sealed_days(lake) for rows in day.removable_rows()]

    outboxes, backups = folder / "outbox", folder / "backup"
    found = examine(Stored(url=url, outboxes=outboxes, backups=backups, recount=True, sealed=removable))
    [of_rows] = [each for each in found if each.check == "rows"]
    return of_rows.level, of_rows.text


def test_only_the_sealed_rows_of_the_days_kinds_of_many_rows_are_removed(lake, url, tmp_path):
    before = database_rows(url, "trades", DAY, COLUMNS)
    [first, _] = sealed(lake, url, remove=True)
    assert first.removed == ("trades",)
    assert count(url, "trades") == 60, "nothing is removed before the core writer does"
    remove_sealed(url, lake)
    assert [count(url, kind) for kind in ("trades", "universes", "sweeps")] == [0, 1, 1]
    assert count(url, "trades", NEXT_DAY) == 5
    assert lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS) == before
    assert problems(lake, url) == ()
    assert recounted(url, lake, tmp_path) == ("ok", "9 rows and 60 in the lake alone, as the event streams' marks say")


def test_a_verification_states_no_difference_while_the_day_s_rows_are_removed(lake, url):
    day = day_in(lake)

    def remove(_):  # behind the reading of the manifest, before that of the rows
        sealed(lake, url, remove=True)
        remove_sealed(url, lake)

    event.listen(Engine, "engine_connect", remove, once=True)
    stop = threading.Event()
    assert confirmed(lake, lambda: verify_stored_day(lake, day, url, stop).problems, lambda each: each, stop) == ()
    assert count(url, "trades") == 0

    execute(url, "DELETE FROM sweeps")
    [problem] = verify_stored_day(lake, day_in(lake), url, threading.Event()).problems
    assert problem == f"sweeps of {DAY}: the database has 0 rows, the sealed day 1"


def test_a_lost_lake_is_not_sealed_anew_without_its_removed_rows(lake, url):
    for day in (DAY, NEXT_DAY):
        append(url, *of_every_kind(day, "000010", 1, ["snapshots", "sweeps"]))
    sealed(lake, url, remove=True)
    remove_sealed(url, lake)
    append(url, trade(99, symbol="000010"))  # a late row of another kind makes the day no whole one
    shutil.rmtree(lake)
    with pytest.raises(DataFileError, match=f"{DAY}: .* `observer backup restore --lake`"):
        sealed(lake, url, now_ns=2)
    assert [day.session_date for day in sealed_days(lake)] == [NEXT_DAY]


def test_without_a_word_in_the_manifest_nothing_is_removed(lake, url):
    assert remove_sealed(url, lake) == 0
    assert count(url, "trades") == 60


def test_a_late_row_joins_the_sealed_ones_as_if_all_had_been_sealed_at_once(lake, url, tmp_path):
    late = [trade(99, symbol="000010"), trade(7, symbol="000020", gap_id="late"), trade(1, symbol="000025")]
    (tmp_path / "whole").mkdir()
    whole = make_stored(tmp_path / "whole", *day_of(), *day_of(NEXT_DAY, symbols=1, each=5), *late)
    sealed(lake, url, remove=True)
    remove_sealed(url, lake)
    append(url, *late)
    assert "3 rows of the database came after the sealing" in problems(lake, url)[0]
    [first, second] = sealed(lake, url, now_ns=2)
    assert (first.written, second.written) == (("trades",), ())
    sealed(tmp_path / "other", whole)
    newest, expected = day_in(lake).newest("trades"), day_in(tmp_path / "other").newest("trades")
    assert newest is not None
    assert expected is not None
    assert (newest.version, newest.rows, newest.digest) == (2, 63, expected.digest)
    assert problems(lake, url) == ()
    remove_sealed(url, lake)
    assert count(url, "trades") == 0
    assert sealed(lake, url, now_ns=3)[0].written == ()


def test_a_late_row_between_two_batches_stays(lake, url):
    sealed(lake, url, remove=True)
    [rows] = day_in(lake).removable_rows()
    with removing(url) as writer:
        reached = writer.remove(rows, 0, rows_max=7)
    append(url, trade(99, symbol="000010"))
    assert reached == rows.first + 6
    assert count(url, "trades") == 54
    [first, _] = sealed(lake, url, now_ns=2)
    assert first.day.kinds["trades"][-1].rows == 61
    remove_sealed(url, lake)
    assert count(url, "trades") == 0
    assert problems(lake, url) == ()


def killed_at(url, rows, batch, *, committed):
    """Remove batches of seven rows, and be killed in that one: before its commit, or behind it."""

    def kill(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def child():
        with removing(url) as writer:
            after = 0
            for number in range(1, batch + 1):
                if number == batch and not committed:
                    event.listen(Engine, "commit", kill)
                after = writer.remove(rows, after, rows_max=7) or 0
            kill()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_kill_at_the_edge_of_any_batch_loses_and_doubles_no_row(lake, url):
    before = database_rows(url, "trades", DAY, COLUMNS)
    sealed(lake, url, remove=True)
    [rows] = day_in(lake).removable_rows()
    left = []
    for _ in range(9):
        for committed in (False, True):
            killed_at(url, rows, 1, committed=committed)
            append(url, trade(1_000 + len(left), symbol="000010"))
            left.append(sum(row[0] <= rows.last for row in database_rows(url, "trades", DAY, ["sequence"])))
            assert lake_rows([path_of(lake, "trades", MARKET, DAY)], COLUMNS) == before
    assert left == [60, 53, 53, 46, 46, 39, 39, 32, 32, 25, 25, 18, 18, 11, 11, 4, 4, 0]
    [first, _] = sealed(lake, url, now_ns=2)
    newest = first.day.kinds["trades"][-1]
    stored = {row[1] for row in lake_rows([version_path(lake, "trades", MARKET, DAY, newest.version)], COLUMNS)}
    assert (newest.rows, len(stored)) == (78, 78)
    assert problems(lake, url) == ()


def test_rows_that_a_restored_database_has_again_count_once_and_are_removed_again(tmp_path):
    lake, _ = first_day_removed()
    (tmp_path / "restored").mkdir()
    restored = make_stored(tmp_path / "restored", *day_of(), *day_of(NEXT_DAY, symbols=1, each=5))
    assert sealed(lake, restored, now_ns=2)[0].written == ()
    append(restored, trade(99, symbol="000010"))
    [first, _] = sealed(lake, restored, now_ns=3)
    assert first.day.kinds["trades"][-1].rows == 61
    remove_sealed(restored, lake)
    assert count(restored, "trades") == 0


def test_a_stream_s_number_that_another_stream_got_after_a_restore_joins_no_foreign_rows(tmp_path):
    lake, _ = first_day_removed()
    restored = empty(tmp_path / "restored")
    others = [trade(50, symbol="000020"), *day_of()[:2], *day_of(NEXT_DAY, symbols=1, each=5)]
    deliver(restored, OTHER, *others)  # with number 1, which was that of STREAM
    assert "trades" in sealed(lake, restored, now_ns=2)[0].written
    newest = day_in(lake).newest("trades")
    assert newest is not None
    assert newest.rows == 61
    assert {(each.stream, each.uid): each.rows for each in newest.streams} == {(1, OTHER): 1, (2, STREAM): 60}
    numbers = {row[0] for row in lake_rows([version_path(lake, "trades", MARKET, DAY, 1)], COLUMNS)}
    assert numbers == {each.stream for each in day_in(lake).kinds["trades"][0].streams} == {1}


def test_bars_of_a_past_day_in_a_new_database_join_the_rows_that_an_earlier_one_sealed(lake, url, tmp_path):
    new = empty(tmp_path / "new")
    deliver(new, OTHER, *of_every_kind(DAY, "000010", 1, ["bar_fetches", "fetched_minute_bars", "trades"]))
    [first, second] = sealed(lake, new, now_ns=2)
    assert (set(first.written), second.written) == ({"bar_fetches", "fetched_minute_bars", "trades"}, ())
    newest = day_in(lake).newest("trades")
    assert newest is not None
    assert {each.uid: each.rows for each in newest.streams} == {STREAM: 60, OTHER: 1}
    assert problems(lake, new) == ()
    [again, _] = sealed(lake, new, now_ns=3, remove=True)
    assert (again.written, again.removed) == ((), ("fetched_minute_bars", "trades"))
    remove_sealed(new, lake)
    assert count(new, "trades") == 0


@pytest.mark.slow
def test_rows_of_every_kind_in_a_new_database_join_the_sealed_ones_as_if_all_had_been_sealed_at_once(
    tmp_path,
):
    lake = tmp_path / "lake"
    old, new = of_every_kind(DAY, "000010", 2), of_every_kind(DAY, "000010", 1)
    urls = {name: empty(tmp_path / name) for name in ("old", "new", "whole")}
    deliver(urls["old"], STREAM, *old)
    deliver(urls["new"], OTHER, *new)
    for stream, events in ((OTHER, new), (STREAM, old)):
        deliver(urls["whole"], stream, *events)

    def seal(folder, name):
        [found] = seal_days(folder, urls[name], MARKET, [DAY], lambda: 1, threading.Event())
        return {kind: (versions[-1].rows, versions[-1].digest) for kind, versions in found.day.kinds.items()}

    seal(lake, "old")
    assert seal(lake, "new") == seal(tmp_path / "at_once", "whole")
    assert {len(found) for found in day_in(lake).kinds.values()} == {2}, "each kind has a joined version"
    assert day_in(lake).kinds.keys() == KINDS.keys()
    assert problems(lake, urls["new"]) == ()


def test_late_rows_are_taken_as_their_symbols_come():
    taken = []
    schema = file_schema("trades")

    def rows():
        for number in range(5):
            taken.append(number)
            symbol = pa.array([f"{number:06}"])
            columns = [symbol if each.name == "symbol" else pa.nulls(1, each.type) for each in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    found = merged([], rows(), "trades", {})
    assert next(found).num_rows == 1
    assert len(taken) < 4, "the other symbols' rows are not held"
    assert sum(batch.num_rows for batch in found) == 4


def test_streams_with_other_numbers_after_a_restore_make_a_new_version(lake, url, tmp_path):
    restored = empty(tmp_path / "restored")
    deliver(restored, OTHER, *day_of("2026-11-20", symbols=1, each=1))
    append(restored, *day_of(), *day_of(NEXT_DAY, symbols=1, each=5))
    assert set(sealed(lake, restored, now_ns=2)[0].written) == {"trades", "universes", "sweeps"}
    first, second = day_in(lake).kinds["trades"]
    assert [(each.streams[0].stream, each.streams[0].uid) for each in (first, second)] == [(1, STREAM), (2, STREAM)]
    assert problems(lake, restored) == ()


def test_a_version_that_does_not_state_its_positions_gets_a_next_one_before_rows_are_removed(lake, url):
    day = day_in(lake)
    without = {kind: (msgspec.structs.replace(found[-1], streams=()),) for kind, found in day.kinds.items()}
    write_manifest(lake, msgspec.structs.replace(day, kinds=without))
    [first, _] = sealed(lake, url, now_ns=2, remove=True)
    assert set(first.written) == {"trades", "sweeps", "universes"}
    remove_sealed(url, lake)
    assert count(url, "trades") == 0
    assert problems(lake, url) == ()


def empty(folder):
    folder.mkdir()
    url = url_in(folder)
    make_database(url)
    return url


def deliver(url, stream, *events):
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("gap-recovery", stream, 1, list(events))])
    writer.close()


def test_a_row_with_another_value_or_a_damaged_file_keeps_all_rows(lake, url):
    execute(url, "UPDATE trade_rows SET price = price + 1 WHERE sequence = 10")
    with pytest.raises(DataFileError, match="no row is removed from the database: trades of 2026-11-18"):
        sealed(lake, url, remove=True)
    execute(url, "UPDATE trade_rows SET price = price - 1 WHERE sequence = 10")
    content = version_path(lake, "trades", MARKET, DAY, 1).read_bytes()
    version_path(lake, "trades", MARKET, DAY, 1).write_bytes(content[:100] + b"x" + content[101:])
    with pytest.raises(DataFileError, match="no row is removed from the database"):
        sealed(lake, url, remove=True)
    assert day_in(lake).removed == ()
    assert remove_sealed(url, lake) == 0


def test_a_lost_manifest_of_a_day_whose_rows_were_removed_is_made_again():
    lake, url = first_day_removed()
    append(url, trade(99, symbol="000010"))
    (lake / "_days" / f"market={MARKET}" / f"{DAY}.json").unlink()
    [first, _] = sealed(lake, url, now_ns=2)
    assert (first.day.removed, first.written) == (("trades",), ("trades",))
    assert problems(lake, url) == ()


def test_a_row_that_is_lost_beside_the_removed_ones_is_found_by_the_recount(tmp_path):
    lake, url = first_day_removed()
    of_line = f"SELECT id FROM trade_groups WHERE session_date = '{NEXT_DAY}' AND symbol = '000010'"
    execute(url, f"DELETE FROM trade_rows WHERE group_id IN ({of_line}) AND price > 1003")
    assert recounted(url, lake, tmp_path)[0] == "critical"


def test_the_newest_days_of_the_market_are_kept():
    days = [SealedDay(market, f"2026-11-{day:02}", 1, {}) for day in (3, 1, 2, 4) for market in (MARKET, "other")]
    assert [day.session_date for day in days_to_remove(days, MARKET, 3)] == ["2026-11-01"]
    assert days_to_remove(days, MARKET, 4) == []
