"""`python -m tests.bench ingest` and `commit`: durable trades a second, a trade's bytes, and the processor time of a
small commit, beside the database's own library alone.
"""

from typing import TYPE_CHECKING, Annotated

from observer.cli.context import JsonOption
from observer.cli.options import Option
from tests.bench.commands import FolderOption, Lines, RoundsOption, measure

if TYPE_CHECKING:
    from tests.bench.commit import CommitResult
    from tests.bench.ingest import IngestResult


def ingest(
    events: Annotated[int, Option(min=1000, help="Trades in each round.")] = 500_000,
    producers: Annotated[list[int] | None, Option(min=1, help="Number of producers; may be repeated.")] = None,
    rounds: RoundsOption = 3,
    db: Annotated[
        str | None, Option(help="URL of a PostgreSQL database: a new schema there instead of SQLite.")
    ] = None,
    held: Annotated[int, Option(min=0, help="Trades that the database holds beforehand; shows their bytes.")] = 0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure durable trades per second, beside the bare database. By 1 and by 4 producers at once.

    Bare is SQLite's executemany, or PostgreSQL's COPY, with the driver alone. Rows held beforehand need
    the extra `research`.
    """
    from tests.bench.ingest import measure_ingest

    counts = producers or [1, 4]
    measure(
        lambda workspace, report: measure_ingest(workspace, events, counts, rounds, report, server=db, held=held),
        _table,
        folder,
        as_json=as_json,
    )


def _table(result: "IngestResult") -> Lines:
    title = f"trades a second durable in {result.database}, {result.held:,} held"
    yield (title, "", "trades/s", "of bare", "CPU us producers", "CPU us writer", "RSS MB")
    yield ("its library alone", f"{result.bare_events_per_s:,.0f}", "1.00", "", f"{result.bare_cpu_us_per_event:.2f}")
    for path in result.paths:
        steps = path.writer_rss[:: max(1, len(path.writer_rss) // 4)]
        yield (
            f"producers: {path.producers}",
            f"{path.events_per_s:,.0f}",
            f"{path.ratio_to_bare:.2f}",
            f"{path.producers_cpu_us_per_event:.2f}",
            f"{path.writer_cpu_us_per_event:.2f}",
            " ".join(f"{step.rss_bytes / 1e6:.0f}" for step in steps),
        )
    for size in result.sizes:
        yield (f"bytes a held trade: {size.part}", f"{size.bytes_per_row:.1f}")


def commit(
    size: Annotated[list[int] | None, Option(min=1, help="Trades a commit; may be repeated.")] = None,
    commits: Annotated[int, Option(min=1, help="Commits in each round.")] = 1_000,
    rounds: RoundsOption = 5,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the processor time of small commits. Of 1 and of 20 trades, beside sqlite3 with the same statements."""
    from tests.bench.commit import measure_commit

    def table(result: "CommitResult") -> Lines:
        yield ("a commit, us of processor time", "trades", "writer", "sqlite3 alone", "of sqlite3", "goal")
        for each in result.sizes:
            yield (f"{each.trades}", f"{each.writer_us:.0f}", f"{each.bare_us:.0f}", f"{each.ratio_to_bare:.2f}", "1.5")

    sizes = size or [1, 20]
    measure(
        lambda workspace, report: measure_commit(workspace, sizes, commits, rounds, report),
        table, folder, as_json=as_json,
    )  # fmt: skip
