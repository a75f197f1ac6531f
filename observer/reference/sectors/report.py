"""The result of a run of the enrichment, as text and as a file."""

from collections.abc import Sequence

from bus.events import EnrichmentCompleted
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.reference.sectors.model import SOURCES


def success_rate(completed: EnrichmentCompleted) -> float:
    """The share of a region's stocks that are dealt with: fresh, given a sector, or known to have none; 1 of none."""
    if not completed.securities:
        return 1.0
    return (completed.securities - completed.unanswered) / completed.securities


def rounds_rows(rounds: Sequence[EnrichmentCompleted]) -> Sequence[Sequence[str]]:
    """A column for each region; the first row names them."""
    names = ("securities", "fresh", *SOURCES, "unsure", "unknown", "unanswered", "retries")
    counts = [[name.replace("_", " "), *(f"{int(getattr(done, name)):,}" for done in rounds)] for name in names]
    seconds = ((done.completed_ns - done.started_ns) / NS_PER_S for done in rounds)
    return [["", *(done.region for done in rounds)], *counts, ["seconds", *(f"{span_s:,.1f}" for span_s in seconds)]]


def report_text(rounds: Sequence[EnrichmentCompleted], requests: int) -> str:
    """The report as a file has it."""
    lines = [f"{name:<16}" + "".join(f"{figure:>10}" for figure in figures) for name, *figures in rounds_rows(rounds)]
    lines = ["stocks", *lines, "", f"requests to Yahoo: {requests:,}"]
    for done in rounds:
        ended = local_datetime(done.completed_ns).isoformat(timespec="seconds")
        lines.append(f"{done.region}: {100 * success_rate(done):.1f} % dealt with at {ended}")
        if done.detail:
            lines.append(f"{done.region}: failed: {done.detail}")
    return "\n".join(lines) + "\n"
