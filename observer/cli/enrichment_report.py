"""What a run of the enrichment came to, for a person and for a file."""

from collections.abc import Sequence
from io import StringIO
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from bus.events import EnrichmentCompleted
from observer.clock import NS_PER_S, kst_datetime
from observer.reference.sectors import SOURCES

_REPORT_WIDTH: Final = 100


def success_rate(completed: EnrichmentCompleted) -> float:
    """The share of a region's stocks that are dealt with: fresh, given a sector, or known to have none; 1 of none."""
    if not completed.securities:
        return 1.0
    return (completed.securities - completed.unanswered) / completed.securities


def rounds_table(rounds: Sequence[EnrichmentCompleted], title: str = "stocks") -> Table:
    """A column for each region."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for done in rounds:
        table.add_column(done.region, justify="right")
    for name in ("securities", "fresh", *SOURCES, "unsure", "unknown", "unanswered", "retries"):
        table.add_row(name.replace("_", " "), *(f"{int(getattr(done, name)):,}" for done in rounds))
    table.add_row("seconds", *(f"{(done.completed_ns - done.started_ns) / NS_PER_S:,.1f}" for done in rounds))
    return table


def report_text(rounds: Sequence[EnrichmentCompleted], requests: int) -> str:
    """The report as a file has it."""
    buffer = StringIO()
    Console(file=buffer, width=_REPORT_WIDTH).print(rounds_table(rounds))
    lines = [buffer.getvalue().rstrip(), "", f"requests to Yahoo: {requests:,}"]
    for done in rounds:
        ended = kst_datetime(done.completed_ns).isoformat(timespec="seconds")
        lines.append(f"{done.region}: {100 * success_rate(done):.1f} % dealt with at {ended}")
        if done.detail:
            lines.append(f"{done.region}: failed: {done.detail}")
    return "\n".join(lines) + "\n"
