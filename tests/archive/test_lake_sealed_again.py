"""What another sealing of a sealed day states, keeps and refuses."""

import os
import re
import shutil
import threading

import msgspec
import pytest

from observer.archive.day import path_of, sealed_day, sealed_days, version_path, write_manifest
from observer.archive.sealing import seal_days
from observer.base.errors import DataFileError, StoppedError
from tests.archive.stored import (
    DAY,
    MARKET,
    NEXT_DAY,
    STREAM,
    append,
    day_of,
    first_day_removed,
    make_stored,
    of_every_kind,
    remove_sealed,
    two_sealed_days,
)
from tests.builders import trade

LAST = 69  # the number of the last event of both days
LATE = trade(99, symbol="000010")


def sealed(lake, url, *days, remove=()):
    return list(seal_days(lake, url, MARKET, days or [DAY], lambda: 2, threading.Event(), remove=remove))


def day_in(lake, session_date=DAY):
    day = sealed_day(lake, MARKET, session_date)
    assert day is not None
    return day


def test_each_kind_that_begins_is_said_with_the_rows_of_its_new_version():
    lake, url = first_day_removed()
    append(url, LATE, *of_every_kind(NEXT_DAY, "000010", 1, ["sweeps", "quality"]))
    said: list[tuple[str, str, int]] = []
    list(seal_days(lake, url, MARKET, [DAY, NEXT_DAY], lambda: 2, threading.Event(), lambda *each: said.append(each)))
    assert said == [(DAY, "trades", 61), (NEXT_DAY, "sweeps", 2), (NEXT_DAY, "quality", 1)]


def test_a_late_row_of_a_removed_kind_is_sealed_beside_removed_kinds_without_one():
    lake, url = two_sealed_days()
    kinds = ["conflated_trades", "fetched_minute_bars", "volume_rises"]
    append(url, *of_every_kind(DAY, "000010", 1, kinds))
    sealed(lake, url, remove=[DAY])
    remove_sealed(url, lake)
    append(url, *of_every_kind(DAY, "000010", 2, ["fetched_minute_bars"]))
    [result] = sealed(lake, url)
    assert (result.written, day_in(lake).kinds["fetched_minute_bars"][-1].rows) == (("fetched_minute_bars",), 2)


def test_a_manifest_states_the_marks_of_the_database_beyond_the_day_s_own_rows():
    lake, url = two_sealed_days()
    assert [day.marks for day in sealed_days(lake)] == [{STREAM: LAST}, {STREAM: LAST}]
    before = day_in(lake)
    write_manifest(lake, msgspec.structs.replace(before, marks={}))
    assert sealed(lake, url)[0].written == ()
    assert day_in(lake) == before


def test_a_version_says_that_no_two_of_its_rows_are_alike():
    lake, url = two_sealed_days()
    assert {kind: found[-1].is_distinct for kind, found in day_in(lake).kinds.items()}["trades"]
    append(url, LATE, LATE)
    sealed(lake, url)
    assert not day_in(lake).kinds["trades"][-1].is_distinct


@pytest.mark.parametrize("is_late", [False, True])
def test_what_a_manifest_says_of_the_target_and_the_database_outlives_a_sealing(is_late):
    lake, url = first_day_removed()
    before = msgspec.structs.replace(day_in(lake), published={"trades": 1, "sweeps": 1})
    write_manifest(lake, before)
    if is_late:
        append(url, LATE)
    sealed(lake, url)
    day = day_in(lake)
    assert (day.removed, day.published) == (before.removed, before.published)
    assert len(day.kinds["trades"]) == 1 + is_late


def test_an_unchanged_day_s_copy_with_another_byte_is_replaced():
    lake, url = two_sealed_days()
    version, copy = version_path(lake, "trades", MARKET, DAY, 1), path_of(lake, "trades", MARKET, DAY)
    whole = version.read_bytes()
    copy.unlink()
    copy.write_bytes(whole[:200] + bytes([whole[200] ^ 0xFF]) + whole[201:])
    there = version.stat()
    os.utime(copy, ns=(there.st_atime_ns, there.st_mtime_ns))
    assert sealed(lake, url)[0].written == ()
    assert (copy.read_bytes(), version.read_bytes()) == (whole, whole)


def test_a_database_with_fewer_rows_of_sealed_kinds_is_refused_and_its_day_stays(tmp_path):
    lake, _ = two_sealed_days()
    before = day_in(lake)
    universe, _, *trades = day_of()
    with pytest.raises(DataFileError) as failed:
        sealed(lake, make_stored(tmp_path, universe, *trades[:30]))
    assert str(failed.value) == (
        f"{DAY}: the database has fewer rows than the sealed day (trades 30 of 60, sweeps 0 of 1): "
        "if it was restored, wait until the processes have delivered again; the sealed day stays as it is"
    )
    assert day_in(lake) == before


def test_all_wrong_days_are_named_in_one_error_and_the_others_are_sealed():
    lake, url = two_sealed_days()
    wrong = ["2026-11-20", "2026-11-22"]
    append(url, *(event for day in wrong for event in day_of(day, 1, 1, market="other")), *day_of("2026-11-21", 1, 1))
    texts = []
    for day in wrong:
        with pytest.raises(DataFileError) as failed:
            sealed(lake, url, day)
        texts.append(str(failed.value))
    with pytest.raises(DataFileError) as failed:
        sealed(lake, url, wrong[0], "2026-11-21", wrong[1])
    assert str(failed.value) == f"2 of 3 days are not sealed: {texts[0]}; {texts[1]}"
    assert [day.session_date for day in sealed_days(lake)] == [DAY, NEXT_DAY, "2026-11-21"]


def test_a_stop_comes_before_the_word_that_rows_may_leave_the_database():
    lake, url = two_sealed_days()
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        list(seal_days(lake, url, MARKET, [DAY], lambda: 2, stop, remove=[DAY]))
    assert day_in(lake).removed == ()


def test_removed_rows_of_a_manifest_that_was_put_back_are_those_of_a_whole_file():
    lake, url = first_day_removed()
    whole = day_in(lake)
    put_back = msgspec.structs.replace(whole, marks={}, removed=())
    write_manifest(lake, put_back)
    version = version_path(lake, "trades", MARKET, DAY, 1)
    kept = shutil.copy(version, lake.parent / "kept.parquet")
    shutil.copyfile(version_path(lake, "trades", MARKET, NEXT_DAY, 1), version)
    with pytest.raises(DataFileError, match=f"{re.escape(str(version))} is damaged .*, which has the trades of {DAY}"):
        sealed(lake, url)
    assert day_in(lake) == put_back
    shutil.copyfile(kept, version)
    sealed(lake, url)
    assert day_in(lake) == whole
