"""Whether a stock was listed, by the files of several exchanges; and what relations say of a line."""

from datetime import date

import msgspec
import pytest

import observer
from bus import events
from observer.research.listings import listed_on
from tests.research.stored import DAY, STREAM, append, at, listings, make_store, url_of


@pytest.mark.parametrize(
    ("on", "status", "exchange"),
    [
        ("2026-11-14", "listed", "KOSDAQ"),
        ("2026-11-18", "listed", "KOSPI"),
        ("2026-11-20", "not listed", "KOSPI"),
    ],
)
def test_a_stock_that_moved_is_listed_at_either_exchange(on, status, exchange):
    [stated] = [each for each in listings() if each.symbol == "247540"]
    first, moved, gone = at("08:00:00", "2026-11-13"), at("08:00:00", "2026-11-17"), at("08:00:00", "2026-11-19")
    changes = [
        msgspec.structs.replace(
            stated, exchange=where, change=change, changed_ns=when, listed_on="2026-11-17" if where == "KOSPI" else None
        )
        for where, change, when in [
            ("KOSDAQ", "initial", first),
            ("KOSDAQ", "removed", moved),
            ("KOSPI", "new", moved),
            ("KOSPI", "removed", gone),
        ]
    ]
    files = dict.fromkeys(("KOSDAQ", "KOSPI"), date(2026, 11, 13))
    found = listed_on("247540", date.fromisoformat(on), changes, files)
    assert (found.status, found.exchange) == (status, exchange)


@pytest.mark.parametrize(("end", "has_newest"), [("2026-11-17", False), ("2026-11-18", True)])
def test_changes_of_all_time_end_with_the_day_that_is_named_last(tmp_path, end, has_newest):
    with observer.open_store(make_store(tmp_path)) as store:
        found = store.relation("listing_changes", end=end).collect()["symbol"].to_list()
    assert "005930" in found
    assert ("900001" in found) == has_newest


def test_a_trigger_and_a_replaced_line_are_stocks_with_venues(tmp_path):
    folder = make_store(tmp_path)
    moment = at("11:00:00")
    fired = events.TriggerFired("035420.NXT", "volume_surge", moment, None, 5, 3, 2, 1, 9.0, "moderate", "recent")
    held = events.SlotAssigned("main:09", "035420", moment, "volume_surge", 9.0, "outranks", "035420.NXT", None, "KRX")
    append(url_of(folder), STREAM, fired, held)
    with observer.open_store(folder) as store:
        last = store.triggers(DAY).select("symbol", "venue").collect().row(-1)
        slot = store.slots(DAY).select("replaced", "replaced_venue", "replaced_by").collect().row(-1)
    assert last == ("035420", "NXT")
    assert slot == ("035420", "NXT", None)
