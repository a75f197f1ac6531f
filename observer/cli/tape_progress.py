"""The progress of the tape and of its official bars, and the stored part of the market, each in one line."""

from typing import TYPE_CHECKING

from observer.gaps.completeness import HeldShare, LineHeld, conflated_only, held_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bus.events import QualityJudged, TapeJudged, TapeProgressed
    from observer.collection.tape.official_lines import OfficialBars
    from observer.store.reader import StoreReader


def progress_line(progress: "TapeProgressed") -> str:
    """The tape's progress in one line."""
    held = percent(progress.held_volume, progress.day_volume)
    left = "done" if progress.is_done else f"{_duration(progress.seconds_left)} left"
    return (
        f"tape: {progress.trades:,} trades in {progress.calls:,} calls, {_shown(held)} of the volume held, "
        f"{progress.unknown_spans:,} unknown spans, {progress.unreachable_seconds:,} unreachable seconds, {left}"
    )


def held_of_market(reports: "Mapping[str, TapeJudged]", slots: "Iterable[QualityJudged]") -> HeldShare:
    """The part of the market that is stored one by one, by the tape's reports on lines, which count conflated rows as
    stored, and those on slots.
    """
    of_slots = {each.symbol: each for each in slots}
    return held_share(_held(each, of_slots.get(symbol)) for symbol, each in reports.items())


def _held(report: "TapeJudged", slots: "QualityJudged | None") -> LineHeld:
    streamed = slots.streamed_trades if slots is not None else 0
    held_volume = max(0.0, report.held_volume - conflated_only(slots))
    return LineHeld(report.day_volume, held_volume, report.fetched_trades + streamed)


def market_line(held: HeldShare) -> str:
    """The day's headline."""
    volume, trades = (_shown(None if part is None else 100 * part) for part in (held.volume, held.trades))
    return f"of the market: {volume} of the volume and about {trades} of the trades are stored one by one"


def official_bars(reader: "StoreReader", session_date: str) -> "OfficialBars | None":
    """How far the official minute bars of a day with a tape are; None before the first.

    Raises:
        StoreError: the database does not answer.
    """
    from observer.collection.tape.official_lines import day_of  # only where there is a tape

    if not (fetches := reader.minute_fetches(session_date)):
        return None
    return day_of(reader.tape_reports(session_date), fetches, reader.bar_checks(session_date)).progress()


def official_line(bars: "OfficialBars") -> str:
    """The progress of the day's official minute bars in one line."""
    equal = percent(bars.equal_minutes, bars.minutes)
    compared = f"{_shown(equal)} of {bars.minutes:,} minutes with trades equal" if bars.minutes else "none compared"
    left = "done" if bars.seconds_left == 0 else f"{_duration(bars.seconds_left)} left"
    return (
        f"official minute bars: {bars.fetched_lines:,} of {bars.lines:,} lines, {bars.equal_lines:,} with the "
        f"volume of their daily bar; {compared}, {left}"
    )


def percent(part: float, whole: float) -> float | None:
    """The part in percent; None of nothing."""
    return 100 * part / whole if whole else None


def _shown(percent: float | None) -> str:
    return "not known how much" if percent is None else f"{percent:.2f} %"


def _duration(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02} h"
