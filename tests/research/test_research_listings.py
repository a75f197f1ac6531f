"""Whether a stock was listed, by the files of several exchanges; and what relations say of a line."""

from datetime import date

import msgspec
import polars as pl
import pytest

from observer.research import relations
from observer.research.listings import listed_on
from observer.research.reading import stored_schema
from tests.research.stored import at, listings


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


def test_a_trigger_and_a_replaced_line_are_stocks_with_venues():
    def rows(table, **values):
        schema = stored_schema(table)
        return pl.LazyFrame([[values.get(name) for name in schema]], schema=dict(schema), orient="row")

    venues = {"035420": "KRX", "035420.NXT": "NXT"}
    fired = rows("triggers", symbol="035420.NXT", kind="surge", fired_ns=1, stream=1, sequence=1)
    ended = rows("trigger_ends").head(0)
    found = relations.triggers(fired, ended, venues, "UTC").select("symbol", "venue").collect()
    assert found.rows() == [("035420", "NXT")]
    held = rows("slot_assignments", slot="1", symbol="035420", venue="KRX", assigned_ns=1, replaced="035420.NXT")
    released = rows("slot_releases").head(0)
    slots = relations.slots(held, released, venues, "UTC").select("replaced", "replaced_venue", "replaced_by")
    assert slots.collect().rows() == [("035420", "NXT", None)]
