"""The completeness of a line's day, with a slot or without one, and the share of the market that is stored. Pure.

Its words are those of `bus.events.TapeQuality`. *complete*: every share is stored trade by trade. *seconds*: all but
those of named seconds: of seconds whose trades the broker does not return, or of conflated rows. *spans*: trades of
unknown spans are missing. *minute_bars*: no trade is stored, but minute bars. *snapshots*: neither.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from bus.events import QualityJudged, TapeJudged, TapeQuality
from observer.gaps.intervals import VOLUME_NOISE

WITH_TRADES: Final[tuple[TapeQuality, ...]] = ("complete", "seconds", "spans")
"""The words of a line whose trades are stored, all or some."""


def completeness(tape: TapeJudged | None, slots: QualityJudged | None, *, has_minute_bars: bool) -> TapeQuality:
    """Classify the stored trades of a line's day, from the tape's report on the day and the report on the line's slots;
    None without a report.

    The tape counts conflated rows as stored, and does not know minute bars that were fetched after its report. A line
    without a report of the tape is judged by its slots alone.
    """
    if tape is None:
        if slots is None or slots.streamed_volume + slots.recovered_volume <= VOLUME_NOISE:
            is_whole = slots is not None and slots.day_quality == "whole"
            return "complete" if is_whole else "minute_bars" if has_minute_bars else "snapshots"
        return "complete" if slots.day_quality == "whole" else "spans"
    if tape.quality == "complete" and conflated_only(slots) > VOLUME_NOISE:
        return "seconds"
    return "minute_bars" if tape.quality == "snapshots" and has_minute_bars else tape.quality


def conflated_only(slots: QualityJudged | None) -> float:
    """Upper bound of the shares that only conflated rows hold; 0 where every trade is also stored one by one."""
    return 0.0 if slots is None or slots.day_quality == "whole" else slots.conflated_volume


class LineHeld(NamedTuple):
    """A line's day: the exchange's volume of it, what is stored of that trade by trade, and in how many trades."""

    day_volume: float
    held_volume: float
    held_trades: int


class HeldShare(msgspec.Struct, frozen=True):
    """The parts (0 to 1) of the market's volume and of its trades that are stored one by one; None of a market without
    a trade. The number of missing trades is an estimate: of a line's mean size, or of the mean of all lines.
    """

    volume: float | None
    trades: float | None


def held_share(lines: Iterable[LineHeld]) -> HeldShare:
    """Return the stored part of the lines' day."""
    of_day = [each for each in lines if max(each.day_volume, each.held_volume) > VOLUME_NOISE]
    held, trades = sum(each.held_volume for each in of_day), sum(each.held_trades for each in of_day)
    missing = [(max(0.0, each.day_volume - each.held_volume), each) for each in of_day]
    volume = held + sum(shares for shares, _ in missing)
    if not volume:
        return HeldShare(None, None)
    if not trades:
        return HeldShare(held / volume, 0.0)
    expected = sum(shares / (_size(each) or held / trades) for shares, each in missing if shares > VOLUME_NOISE)
    return HeldShare(held / volume, trades / (trades + expected))


def _size(line: LineHeld) -> float:
    """Shares of one stored trade of the line; 0 without a stored trade."""
    return line.held_volume / line.held_trades if line.held_trades else 0.0
