"""Several days asked together are those days one after another, wherever their rows are; and what a store keeps."""

import shutil
import threading
from contextlib import contextmanager
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sqlalchemy import Engine, event

import observer
from bus.delivery import Delivered
from bus.events import (
    Event,
    GapDetected,
    MinuteBarRecovered,
    QualityJudged,
    SlotAssigned,
    TapeJudged,
    Trade,
    UniverseBuilt,
    UniverseMember,
)
from observer.archive.sealing import seal_days
from observer.base.errors import DataFileError, NoDataError
from observer.research.kept import Kept
from observer.store.kinds import KINDS
from observer.store.writer import StoreWriter
from tests.archive.stored import remove_sealed
from tests.chaos.year_days import MARKET, SYMBOLS, events_of, session_dates
from tests.properties import examples
from tests.reach import reaches
from tests.research.stored import append, url_of
from tests.store.migrated import make_database

DAYS = session_dates(7)  # the first two removed, two sealed with a late row in one, three in the database alone
REMOVED, SEALED, WITHOUT_TAPE = DAYS[:2], DAYS[:4], DAYS[5]
LATE = DAYS[3]
LINES = (SYMBOLS[0], f"{SYMBOLS[0]}.NXT", SYMBOLS[1])
STREAM = "6" * 32

Question = tuple[str, dict[str, Any]]


