"""A program sees which trades were streamed, recovered after a gap, and fetched for the tape."""

import polars as pl
from msgspec.structs import asdict, replace

from bus.events import TAPE
from observer.research import relations
from tests.builders import trade


def test_the_source_of_a_trade_says_how_it_came():
    rows = [replace(trade(number), gap_id=gap_id) for number, gap_id in enumerate((None, "a gap", TAPE), start=1)]
    found = relations.trades(pl.LazyFrame([asdict(row) for row in rows]), "Asia/Seoul", {}).collect()
    assert found["source"].to_list() == ["stream", "recovered", "tape"]
