"""The day files of requirement 004: the newest versions of a sealed day, under the paths that it gives."""

import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from observer.lake.layout import SealedDay
from observer.lake.projection import DayFiles
from observer.lake.sealing import seal_days
from tests.builders import trade
from tests.lake.stored import DAY, MARKET, append, day_of, make_stored, of_every_kind


@pytest.fixture
def url(tmp_path: Path) -> str:
    kinds = ("snapshots", "daily_bars", "conflated_trades", "recovered_minute_bars")
    return make_stored(tmp_path, *day_of(), *of_every_kind(DAY, "000010", 1, kinds))


def sealed(folder: Path, url: str) -> SealedDay:
    [result] = seal_days(folder / "lake", url, MARKET, [DAY], lambda: 1, threading.Event())
    return result.day


def test_swing_has_snapshots_and_bars_and_scalp_has_trades_as_links_to_the_newest_versions(
    tmp_path: Path, url: str
) -> None:
    files = DayFiles(tmp_path / "observer", "kis")
    written = files.write(tmp_path / "lake", sealed(tmp_path, url))
    assert {str(path.relative_to(tmp_path / "observer")) for path in written} == {
        *(f"swing/kis/{MARKET}/20261118/{kind}.parquet" for kind in ("snapshots", "daily_bars")),
        f"scalp/kis/{MARKET}/20261118/trades.parquet",
        f"scalp/kis/{MARKET}/20261118/conflated_trades.parquet",
        f"scalp/kis/{MARKET}/20261118/recovered_minute_bars.parquet",
    }
    assert all(path.stat().st_nlink == 3 for path in written), "the version, the glob's file and the day file are one"


def test_a_day_that_changed_replaces_the_file_of_what_changed(tmp_path: Path, url: str) -> None:
    files = DayFiles(tmp_path / "observer", "kis")
    files.write(tmp_path / "lake", sealed(tmp_path, url))
    append(url, trade(99, symbol="000010"))
    [changed] = files.write(tmp_path / "lake", sealed(tmp_path, url))
    assert pq.read_metadata(changed).num_rows == 61
    assert files.write(tmp_path / "lake", sealed(tmp_path, url)) == []