def events_on(day):
    """A day of every kind, with a line of another venue; a gap of the day before is named on it again."""
    kinds = KINDS.keys() - ({"tape_reports", "tape_pages"} if day == WITHOUT_TAPE else set())
    found = events_of(day, 400, kinds)
    further: list[Event] = [
        msgspec.structs.replace(each, symbol=LINES[1], venue="NXT")
        for each in found
        if isinstance(each, Trade | SlotAssigned | QualityJudged | TapeJudged) and each.symbol == SYMBOLS[0]
    ]
    again = [msgspec.structs.replace(each, session_date=DAYS[5]) for each in found if isinstance(each, GapDetected)]
    return [*found, *further, *(again[:1] if day == DAYS[4] else [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several_days")
    url, lake = url_of(folder), folder / "data" / "lake"
    make_database(url)
    for day in DAYS:
        append(url, STREAM, *events_on(day))
    list(seal_days(lake, url, MARKET, SEALED, lambda: 1, threading.Event(), remove=REMOVED))
    remove_sealed(url, lake)
    late = next(each for each in events_on(LATE) if isinstance(each, Trade) and each.symbol == SYMBOLS[0])
    append(url, STREAM, msgspec.structs.replace(late, cumulative_volume=late.cumulative_volume + 0.5, gap_id="late"))
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    """Is asked for single days."""
    with observer.open_store(folder) as opened:
        yield opened


@st.composite
def questions(draw):
    symbols = draw(st.sampled_from([None, *LINES, list(LINES), list(SYMBOLS[:3])]))
    known = {} if draw(st.booleans()) else {"known_at": draw(st.sampled_from([DAYS[3], f"{DAYS[5]} 10:00"]))}
    of_lines = {"symbols": symbols, **known}
    intervals = [{}, {"interval": "30s"}, {"interval": "1h"}]
    return draw(
        st.sampled_from(
            [
                ("gaps", known),
                ("quality", known),
                ("slots", {}),
                ("triggers", {}),
                ("trades", of_lines),
                ("missing", of_lines),
                ("snapshots", {"symbols": symbols}),
                *(("bars", {**of_lines, **interval}) for interval in intervals),
                ("bars", {**of_lines, "source": "official"}),
            ]
        )
    )


def answer(store, question, start, end):
    name, arguments = question
    try:
        found: pl.DataFrame = getattr(store, name)(start=start, end=end, **arguments).collect()
    except NoDataError as error:
        return type(error).__name__
    return found


@reaches(several_days_with_rows=2)
@settings(examples(0.3), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(questions(), st.integers(0, len(DAYS) - 1), st.integers(0, len(DAYS) - 1))
def test_several_days_together_are_the_days_one_after_another(folder, alone, reach, question, one, other):
    asked = DAYS[min(one, other) : max(one, other) + 1]
    each = [found for day in asked if isinstance(found := answer(alone, question, day, day), pl.DataFrame)]
    with observer.open_store(folder) as store:
        together = answer(store, question, asked[0], asked[-1])
    if isinstance(together, str):
        assert not each
        return
    expected = pl.concat(each)
    reach.count("several_days_with_rows", sum(not found.is_empty() for found in each) > 1)
    is_by_symbol = question[0] == "bars"
    assert_frame_equal(together, expected.sort("symbol", "time", maintain_order=True) if is_by_symbol else expected)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A lake with a day with a tape and one without."""
    folder = tmp_path_factory.mktemp("pair")
    url, lake, days = url_of(folder), folder / "data" / "lake", (DAYS[4], WITHOUT_TAPE)
    make_database(url)
    for day in days:
        append(url, STREAM, *events_on(day))
    list(seal_days(lake, url, MARKET, days, lambda: 1, threading.Event()))
    return lake


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bar_fetches", "recovered_minute_bars", "universe_members"])
def test_a_file_that_a_day_without_tape_does_not_need_may_be_gone_for_several_days_too(pair, tmp_path, kind):
    lake, days = shutil.copytree(pair, tmp_path / "lake"), (DAYS[4], WITHOUT_TAPE)
    for file in lake.glob(f"**/kind={kind}/**/session_date={WITHOUT_TAPE}/*.parquet"):
        file.unlink()
    with observer.open_store(lake) as store:
        with pytest.raises(DataFileError):
            store.rows.scan(kind, WITHOUT_TAPE)
        each = [store.quality(day).collect() for day in days]
    with observer.open_store(lake) as store:
        assert_frame_equal(store.quality(days[0], days[1]).collect(), pl.concat(each))


def test_days_in_the_database_are_read_with_as_many_connections_as_two_of_them(folder):
    counts = [connections_of(folder, days) for days in (DAYS[-2:], DAYS[-3:])]
    assert counts[0] == counts[1] > 0


def connections_of(folder, days):
    with observer.open_store(folder) as store, connections() as found:
        store.bars(SYMBOLS[0], days[0], days[-1]).collect()
        for name in ("quality", "gaps", "slots", "triggers"):
            getattr(store, name)(days[0], days[-1]).collect()
    return len(found)


@contextmanager
def connections():
    """Has an entry for each connection to the database; each statement is one connection."""
    found: list[object] = []

    def take(*connected):
        found.append(connected)

    event.listen(Engine, "engine_connect", take)
    try:
        yield found
    finally:
        event.remove(Engine, "engine_connect", take)


def test_the_lines_of_many_days_are_kept_although_the_rows_that_name_them_are_too_many(tmp_path):
    days, url = session_dates(12), url_of(tmp_path)
    make_database(url)
    for day in days:
        found = events_of(day, 0, {"slot_assignments", "universe_members"})
        member = next(each for each in found if isinstance(each, UniverseMember))
        members = [msgspec.structs.replace(member, symbol=f"{number:06}") for number in range(500)]
        append(url, STREAM, UniverseBuilt("kis", MARKET, day, day, 1, 1, 1, 0.0), *found, *members)
    with observer.open_store(tmp_path) as store:
        store.rows.kept = Kept(bytes_max=400_000)
        rows = sum(store.rows.scan("universe_members", day).collect().estimated_size() for day in days)
        assert rows > 400_000

        def ask():
            swept = store.rows.swept_on(days)
            return [store.days().collect().rows(), swept, store.rows.lines_ever([SYMBOLS[0]])]

        first = ask()
        with connections() as found:
            assert ask() == first
        assert not found


def test_of_the_minute_bars_of_several_days_their_lines_alone_are_kept(tmp_path):
    url = url_of(tmp_path)
    make_database(url)
    for day in DAYS[:2]:
        found = events_of(day, 0, {"quality", "recovered_minute_bars", "tape_reports"})
        bar = next(each for each in found if isinstance(each, MinuteBarRecovered))
        bars = [msgspec.structs.replace(bar, minute_start_ns=bar.minute_start_ns + nth) for nth in range(5_000)]
        append(url, STREAM, UniverseBuilt("kis", MARKET, day, day, 1, 1, 1, 0.0), *found, *bars)
    with observer.open_store(tmp_path) as store:
        assert store.quality(DAYS[0], DAYS[1]).collect().height > 0
        assert store.rows.kept.size_bytes < 300_000


@pytest.mark.slow
def test_what_an_open_store_keeps_does_not_grow_with_the_days_that_it_is_asked_for(tmp_path):
    days, url = session_dates(30), url_of(tmp_path)
    make_database(url)
    added: list[Event] = []
    for day in days:
        kinds = {"quality", "slot_assignments", "tape_reports", "universe_members"}
        added += [UniverseBuilt("kis", MARKET, day, day, 1, 1, 1, 0.0), *events_of(day, 0, kinds)]
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("track-b", STREAM, 1, added)])
    writer.close()
    with observer.open_store(tmp_path) as store, observer.open_store(tmp_path) as plenty:
        store.rows.kept = Kept(bytes_max=500_000)
        sizes = []
        for day in days:
            assert_frame_equal(store.quality(day).collect(), plenty.quality(day).collect())
            sizes.append(store.rows.kept.size_bytes)
        assert max(sizes[15:]) <= 500_000 < plenty.rows.kept.size_bytes
        assert_frame_equal(store.quality(days[0], days[-1]).collect(), plenty.quality(days[0], days[-1]).collect())
        assert store.rows.kept.size_bytes <= 500_000


def test_the_frames_that_were_not_used_for_the_longest_time_go_first():
    frame = pl.DataFrame({"number": range(10_000)})
    kept = Kept(bytes_max=300_000)
    for key in "abc":
        kept.put(key, frame)
    assert kept.get("a") is frame
    kept.put("d", frame)
    assert [key for key in "abcd" if kept.get(key) is not None] == ["a", "c", "d"]
    kept.put("d", frame.clear())
    assert kept.size_bytes < 200_000
    kept.put("large", pl.DataFrame({"number": range(100_000)}))
    assert kept.get("large") is None
    assert kept.size_bytes == 0
