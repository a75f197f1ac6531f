"""`observer decisions`: makes a day's decisions again from what is stored, and compares."""

from typing import Annotated

import msgspec
import typer

from bus.events import Event, SelectionAdvanced
from observer.brokers import capacity_of
from observer.cli.here import ConfigOption, settings_here
from observer.cli.quality import parsed_day
from observer.config import Settings
from observer.selection.selector import Selector
from observer.selection.universe import KOREAN_STOCKS
from observer.store.continuity import day_bounds
from observer.store.reader import StoreReader
from observer.streaming.earlier import earlier_days
from observer.streaming.replayed import DecisionReplay, Verdict, verified
from observer.streaming.steps import beginning_of

app = typer.Typer(help="Decisions: triggers, places and gaps, made again.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """With one command alone its name would otherwise not be asked for."""


@app.command()
def verify(
    day: Annotated[str, typer.Argument(metavar="DATE", help="The day: 2026-11-18.")],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Make a day's trigger, slot and gap decisions again, and compare them with the recorded ones, event for event.

    It reads the database, also one that a capture was replayed into. The configuration must be that of the day. Exit
    status 1: a decision came out otherwise; 3: not all can be made again.
    """
    settings = settings_here(config)
    with StoreReader(settings.store.url) as reader:
        verdict = verified_day(reader, settings, parsed_day(day))
    typer.echo(msgspec.json.encode(_as_map(verdict)).decode() if as_json else _told(verdict))
    if not verdict.is_same:
        raise typer.Exit(1 if verdict.difference is not None else 3)


def verified_day(reader: StoreReader, settings: Settings, session_date: str) -> Verdict:
    """Make the stored decisions of a day again.

    Raises:
        StoreError: the database does not answer.
    """
    midnight_ns, ends_ns = day_bounds(session_date)
    capacities = {account.account_id: capacity_of(settings, account) for account in settings.pool.by_priority}

    def new_selector(begun: SelectionAdvanced) -> Selector:
        beginning = beginning_of(begun)
        members = reader.universe(beginning.universe, KOREAN_STOCKS, beginning.built_ns)
        earlier = earlier_days(reader, session_date, midnight_ns, settings.selection, beginning)
        strategy, interval_s = settings.pool.allocation_strategy, settings.track_a.interval_s
        return Selector(members, capacities, settings.selection, strategy, earlier, interval_s)

    snapshots = reader.snapshots(session_date, midnight_ns, ends_ns)
    return verified(reader.decision_events(session_date), DecisionReplay(new_selector, settings.selection, snapshots))


def _as_map(verdict: Verdict) -> dict[str, object]:
    difference = verdict.difference
    return {
        "is_same": verdict.is_same,
        "same": verdict.same,
        "difference": difference
        and {
            "number": difference.number,
            "recorded": _named(difference.recorded),
            "replayed": _named(difference.replayed),
        },
        "unclear": verdict.unclear,
    }


def _named(event: Event | None) -> dict[str, object] | None:
    """Events are arrays on the bus; people's JSON has names."""
    return None if event is None else {"kind": type(event).__name__, **msgspec.structs.asdict(event)}


def _told(verdict: Verdict) -> str:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(verdict.same.items())) or "none"
    lines = [f"{sum(verdict.same.values()):,} decisions came out the same: {counts}"]
    if (difference := verdict.difference) is not None:
        lines += [
            f"decision {difference.number:,} did not:",
            f"  recorded: {difference.recorded or 'nothing'}",
            f"  replayed: {difference.replayed or 'nothing'}",
        ]
    if verdict.unclear:
        lines.append(f"from there on nothing can be said: {verdict.unclear}")
    return "\n".join(lines)
