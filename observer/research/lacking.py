"""What the tape's reports name as lacking in a line's day: seconds and spans of time. Pure."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import polars as pl

from bus.events import TapeSpan
from observer.base.units import NS_PER_S

_SPANS: Final = msgspec.json.Decoder(tuple[TapeSpan, ...])
_SCHEMA: Final = {
    "symbol": pl.String,
    "session_date": pl.String,
    "venue": pl.String,
    "kind": pl.String,
    "after_volume": pl.Float64,
    "upto_volume": pl.Float64,
    "from_ns": pl.Int64,
    "to_ns": pl.Int64,
}
UNREACHABLE: Final = "unreachable"
UNKNOWN: Final = "unknown"


def newest_reports(reports: pl.DataFrame) -> pl.DataFrame:
    """The last report of the tape on each line's day, of stored ones."""
    in_order = reports.sort("judged_ns", "stream", "sequence")
    return in_order.unique(["symbol", "session_date"], keep="last", maintain_order=True)


def spans_of(reports: pl.DataFrame, midnight_of: Callable[[str], int]) -> pl.DataFrame:
    """The spans of volume that these reports name, with their times [from_ns, to_ns].

    `kind`: the broker does not return the trades of an "unreachable" second, and the tape did not fetch those of an
    "unknown" span. `midnight_of` gives the local midnight of a day: nothing was traded before it.
    """
    found: list[tuple[Any, ...]] = []
    columns = ("symbol", "session_date", "venue", UNREACHABLE, UNKNOWN)
    for symbol, day, venue, unreachable, unknown in reports.select(columns).iter_rows():
        since_ns = midnight_of(day)
        for kind, text in ((UNREACHABLE, unreachable), (UNKNOWN, unknown)):
            for span in _SPANS.decode(text):
                volumes = (span.after_volume, span.upto_volume)
                times = (max(span.from_ns, since_ns), max(span.to_ns, since_ns) + NS_PER_S - 1)
                found.append((symbol, day, venue, kind, *volumes, *times))
    return pl.DataFrame(found, schema=_SCHEMA, orient="row")
