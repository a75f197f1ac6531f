"""The tape's progress in one line, for `observer status` and `observer tape`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bus.events import TapeProgressed


def progress_line(progress: "TapeProgressed") -> str:
    """The tape's progress in one line."""
    held = percent(progress.held_volume, progress.day_volume)
    left = "done" if progress.is_done else f"{_duration(progress.seconds_left)} left"
    return (
        f"tape: {progress.trades:,} trades in {progress.calls:,} calls, {_shown(held)} of the volume held, "
        f"{progress.unknown_spans:,} unknown spans, {progress.unreachable_seconds:,} unreachable seconds, {left}"
    )


def percent(part: float, whole: float) -> float | None:
    """The part in percent; None of nothing."""
    return 100 * part / whole if whole else None


def _shown(percent: float | None) -> str:
    return "not known how much" if percent is None else f"{percent:.2f} %"


def _duration(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02} h"
