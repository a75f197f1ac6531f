"""`observer gaps`: gaps of the market data stream and their recovery. Reads the database; retries go to the running
system.
"""

from collections.abc import Sequence
from typing import Annotated

import click
import msgspec

from bus.commands import RetryGaps
from observer.cli import system
from observer.cli.context import ConfigOption, DayOption, JsonOption, base_settings, print_json, today
from observer.cli.options import Argument, Option
from observer.cli.tables import Table
from observer.cli.tables import show as show_table
from observer.errors import ConfigError
from observer.local_time import local_datetime
from observer.store.gaps import GapStory
from observer.store.reader import StoreReader
from observer.units import NS_PER_S


def list_gaps(
    day: DayOption = None,
    symbol: Annotated[str | None, Option(help="One symbol alone.")] = None,
    only_open: Annotated[bool, Option("--open", help="Only those without an outcome.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a day's gaps in order of detection."""
    settings = base_settings(config)
    session_date = day or today(settings.run)
    with StoreReader(settings.store.url) as reader:
        stories = [story for story in reader.gaps(session_date, symbol) if story.is_open or not only_open]
    if as_json:
        print_json([as_map(story) for story in stories])
    else:
        show_table(_table(session_date, stories))


def show(
    gap_id: Annotated[str, Argument(help="The gap, as `observer gaps list` names it.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is stored about one gap."""
    with StoreReader(base_settings(config).store.url) as reader:
        story = reader.gap(gap_id)
    if story is None:
        raise ConfigError(f"no gap has the id {gap_id!r}: `observer gaps list --date DATE` has them")
    if as_json:
        print_json(as_map(story))
        return
    for name, value in as_map(story).items():
        click.echo(f"{name}: {value}")


def retry(
    gap_id: Annotated[list[str] | None, Argument(help="The gaps, as `observer gaps list` names them.")] = None,
    all_open: Annotated[bool, Option("--all-open", help="All that have no outcome yet.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retry recovery now, also of gaps that were given up. By the running system; also of gaps recovered in part."""
    if bool(gap_id) == all_open:
        raise ConfigError("no gaps named: give ids of `observer gaps list`, or --all-open")
    system.show(system.ask(RetryGaps(gap_id or []), config), as_json=as_json)


def as_map(story: GapStory) -> dict[str, object]:
    """The gap's fields, `outcome` in words, and the fields of the recovery: null without one."""
    recovered, lost = story.recovered, story.unrecoverable
    return {
        **msgspec.structs.asdict(story.gap),
        "duration_s": (story.gap.to_ns - story.gap.from_ns) / NS_PER_S,
        "outcome": outcome_of(story),
        "source": recovered.source if recovered else None,
        "rows": recovered.rows if recovered else None,
        "recovered_volume": recovered.volume if recovered else None,
        "recovered_ns": recovered.recovered_ns if recovered else None,
        "unrecoverable_reason": lost.reason if lost else None,
    }


def outcome_of(story: GapStory) -> str:
    """One word: open, recovered, partial (the recovered rows do not prove completeness), unrecoverable."""
    if story.recovered is not None:
        return "recovered" if story.recovered.complete else "partial"
    return "open" if story.unrecoverable is None else "unrecoverable"


def _table(session_date: str, stories: Sequence[GapStory]) -> Table:
    rows = [
        (
            story.gap.symbol,
            f"{local_datetime(story.gap.from_ns):%H:%M:%S}",
            f"{(story.gap.to_ns - story.gap.from_ns) / NS_PER_S:,.1f}",
            f"{story.gap.missing_volume:,.0f}",
            "?" if story.gap.missing_trades is None else str(story.gap.missing_trades),
            story.gap.reason,
            outcome_of(story),
            story.recovered.source if story.recovered else "",
            story.gap.gap_id,
        )
        for story in stories
    ]
    columns = ("symbol", "from", "seconds", "shares", "trades", "reason", "outcome", "source", "gap")
    return Table(columns, rows, f"{session_date}: {len(stories)} gaps", right=columns[2:5], folded=("reason",))
