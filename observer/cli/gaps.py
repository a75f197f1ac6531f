"""`observer gaps`: what of the stream was missed, and what became of it. From the database, but for
what is to be tried again: that goes to the running system.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bus.commands import RetryGaps
from observer.cli import control
from observer.cli.here import ConfigOption, settings_here, today
from observer.cli.quality import parsed_day
from observer.clock import NS_PER_S, kst_datetime
from observer.errors import ConfigError
from observer.store.continuity import GapStory
from observer.store.reader import StoreReader

app = typer.Typer(help="Gaps of the stream, and what became of them.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_gaps(
    day: Annotated[str | None, typer.Option("--date", help="The day; without it today.")] = None,
    symbol: Annotated[str | None, typer.Option(help="One symbol alone.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those without an outcome.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a day's gaps in order of detection."""
    settings = settings_here(config)
    session_date = parsed_day(day) if day else today(settings)
    with StoreReader(settings.store.url) as reader:
        stories = [story for story in reader.gaps(session_date, symbol) if story.is_open or not only_open]
    if as_json:
        typer.echo(msgspec.json.encode([as_map(story) for story in stories]).decode())
    else:
        Console().print(_table(session_date, stories))


@app.command()
def show(
    gap_id: Annotated[str, typer.Argument(help="The gap, as `observer gaps list` names it.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of one gap."""
    with StoreReader(settings_here(config).store.url) as reader:
        story = reader.gap(gap_id)
    if story is None:
        raise ConfigError(f"no gap has the id {gap_id!r}: `observer gaps list --date DATE` has them")
    if as_json:
        typer.echo(msgspec.json.encode(as_map(story)).decode())
        return
    for name, value in as_map(story).items():
        typer.echo(f"{name}: {value}")


@app.command()
def retry(
    gap_id: Annotated[list[str] | None, typer.Argument(help="The gaps, as `observer gaps list` names them.")] = None,
    all_open: Annotated[bool, typer.Option("--all-open", help="All that have no outcome yet.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the running system try at once to fill gaps, also ones that were given up or filled in part."""
    if bool(gap_id) == all_open:
        raise ConfigError("say which gaps: their ids, or --all-open")
    control.show(control.ask(RetryGaps(gap_id or []), config), as_json=as_json)


def as_map(story: GapStory) -> dict[str, object]:
    """The gap's fields, `outcome` in words, and what is known of the recovery: null where there was none."""
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
    """In one word: open, recovered, partial (what came back does not prove to be all), unrecoverable."""
    if story.recovered is not None:
        return "recovered" if story.recovered.complete else "partial"
    return "open" if story.unrecoverable is None else "unrecoverable"


def _table(session_date: str, stories: Sequence[GapStory]) -> Table:
    table = Table(title=f"{session_date}: {len(stories)} gaps", box=box.SIMPLE_HEAD)
    for column in ("gap", "symbol", "from"):
        table.add_column(column, no_wrap=True)
    for column in ("seconds", "shares", "trades"):
        table.add_column(column, justify="right")
    for column in ("reason", "outcome", "from source"):
        table.add_column(column)
    for story in stories:
        gap = story.gap
        table.add_row(
            gap.gap_id,
            gap.symbol,
            f"{kst_datetime(gap.from_ns):%H:%M:%S}",
            f"{(gap.to_ns - gap.from_ns) / NS_PER_S:,.1f}",
            f"{gap.missing_volume:,.0f}",
            "?" if gap.missing_trades is None else str(gap.missing_trades),
            gap.reason,
            outcome_of(story),
            story.recovered.source if story.recovered else "",
        )
    return table
