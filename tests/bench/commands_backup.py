"""`python -m tests.bench backup`: what a backup costs the acknowledgements beside it."""

from typing import TYPE_CHECKING, Annotated

from observer.cli.context import JsonOption
from observer.cli.options import Option
from tests.bench.commands import FolderOption, Lines, measure

if TYPE_CHECKING:
    from tests.bench.backup import BackupResult


def backup(
    held: Annotated[int, Option(min=1, help="Trades that the database holds beforehand.")] = 5_000_000,
    rate: Annotated[float, Option(min=1, help="Events a second.")] = 1_000,
    rounds: Annotated[int, Option(min=1, help="Rounds beside a backup, and as many alone.")] = 5,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure acknowledgements beside a backup. Needs the extra `lake`."""
    from tests.bench.backup import measure_backup

    measure(
        lambda workspace, report: measure_backup(workspace, held, rate, rounds, report),
        _table,
        folder,
        as_json=as_json,
    )


def _table(result: "BackupResult") -> Lines:
    title = f"{result.held:,} trades, {result.database_bytes / 1e6:,.0f} MB"
    yield (title, "", "backup s", "alone", "beside", "goal")
    for number, each in enumerate(result.rounds, 1):
        spreads = (each.alone, each.beside)
        yield (f"round {number}: p50 ms", f"{each.backup_s:.1f}", *(f"{one.p50_ms:.1f}" for one in spreads), "")
        yield ("p99 ms", "", *(f"{one.p99_ms:.1f}" for one in spreads), "")
        yield ("longest ms", "", *(f"{one.max_ms:.1f}" for one in spreads), "")
    yield ("p99 ms, medians", "", f"{result.p99_alone_ms:.1f}", f"{result.p99_beside_ms:.1f}", "")
    yield ("p99, ratio of the medians", "", "", f"{result.p99_ratio:.2f}", "1.2")
