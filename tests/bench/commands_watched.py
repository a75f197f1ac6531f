"""`python -m tests.bench watched`: what the page, the exporter and their clients cost the trades."""

from typing import TYPE_CHECKING, Annotated

from observer.cli.context import JsonOption
from observer.cli.options import Option
from tests.bench.commands import FolderOption, Lines, measure

if TYPE_CHECKING:
    from tests.bench.watched import WatchedResult


def watched(
    rate: Annotated[int, Option(min=100, help="Trades a second that the broker streams, about.")] = 500,
    seconds: Annotated[float, Option(min=1, help="How long to listen in each round.")] = 20.0,
    clients: Annotated[int, Option(min=1, max=50, help="Clients of the page.")] = 10,
    rounds: Annotated[int, Option(min=1, help="Rounds without, and as many with them.")] = 3,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what page, exporter and their clients cost the trades. Needs the extra `web`."""
    from tests.bench.watched import measure_watched

    measure(
        lambda workspace, report: measure_watched(workspace, rate, seconds, clients, rounds, report),
        _table,
        folder,
        as_json=as_json,
    )


def _table(result: "WatchedResult") -> Lines:
    yield (f"{len(result.alone)} rounds each", "", "without", f"with {result.clients} clients", "goal")
    for number, (alone, beside) in enumerate(zip(result.alone, result.beside, strict=True), 1):
        yield (f"round {number}: trades a second", f"{alone.trades_per_s:,.0f}", f"{beside.trades_per_s:,.0f}", "")
        yield ("p50 ms, received to committed and heard of", f"{alone.p50_ms:.1f}", f"{beside.p50_ms:.1f}", "")
        yield ("p99 ms", f"{alone.p99_ms:.1f}", f"{beside.p99_ms:.1f}", "")
    yield ("states that the clients received", "", f"{sum(each.states for each in result.watched):,}", "")
    yield ("p99, ratio of the medians", "", f"{result.p99_ratio:.2f}", "1.1")
