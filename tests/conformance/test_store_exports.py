"""The ledger files equal the committed rows, in the requirement's formats, after any kill; on both databases."""

import json
import select
import shutil
from pathlib import Path
from random import Random

import msgspec
import pytest

from bus.events import GapRecovered, GapUnrecoverable, MinuteBarRecovered
from observer.base.errors import StoreError
from observer.store import exports
from observer.store.exports import Ledgers
from tests.builders import trade
from tests.privileges import at_work
from tests.store.exporting import DAY, START_NS, commit_and_export, recovery, refusal
from tests.store.plans import recorded
from tests.store.raw import execute

OVERFLOW = "system/overflow/kis/20261118_overflow.jsonl"
RECOVERIES = "scalp/kis/kr_stocks/20261118"


@pytest.fixture
def ledgers(database_url, tmp_path):
    ledgers = Ledgers(database_url, tmp_path / "observer", "kis", "kr_stocks")
    yield ledgers
    ledgers.close()


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jsonl")}


def rebuilt(url, folder):
    ledgers = Ledgers(url, folder, "kis", "kr_stocks")
    ledgers.rebuild(DAY)
    ledgers.close()
    return files_in(folder)


def test_a_refusal_is_a_line_of_the_days_overflow(store, ledgers, tmp_path):
    store(refusal(1))
    ledgers.catch_up()
    [line] = (tmp_path / "observer" / OVERFLOW).read_text().splitlines()
    assert json.loads(line) == {
        "timestamp": "2026-11-18T01:00:00.020Z",
        "symbol": "000001",
        "trigger_type": "VOLUME_SURGE",
        "trigger_strength": 0.85,
        "priority_score": 9.2,
        "reason": "All 41 slots occupied by higher priority",
        "current_slot_min_score": 9.5,
        "metadata": {"volume_ratio": 3.2, "market_cap": 500000000000},
    }


def test_the_folder_of_recoveries_names_the_market_of_the_instance(database_url, store, tmp_path):
    store(*recovery(60))
    ledgers = Ledgers(database_url, tmp_path, "kis", "coins")
    ledgers.catch_up()
    ledgers.rebuild(DAY)
    ledgers.close()
    assert [path.parts[:3] for path in map(Path, files_in(tmp_path))] == [("scalp", "kis", "coins")]


def test_a_recovered_gap_has_a_file_named_by_when_it_began(store, ledgers, tmp_path):
    store(*recovery(60))  # by a minute bar, three seconds after ten
    ledgers.catch_up()
    [line] = (tmp_path / "observer" / RECOVERIES / "recovery_100003_000000.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "meta": {
            "source": "gap_recovery",
            "recovery_method": "rest_api_minute_bar",
            "original_gap": {
                "start": "2026-11-18T01:00:03+00:00",
                "end": "2026-11-18T01:00:03+00:00",
                "duration_seconds": 1e-9,
                "reason": "websocket_reconnect",
            },
            "recovered_at": "2026-11-18T01:00:03+00:00",
        },
        "instruments": [
            {
                "symbol": "000000",
                "timestamp": "2026-11-18T01:00:00+00:00",
                "price": {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5},
                "volume": 2,
                "data_quality": "recovered",
            }
        ],
    }


def test_gaps_of_one_symbol_that_began_in_one_second_share_a_file(store, ledgers, tmp_path):
    for number in (1, 6):
        store(*recovery(number))
        ledgers.catch_up()
    path = tmp_path / "observer" / RECOVERIES / "recovery_100000_000001.jsonl"
    methods = [json.loads(line)["meta"]["recovery_method"] for line in path.read_text().splitlines()]
    assert methods == ["rest_api_time_and_sales"] * 2 + ["rest_api_minute_bar"]


def test_a_gap_whose_trades_the_tape_has_leaves_the_file_of_its_second_to_the_others(store, ledgers, tmp_path):
    gap, *_, closed = recovery(1)
    assert isinstance(closed, GapRecovered)
    store(gap, msgspec.structs.replace(closed, rows=0), *recovery(6))
    ledgers.catch_up()
    [line] = (tmp_path / "observer" / RECOVERIES / "recovery_100000_000001.jsonl").read_text().splitlines()
    assert json.loads(line)["meta"]["recovery_method"] == "rest_api_minute_bar"


