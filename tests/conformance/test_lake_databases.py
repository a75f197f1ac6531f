"""A day that is sealed from either database has the same digests, and is verified against its own database."""

import threading

import pytest

from observer.archive.day import sealed_days
from observer.archive.sealing import seal_days
from observer.archive.verification import verify_day
from observer.store.scan import ROWS_MIN
from observer.store.sealing import SealingReader
from observer.store.tables import TRADE_ROWS
from tests.archive.stored import DAY, MARKET, append, day_of, make_stored, remove_sealed
from tests.builders import trade
from tests.store.raw import execute

# Values that databases could give back differently: texts in another order, no value, a fraction, a negative zero.
EVENTS = (
    *day_of(each=5),
    trade(7, symbol="0a0000", price=0.1 + 0.2, bid=None, ask=None, cumulative_trades=None),
    trade(8, symbol="0Z0000.NXT", gap_id="", side_inferred=True, session="after"),
    trade(9, symbol="0Z0000", volume=-0.0, gap_id="가"),
)


def sealed(lake, url, *, remove=False):
    days = [DAY] if remove else []
    [result] = seal_days(lake, url, MARKET, [DAY], lambda: 1, threading.Event(), remove=days)
    return result.day


def test_a_day_of_either_database_has_the_same_digests(database_url, tmp_path):
    append(database_url, *EVENTS)
    (tmp_path / "other").mkdir()
    other = make_stored(tmp_path / "other", *EVENTS)
    found, expected = sealed(tmp_path / "lake", database_url), sealed(tmp_path / "other/lake", other)
    assert {kind: newest[-1].digest for kind, newest in found.kinds.items()} == {
        kind: newest[-1].digest for kind, newest in expected.kinds.items()
    }
    [day] = sealed_days(tmp_path / "lake")
    with SealingReader(database_url) as reader:
        verified = verify_day(tmp_path / "lake", day, reader, threading.Event())
    assert (verified.problems, verified.compared_rows) == ((), len(EVENTS))


def test_a_day_that_is_read_as_it_is_stored_has_the_digests_of_one_that_the_database_sorts(
    database_url, tmp_path, monkeypatch
):
    append(database_url, *EVENTS)
    expected = sealed(tmp_path / "sorted", database_url)
    monkeypatch.setattr("observer.store.sealing.ROWS_MIN", 1)
    found = sealed(tmp_path / "lake", database_url)
    assert {kind: newest[-1].digest for kind, newest in found.kinds.items()} == {
        kind: newest[-1].digest for kind, newest in expected.kinds.items()
    }


_DOUBLED = ", ".join("sequence + 1000" if name == "sequence" else name for name, _ in TRADE_ROWS.columns.items())
CHANGES = {
    "altered": "UPDATE trade_rows SET price = price + 1 WHERE sequence = 5",
    "lost": "DELETE FROM trade_rows WHERE sequence = 5",
    "doubled": f"INSERT INTO trade_rows SELECT {_DOUBLED} FROM trade_rows WHERE sequence = 5",
}


@pytest.mark.parametrize("rows_min", [1, ROWS_MIN], ids=["as it is stored", "sorted"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_verification_finds_a_row_that_is_altered_lost_or_doubled(
    database_url, tmp_path, monkeypatch, rows_min, change
):
    monkeypatch.setattr("observer.store.sealing.ROWS_MIN", rows_min)
    append(database_url, *EVENTS)
    sealed(tmp_path / "lake", database_url)
    execute(database_url, change)
    [day] = sealed_days(tmp_path / "lake")
    with SealingReader(database_url) as reader:
        [problem] = verify_day(tmp_path / "lake", day, reader, threading.Event()).problems
    assert problem.startswith(f"trades of {DAY}: the database has ")


def test_late_rows_of_a_removed_day_make_the_version_that_one_sealing_of_all_rows_makes(database_url, tmp_path):
    late = (trade(11, symbol="0Z0000", exchange_time_ns=1), trade(12, symbol="0b0000"), trade(13, symbol="000010"))
    append(database_url, *EVENTS)
    sealed(tmp_path / "lake", database_url, remove=True)
    remove_sealed(database_url, tmp_path / "lake")
    append(database_url, *late)
    found = sealed(tmp_path / "lake", database_url).kinds["trades"]
    (tmp_path / "other").mkdir()
    [expected] = sealed(tmp_path / "other/lake", make_stored(tmp_path / "other", *EVENTS, *late)).kinds["trades"]
    assert [version.rows for version in found] == [18, 21]
    assert found[-1].digest == expected.digest
