"""The day files of docs/requirement.md: the newest versions of a sealed day, under the paths that it gives."""

import threading

import pyarrow.parquet as pq
import pytest

from bus.events import TradesConflated
from observer.archive.day import version_path
from observer.archive.day_files import DayFiles
from observer.archive.sealing import seal_days
from observer.base.errors import DataFileError
from tests.archive.stored import DAY, MARKET, append, day_of, make_stored, of_every_kind
from tests.builders import trade


@pytest.fixture
def url(tmp_path):
    kinds = ("snapshots", "daily_bars", "conflated_trades", "recovered_minute_bars")
    return make_stored(tmp_path, *day_of(), *of_every_kind(DAY, "000990", 1, kinds))


def sealed(folder, url):
    [result] = seal_days(folder / "lake", url, MARKET, [DAY], lambda: 1, threading.Event())
    return result.day


def test_swing_has_snapshots_and_bars_and_scalp_has_trades_as_links_to_the_newest_versions(tmp_path, url):
    files = DayFiles(tmp_path / "observer", "kis")
    written = files.write(tmp_path / "lake", sealed(tmp_path, url))
    assert {str(path.relative_to(tmp_path / "observer")) for path in written} == {
        *(f"swing/kis/{MARKET}/20261118/{kind}.parquet" for kind in ("snapshots", "daily_bars")),
        f"scalp/kis/{MARKET}/20261118/trades.parquet",
        f"scalp/kis/{MARKET}/20261118/conflated_trades.parquet",
        f"scalp/kis/{MARKET}/20261118/recovered_minute_bars.parquet",
    }
    assert all(path.stat().st_nlink == 3 for path in written), "the version, the glob's file and the day file are one"


def conflated(first, last, trades):
    prices = (1_000.0, 1_010.0, 990.0, 1_005.0)
    return TradesConflated("kis", "000010", DAY, 5, 6, 7, trades, last - first, *prices, last, None, venue="KRX")


def rows_of(path):
    found = pq.read_table(path, columns=["volume", "trades"])
    return list(zip(found["volume"].to_pylist(), found["trades"].to_pylist(), strict=True))


def test_a_share_of_a_conflated_row_and_of_a_trade_is_in_one_day_file(tmp_path):
    def fetched(total):
        return trade(1, symbol="000010", volume=4.0, cumulative_volume=total, gap_id="late")

    url = make_stored(
        tmp_path, *day_of(symbols=1, each=0), conflated(0, 8, 2), conflated(8, 16, 2), conflated(16, 24, 2)
    )
    files, scalp = DayFiles(tmp_path / "observer", "kis"), tmp_path / f"observer/scalp/kis/{MARKET}/20261118"
    append(url, fetched(4.0), fetched(8.0), fetched(20.0))
    assert len(files.write(tmp_path / "lake", sealed(tmp_path, url))) == 2
    assert rows_of(scalp / "conflated_trades.parquet") == [(8.0, 2), (4.0, 1)]
    assert files.write(tmp_path / "lake", sealed(tmp_path, url)) == []
    append(url, fetched(24.0))
    assert len(files.write(tmp_path / "lake", sealed(tmp_path, url))) == 2
    assert rows_of(scalp / "conflated_trades.parquet") == [(8.0, 2)]
    assert rows_of(tmp_path / f"lake/kind=conflated_trades/market={MARKET}/session_date={DAY}/part-0.parquet") == (
        [(8.0, 2)] * 3
    )


@pytest.fixture
def shared(tmp_path):
    """A database with a conflated row, and a trade that has half of its shares."""
    half = trade(1, symbol="000010", volume=4.0, cumulative_volume=4.0, gap_id="late")
    return make_stored(tmp_path, *day_of(symbols=1, each=0), conflated(0, 8, 2), half)


@pytest.mark.parametrize("damaged", [b"", b"PAR1 and no more"])
def test_a_damaged_day_file_is_made_anew(tmp_path, shared, damaged):
    files, day = DayFiles(tmp_path / "observer", "kis"), sealed(tmp_path, shared)
    path = tmp_path / f"observer/scalp/kis/{MARKET}/20261118/conflated_trades.parquet"
    files.write(tmp_path / "lake", day)
    path.write_bytes(damaged)
    assert files.write(tmp_path / "lake", day) == [path]
    assert rows_of(path) == [(4.0, 1)]


@pytest.mark.parametrize("kind", ["conflated_trades", "trades"])
@pytest.mark.parametrize("damaged", [b"", b"PAR1 and no more"])
def test_a_damaged_version_is_an_error(tmp_path, shared, kind, damaged):
    day = sealed(tmp_path, shared)
    version = version_path(tmp_path / "lake", kind, MARKET, DAY, 1)
    version.unlink()
    version.write_bytes(damaged)
    with pytest.raises(DataFileError, match=str(version)):
        DayFiles(tmp_path / "observer", "kis").write(tmp_path / "lake", day)


def test_a_day_that_changed_replaces_the_file_of_what_changed(tmp_path, url):
    files = DayFiles(tmp_path / "observer", "kis")
    files.write(tmp_path / "lake", sealed(tmp_path, url))
    append(url, trade(99, symbol="000010"))
    [changed] = files.write(tmp_path / "lake", sealed(tmp_path, url))
    assert pq.read_metadata(changed).num_rows == 61
    assert files.write(tmp_path / "lake", sealed(tmp_path, url)) == []