def test_a_gap_that_was_given_up_has_no_file(store, ledgers, tmp_path):
    gap, *_ = recovery(1)
    store(gap, GapUnrecoverable("gap-1", "000001", START_NS, "no source"))
    ledgers.catch_up()
    assert files_in(tmp_path / "observer") == {}


def test_files_that_grew_step_by_step_are_those_of_a_rebuild(store, ledgers, database_url, tmp_path):
    for number in (5, 9, 2, 7):  # an earlier stream's rest comes late
        store(refusal(number), refusal(number + 100), *recovery(number), stream=f"{number:032x}")
        ledgers.catch_up()
        assert files_in(tmp_path / "observer") == rebuilt(database_url, tmp_path / f"rebuilt-{number}")


@pytest.mark.parametrize("damage", [b"", b'{"timestamp": "20'])
def test_a_damaged_file_is_rebuilt_with_the_next_line(damage, store, ledgers, database_url, tmp_path):
    store(refusal(1))
    ledgers.catch_up()
    (tmp_path / "observer" / OVERFLOW).write_bytes(damage)
    store(refusal(2))
    ledgers.catch_up()
    assert files_in(tmp_path / "observer") == rebuilt(database_url, tmp_path / "rebuilt")


def test_a_rebuild_removes_files_that_the_database_does_not_justify(store, ledgers, tmp_path):
    stale = tmp_path / "observer" / RECOVERIES / "recovery_090000_005930.jsonl"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}\n")
    store(*recovery(1))
    assert [path.name for path in ledgers.rebuild(DAY)] == ["recovery_100000_000001.jsonl"]
    assert not stale.exists()


def test_a_rebuild_leaves_the_files_of_recoveries_whose_rows_are_in_the_lake_alone(
    database_url, store, ledgers, tmp_path
):
    store(*recovery(1), *recovery(3))  # by trades, and by a minute bar, which stays in the database
    ledgers.catch_up()
    before = files_in(tmp_path / "observer")
    execute(database_url, "DELETE FROM trade_rows")
    assert [path.name[-8:] for path in ledgers.rebuild(DAY)] == ["01.jsonl", "03.jsonl"]
    assert files_in(tmp_path / "observer") == before


def test_a_position_file_of_another_format_is_refused_with_the_remedy(store, ledgers, tmp_path):
    store(refusal(1))
    ledgers.catch_up()
    (tmp_path / "observer" / "system" / "exports.json").write_text("nothing")
    with pytest.raises(StoreError, match="remove it"):
        ledgers.catch_up()


@pytest.mark.slow
def test_after_kills_at_random_moments_the_files_are_those_of_a_rebuild(database_url, tmp_path):
    rng, folder = Random(4), tmp_path / "observer"
    for _kill in range(4):
        run_and_kill(database_url, folder, rng.uniform(0.0, 0.25))
    ledgers = Ledgers(database_url, folder, "kis", "kr_stocks")
    ledgers.catch_up()
    ledgers.close()
    found = files_in(folder)
    assert found[OVERFLOW].count(b"\n") >= 4
    assert found == rebuilt(database_url, tmp_path / "rebuilt")


def run_and_kill(url, folder, after_s):
    with at_work(lambda: commit_and_export(url, folder), folder.parent) as process:
        assert process.output.readline() == "begun\n"
        assert select.select([process.output], [], [], after_s)[0] == [], "it goes on until it is killed"


def test_a_recovery_whose_trades_left_the_database_keeps_its_file(store, ledgers, database_url, tmp_path):
    store(*recovery(1))
    ledgers.catch_up()
    before = files_in(tmp_path / "observer")
    assert before
    execute(database_url, "DELETE FROM trade_rows")
    (tmp_path / "observer/system/exports.json").unlink()
    ledgers.catch_up()
    assert files_in(tmp_path / "observer") == before


BY_TRADES_AND_BAR = [
    *recovery(1)[:3],
    MinuteBarRecovered("kis", "000001", DAY, START_NS, 1.0, 2.0, 0.5, 1.5, 2.0, "gap-1"),
    GapRecovered("gap-1", "000001", START_NS, "minute_bars", 3, 2.0, False),
]
BY_TRADES_THEN_BAR = [
    *recovery(1),
    BY_TRADES_AND_BAR[3],
    GapRecovered("gap-1", "000001", START_NS + 9, "minute_bars", 1, 2.0, False),
]


