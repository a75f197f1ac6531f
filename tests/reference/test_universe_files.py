"""The universe's files are projections of committed rows: written whole, made again, ten of them kept."""

import msgspec

from bus.delivery import Delivered
from bus.events import UniverseBuilt
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.reference.universe.file_format import FILES_KEPT
from observer.reference.universe.files import universe_content, write_universe_file
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests.selection.builders import member
from tests.store.migrated import make_database

DATES = [f"2026-11-{day:02}" for day in range(2, 14)]
UID = "7" * 32


def universe(date):
    members = [member(symbol, session_date=date, rank=rank) for rank, symbol in enumerate(("A", "B"), start=1)]
    return [*members, UniverseBuilt("kis", KOREAN_STOCKS, date, "2026-11-01", 5, len(members), 9, 4_000.0)]


def stored(folder, dates):
    url = f"sqlite:///{folder}/observer.db"
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("master-file", UID, 1, [event for date in dates for event in universe(date)])])
    writer.close()
    return StoreReader(url)


def test_a_day_without_a_universe_has_no_file(tmp_path):
    with stored(tmp_path, []) as reader:
        assert write_universe_file(reader, tmp_path / "universe", DATES[0], KOREAN_STOCKS) is None
        assert not (tmp_path / "universe").exists()


def test_the_file_has_the_content_of_the_database_and_is_rewritten_when_damaged(tmp_path):
    with stored(tmp_path, DATES[:1]) as reader:
        path = write_universe_file(reader, tmp_path / "universe", DATES[0], KOREAN_STOCKS)
        assert path is not None
        assert path.name == "20261102_kr_stocks.json"
        whole = path.read_bytes()
        assert [symbol["code"] for symbol in msgspec.json.decode(whole)["symbols"]] == ["A", "B"]
        path.write_bytes(whole[:50])
        write_universe_file(reader, tmp_path / "universe", DATES[0], KOREAN_STOCKS)
        assert path.read_bytes() == whole == universe_content(reader, DATES[0], KOREAN_STOCKS)


def test_a_file_that_is_right_is_not_written_again(tmp_path):
    with stored(tmp_path, DATES[:1]) as reader:
        path = write_universe_file(reader, tmp_path / "universe", DATES[0], KOREAN_STOCKS)
        assert path is not None
        written = path.stat().st_ino, path.stat().st_mtime_ns
        write_universe_file(reader, tmp_path / "universe", DATES[0], KOREAN_STOCKS)
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == written


def test_the_newest_ten_days_are_kept_and_other_files_stay(tmp_path):
    folder = tmp_path / "universe"
    folder.mkdir()
    (folder / "README").touch()
    (folder / ".20261101_kr_stocks.json.unfinished").touch()  # a process was killed here
    with stored(tmp_path, DATES) as reader:
        for date in DATES:
            write_universe_file(reader, folder, date, KOREAN_STOCKS)
    kept = sorted(path.name for path in folder.glob("[0-9]*"))
    assert kept == [f"{date.replace('-', '')}_kr_stocks.json" for date in DATES[-FILES_KEPT:]]
    assert (folder / "README").exists()
