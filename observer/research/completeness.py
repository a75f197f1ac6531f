"""The completeness of the lines of a day, and the stored part of the market, from stored rows. Pure."""

from collections.abc import Collection, Mapping
from typing import Final, TypeVar

import polars as pl

from bus.events import Fact, QualityJudged, TapeJudged
from observer.gaps.completeness import HeldShare, LineHeld, completeness, held_share
from observer.store.rows import event_of

FactT = TypeVar("FactT", bound=Fact)

_SCHEMA: Final = {
    "symbol": pl.String,
    "session_date": pl.String,
    "venue": pl.String,
    "completeness": pl.String,
    "tape_volume": pl.Float64,
    "held_volume": pl.Float64,
    "unreachable_seconds": pl.Int64,
    "unknown_volume": pl.Float64,
    "tape_judged_ns": pl.Int64,
}


def completeness_of(
    venues: Mapping[str, str],
    reports: pl.DataFrame,
    slots: pl.DataFrame,
    with_slot: Collection[str],
    with_minute_bars: Collection[str],
) -> pl.DataFrame:
    """The completeness of each line of a day, with what the tape reports of it (null on a line that it does not cover).

    Args:
        venues: of the day's lines.
        reports: the tape's last report on each line, as stored; without one there is none.
        slots: the quality reports on lines with a slot, as stored.
        with_slot: the lines with a slot; without a report their completeness is not known.
        with_minute_bars: the lines that have minute bars.
    """
    if reports.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    of_tape = {each.symbol: each for each in _events(TapeJudged, reports)}
    of_slots = {each.symbol: each for each in _events(QualityJudged, slots.sort("judged_ns", "stream", "sequence"))}
    [day] = reports["session_date"].unique()
    rows = []
    for line in sorted({*venues, *of_tape, *of_slots}):
        tape, slot = of_tape.get(line), of_slots.get(line)
        is_judged = tape is not None or slot is not None or line not in with_slot
        word = completeness(tape, slot, has_minute_bars=line in with_minute_bars) if is_judged else None
        venue = venues.get(line) or (tape.venue if tape is not None else slot.venue if slot is not None else "")
        rows.append((line, day, venue, word, *_reported(tape)))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def held_share_of(held: pl.DataFrame, swept: pl.DataFrame, reports: pl.DataFrame) -> HeldShare:
    """The stored parts of a day of the market.

    Args:
        held: by `symbol` the volume of the stored trades (`held`) and their number (`trades`).
        swept: by `symbol` the day's volume in the last snapshot (`swept`).
        reports: the tape's last report on each line, as stored.
    """
    of_tape = reports.select("symbol", "day_volume")
    joined = held.join(swept, on="symbol", how="full", coalesce=True)
    joined = joined.join(of_tape, on="symbol", how="full", coalesce=True).fill_null(0)
    lines = joined.select(pl.max_horizontal("day_volume", "swept"), "held", "trades")
    return held_share(LineHeld(*row) for row in lines.iter_rows())


def _reported(tape: TapeJudged | None) -> tuple[float | None, float | None, int | None, float | None, int | None]:
    if tape is None:
        return (None, None, None, None, None)
    seconds = len({span.to_ns for span in tape.unreachable})
    unknown = sum((span.upto_volume - span.after_volume for span in tape.unknown), 0.0)
    return (tape.day_volume, tape.held_volume, seconds, unknown, tape.judged_ns)


def _events(event_type: type[FactT], rows: pl.DataFrame) -> list[FactT]:
    return [event_of(event_type, row) for row in rows.iter_rows()]