@pytest.mark.parametrize(
    ("events", "is_rebuild"),
    [
        *((events, False) for events in (recovery(1), BY_TRADES_AND_BAR, BY_TRADES_THEN_BAR)),
        *((events, True) for events in (recovery(1), BY_TRADES_AND_BAR)),
    ],
)
@pytest.mark.parametrize("removed", ["sequence = 2", "sequence IN (2, 3)"])
def test_a_recovery_that_lost_rows_to_the_lake_keeps_its_file(
    store,
    ledgers,
    database_url,
    tmp_path,
    events,
    removed,
    is_rebuild,
):
    store(*events)
    ledgers.catch_up()
    before = files_in(tmp_path / "observer")
    assert before
    execute(database_url, f"DELETE FROM trade_rows WHERE {removed}")
    if is_rebuild:
        ledgers.rebuild(DAY)
    else:
        (tmp_path / "observer/system/exports.json").unlink()
        ledgers.catch_up()
    assert files_in(tmp_path / "observer") == before


def test_a_recovery_whose_neighbour_left_the_database_gets_its_lines(store, ledgers, database_url, tmp_path):
    store(*recovery(1))
    ledgers.catch_up()
    [before] = files_in(tmp_path / "observer").values()
    execute(database_url, "DELETE FROM trade_rows")
    store(*recovery(6))  # of the same symbol and second
    ledgers.catch_up()
    [after] = files_in(tmp_path / "observer").values()
    assert after.startswith(before)
    assert after.count(b"\n") == before.count(b"\n") + 1


def test_a_file_of_recoveries_that_says_the_same_is_not_written_again(store, ledgers, tmp_path):
    store(*recovery(1))
    ledgers.catch_up()
    [path] = (tmp_path / "observer").rglob("recovery_*.jsonl")
    before = written(path)
    (tmp_path / "observer/system/exports.json").unlink()
    ledgers.catch_up()
    assert written(path) == before


