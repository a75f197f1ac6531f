"""The tape's progress and the stored part of the market, each in one line."""

from typing import TYPE_CHECKING

from observer.gaps.completeness import HeldShare, LineHeld, held_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bus.events import QualityJudged, TapeJudged, TapeProgressed


def progress_line(progress: "TapeProgressed") -> str:
    """The tape's progress in one line."""
    held = percent(progress.held_volume, progress.day_volume)
    left = "done" if progress.is_done else f"{_duration(progress.seconds_left)} left"
    return (
        f"tape: {progress.trades:,} trades in {progress.calls:,} calls, {_shown(held)} of the volume held, "
        f"{progress.unknown_spans:,} unknown spans, {progress.unreachable_seconds:,} unreachable seconds, {left}"
    )


def held_of_market(reports: "Mapping[str, TapeJudged]", slots: "Iterable[QualityJudged]") -> HeldShare:
    """The part of the market that is stored one by one, by the tape's reports on lines and those on slots."""
    streamed = {each.symbol: each.streamed_trades for each in slots}
    return held_share(
        LineHeld(each.day_volume, each.held_volume, each.fetched_trades + streamed.get(symbol, 0))
        for symbol, each in reports.items()
    )


def market_line(held: HeldShare) -> str:
    """The day's headline."""
    volume, trades = (_shown(None if part is None else 100 * part) for part in (held.volume, held.trades))
    return f"of the market: {volume} of the volume and about {trades} of the trades are stored one by one"


def percent(part: float, whole: float) -> float | None:
    """The part in percent; None of nothing."""
    return 100 * part / whole if whole else None


def _shown(percent: float | None) -> str:
    return "not known how much" if percent is None else f"{percent:.2f} %"


def _duration(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02} h"