def written(path):
    """Which file it is, and when it was written last. Its last reading is no part of it."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def position_in(folder, name="exports"):
    found: dict[str, int] = json.loads((folder / f"observer/system/{name}.json").read_text())["streams"]
    return found


@pytest.mark.parametrize("is_same_process", [True, False])
def test_the_position_that_is_written_each_time_names_few_streams_and_no_row_is_missing_or_doubled(
    store,
    ledgers,
    database_url,
    tmp_path,
    monkeypatch,
    is_same_process,
):
    monkeypatch.setattr(exports, "_RECENT_STREAMS_MAX", 9)
    for number in range(60):  # each start of a process is a stream
        store(refusal(number), stream=f"{number:032x}")
        if number % 7 == 0:
            ledgers.catch_up()
            assert len(position_in(tmp_path)) <= 9
    ledgers.catch_up()
    settled = position_in(tmp_path, "exports-settled")
    store(refusal(200), stream=f"{5:032x}")  # what a process left is delivered by a later one
    if not is_same_process:
        ledgers.close()
        ledgers = Ledgers(database_url, tmp_path / "observer", "kis", "kr_stocks")
    ledgers.catch_up()
    assert position_in(tmp_path) == {f"{number:032x}": 1 for number in (57, 58, 59)} | {f"{5:032x}": 2}
    assert position_in(tmp_path, "exports-settled") == settled == {f"{number:032x}": 1 for number in range(57)}
    found = files_in(tmp_path / "observer")
    assert len(found[OVERFLOW].splitlines()) == 61
    ledgers.close()
    assert found == rebuilt(database_url, tmp_path / "rebuilt")


@pytest.fixture
def read(monkeypatch):
    """What is read of the streams: the stream, behind which number, up to which."""
    found: list[tuple[int, int, int]] = []
    closed_gaps = exports._closed_gaps

    def noted(connection, stream, after, upto):
        found.append((stream, after, upto))
        return closed_gaps(connection, stream, after, upto)

    monkeypatch.setattr(exports, "_closed_gaps", noted)
    return found


@pytest.mark.parametrize("is_same_process", [True, False])
def test_only_what_is_new_is_read_of_a_stream(
    store,
    ledgers,
    database_url,
    tmp_path,
    read,
    monkeypatch,
    is_same_process,
):
    monkeypatch.setattr(exports, "_RECENT_STREAMS_MAX", 3)
    for number in range(9):
        store(refusal(number), stream=f"{number:032x}")
    ledgers.catch_up()
    read.clear()
    if not is_same_process:
        ledgers.close()
        ledgers = Ledgers(database_url, tmp_path / "observer", "kis", "kr_stocks")
    ledgers.catch_up()
    store(refusal(99), stream=f"{2:032x}")  # an old stream grows
    ledgers.catch_up()
    store(refusal(100), stream=f"{8:032x}")
    ledgers.catch_up()
    ledgers.close()
    assert read == [(3, 1, 2), (9, 1, 2)]


def test_a_position_of_an_earlier_version_is_read(store, ledgers, tmp_path, read):
    """It does not name old streams: those are read again once."""
    for number in range(9):
        store(refusal(number), stream=f"{number:032x}")
    ledgers.catch_up()
    before = files_in(tmp_path / "observer")
    path = tmp_path / "observer/system/exports.json"
    path.write_text(json.dumps({"streams": {f"{number:032x}": 1 for number in range(2, 9)}}))
    read.clear()
    ledgers.catch_up()
    assert read == [(1, 0, 1), (2, 0, 1)]
    assert files_in(tmp_path / "observer") == before
    ledgers.catch_up()
    assert len(read) == 2


@pytest.mark.parametrize("settled_after", [1, 100])
def test_a_folder_that_is_put_back_gets_what_it_lacks(store, ledgers, tmp_path, monkeypatch, settled_after):
    monkeypatch.setattr(exports, "_RECENT_STREAMS_MAX", settled_after)
    folder = tmp_path / "observer"
    for number in range(9):
        store(refusal(number), stream=f"{number:032x}")
    ledgers.catch_up()
    shutil.copytree(folder, tmp_path / "package")
    store(*recovery(60), stream=f"{2:032x}")
    ledgers.catch_up()
    before = files_in(folder)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "package", folder)
    ledgers.catch_up()
    assert files_in(folder) == before
    assert len(before) == 2


@pytest.mark.parametrize("is_stream_gone", [True, False])
def test_what_a_database_that_went_back_gets_again_is_exported_again(
    database_url,
    store,
    ledgers,
    tmp_path,
    monkeypatch,
    is_stream_gone,
):
    monkeypatch.setattr(exports, "_RECENT_STREAMS_MAX", 1)
    for number in range(9):
        store(refusal(number), stream=f"{number % 3:032x}")
    ledgers.catch_up()
    before = files_in(tmp_path / "observer")
    execute(database_url, "DELETE FROM slot_overflows WHERE stream = 1")
    mark = "DELETE FROM streams" if is_stream_gone else "UPDATE streams SET high_water_mark = 0"
    execute(database_url, f"{mark} WHERE id = 1")
    store(refusal(20), stream="7" * 32)
    ledgers.catch_up()
    (tmp_path / "observer" / OVERFLOW).write_bytes(b"")  # it is written whole with the next line
    store(refusal(21), stream="7" * 32)
    ledgers.catch_up()
    assert files_in(tmp_path / "observer")[OVERFLOW].count(b"\n") == 8
    for number in (0, 3, 6):
        store(refusal(number), stream=f"{0:032x}")
    ledgers.catch_up()
    after = files_in(tmp_path / "observer")[OVERFLOW].splitlines()
    assert set(before[OVERFLOW].splitlines()) < set(after)
    assert len(after) == 11


def test_ledgers_that_are_made_anew_have_the_rows_of_all_streams(store, ledgers, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "_PORTION", 2)  # the first stream needs several portions
    store(*(refusal(number) for number in range(7)), stream=f"{0:032x}")
    for number in range(1, 9):
        store(refusal(7 + number), stream=f"{number:032x}")
    ledgers.catch_up()
    assert len((tmp_path / "observer" / OVERFLOW).read_text().splitlines()) == 15


def test_what_has_no_line_in_a_ledger_is_passed_at_once(store, ledgers, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "_PORTION", 2)
    trades = [trade(number) for number in range(1, 60)]
    store(*trades, refusal(1), *trades, refusal(2), *trades)
    with recorded() as statements:
        ledgers.catch_up()
    assert len([each for each in statements if "FROM streams" in each.text]) == 3  # a portion each, and the rest
    assert len((tmp_path / "observer" / OVERFLOW).read_text().splitlines()) == 2
