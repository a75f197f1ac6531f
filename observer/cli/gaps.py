"""`observer gaps`: gaps of the market data stream and their recovery. Reads the database; retries go to the running
system.
"""

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Final

import click
import msgspec

from bus.commands import RetryGaps
from bus.events import GapDetected, GapOpened, GapTimesMeasured, SlotAssigned
from observer.base.errors import ConfigError, NoDataError
from observer.base.local_time import local_datetime
from observer.base.settings import RunSettings
from observer.base.units import NS_PER_S
from observer.cli import system
from observer.cli.context import (
    AskedDay,
    ConfigOption,
    DayArgument,
    DayOption,
    JsonOption,
    as_maps,
    base_settings,
    print_json,
    stored_day,
)
from observer.cli.lines import AskedLines, SymbolOption, VenueOption, asked_lines, without_slot
from observer.cli.options import Argument, Option
from observer.cli.tables import Table, show_text
from observer.cli.tables import show as show_table
from observer.store.gaps import GapStory, OpeningStory
from observer.store.reader import StoreReader

_NAMED: Final = 3  # ids in an error message

GapsArgument = Annotated[list[str] | None, Argument(help="The gaps, as `observer gaps list` names them.")]


def list_gaps(
    day: DayArgument = None,
    symbol: SymbolOption = None,
    only_open: Annotated[bool, Option("--open", help="Show only gaps without an outcome.")] = False,
    venue: VenueOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a day's gaps in order of detection.

    Shows the cuts in which nothing was missed, too, and the times of detection and recovery.

    A cut connection is a gap of each of its symbols at once: "open" until the exchange's volume shows what was missed,
    then "empty", or the gap with its shares. Trades are those missing, "?" where nothing counts them.
    """
    settings = base_settings(config)
    asked_for = asked_lines(symbol, venue, settings.instance.market)
    with StoreReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
        require_slot(reader, asked_for, asked.session_date)
        stories = [story for story in reader.gaps(asked.session_date) if asked_for.has(story.gap.symbol)]
        openings = [story for story in reader.openings(asked.session_date) if asked_for.has(story.opened.symbol)]
        times = reader.gap_times(asked.session_date)
    if only_open:
        stories, openings = [each for each in stories if each.is_open], [each for each in openings if each.is_open]
    if as_json:
        found = {"gaps": [as_map(story) for story in stories], "cuts": [as_map(story) for story in openings]}
        print_json({"day": asked.session_date, **found, "times": as_maps(times.values())})
    elif stories or openings:
        show_table(_table(asked, stories, openings))
        of_all = "all gaps of the day, " if asked_for.symbol is not None or asked_for.title else ""
        for each in times.values():
            show_text(of_all + _times_line(each))
    else:
        click.echo(f"no {'open ' if only_open else ''}gaps{asked_for.title} on {asked.title}")


def require_slot(reader: StoreReader, lines: AskedLines, session_date: str) -> None:
    """Return if one of the named lines had a slot on that stored day, or none is named.

    Raises:
        NoDataError: they had none, so no trades of them were streamed.
    """
    if not lines.title:
        return
    streamed = {each.symbol for each in reader.slot_history(session_date) if isinstance(each, SlotAssigned)}
    if not any(map(lines.has, streamed)):
        raise without_slot(lines, session_date, streamed)


def show(
    gap_id: Annotated[str, Argument(help="The gap, as `observer gaps list` names it.")],
    day: DayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is stored about one gap.

    A part of the id is enough where no other gap of the day has it.
    """
    settings = base_settings(config)
    with StoreReader(settings.store.url) as reader:
        name = full_id(reader, gap_id, day, settings.run)
        story = reader.gap(name) or reader.opening(name)
    assert story is not None, "the id is of the database"
    if as_json:
        print_json(as_map(story))
        return
    for name, value in as_map(story).items():
        show_text(f"{name}: {value}")


def retry(
    gap_id: GapsArgument = None,
    all_open: Annotated[bool, Option("--all-open", help="Retry all gaps without an outcome.")] = False,
    day: DayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retry recovery now, also of gaps that were given up. Gaps recovered in part are retried, too.

    A part of an id is enough where no other gap of the day has it.
    """
    if bool(gap_id) == all_open:
        raise ConfigError("no gaps named: give ids of `observer gaps list`, or --all-open")
    ids = _full_ids(gap_id, day, config) if gap_id else []
    system.show(system.ask(RetryGaps(ids), config), as_json=as_json)


def _full_ids(texts: Sequence[str], day: str | None, config: Path | None) -> list[str]:
    settings = base_settings(config)
    with StoreReader(settings.store.url) as reader:
        return [full_id(reader, each, day, settings.run) for each in texts]


def full_id(reader: StoreReader, text: str, day: str | None, run: RunSettings) -> str:
    """The id of the one gap that has this id; else of the only one of the day whose id has this part.

    Raises:
        NoDataError: there is none.
        ConfigError: there are several.
    """
    if reader.gap(text) is not None or reader.opening(text) is not None:
        return text
    asked = stored_day(reader, day, run)
    found = reader.gap_ids(asked.session_date, text)
    if not found:
        raise NoDataError(f"no gap of {asked.title} has {text!r} in its id: `observer gaps list` shows them")
    if len(found) > 1:
        others = ", ".join(found[:_NAMED]) + (" ..." if len(found) > _NAMED else "")
        raise ConfigError(f"{len(found)} gaps of {asked.title} have {text!r} in their ids: give more of it ({others})")
    return found[0]


def as_map(story: GapStory | OpeningStory) -> dict[str, object]:
    """The gap's fields, `outcome` in words, and the fields of the recovery: null without one. Of a cut without a proved
    loss: its fields, `outcome`, and its end.
    """
    if isinstance(story, OpeningStory):
        return {
            **msgspec.structs.asdict(story.opened),
            "outcome": outcome_of(story),
            "to_ns": story.empty.to_ns if story.empty else None,
            "closed_ns": story.empty.closed_ns if story.empty else None,
            "unrecoverable_reason": story.unrecoverable.reason if story.unrecoverable else None,
        }
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


def outcome_of(story: GapStory | OpeningStory) -> str:
    """One word: open, empty (nothing was missed), recovered, partial (the recovered rows do not prove completeness),
    unrecoverable.
    """
    if isinstance(story, OpeningStory):
        return "empty" if story.empty is not None else "open" if story.is_open else "unrecoverable"
    if story.recovered is not None:
        return "recovered" if story.recovered.complete else "partial"
    return "open" if story.unrecoverable is None else "unrecoverable"


def _table(asked: AskedDay, stories: Sequence[GapStory], openings: Sequence[OpeningStory]) -> Table:
    numbered = [(story.gap.detected_ns, _row_of_gap(story)) for story in stories]
    numbered += [(story.opened.opened_ns, _row_of_opening(story)) for story in openings]
    rows = [row for _, row in sorted(numbered, key=itemgetter(0))]
    columns = ("symbol", "from", "seconds", "shares", "trades", "outcome", "reason", "source", "gap")
    empty = sum(outcome_of(story) == "empty" for story in openings)
    of_them = f", {empty:,} of them empty" if empty else ""
    title = f"{asked.title}: {len(rows):,} gaps{of_them}"
    return Table(columns, rows, title, right=columns[2:5], folded=("reason",), optional=("source", "reason"))


def _row_of_opening(story: OpeningStory) -> tuple[str, ...]:
    opened, empty = story.opened, story.empty
    return (
        opened.symbol,
        f"{local_datetime(opened.from_ns):%H:%M:%S}",
        f"{(empty.to_ns - empty.from_ns) / NS_PER_S:,.1f}" if empty else "?",
        *(("0", "0") if empty else ("?", "?")),
        outcome_of(story),
        opened.reason,
        "",
        _short_id(opened),
    )


def _row_of_gap(story: GapStory) -> tuple[str, ...]:
    return (
        story.gap.symbol,
        f"{local_datetime(story.gap.from_ns):%H:%M:%S}",
        f"{(story.gap.to_ns - story.gap.from_ns) / NS_PER_S:,.1f}",
        f"{story.gap.missing_volume:,.0f}",
        _trades(story),
        outcome_of(story),
        story.gap.reason,
        story.recovered.source if story.recovered else "",
        _short_id(story.gap),
    )


def _trades(story: GapStory) -> str:
    """Missing trades by the exchange's count or, without one, as many as a recovery of all found; "?" without both."""
    missing, found = story.gap.missing_trades, story.recovered
    if missing is None and found and found.source == "time_and_sales" and outcome_of(story) == "recovered":
        missing = found.rows
    return "?" if missing is None else f"{missing:,}"


def _times_line(times: GapTimesMeasured) -> str:
    shares = f"p50 {times.p50_s:.2f} s, p95 {times.p95_s:.2f} s, p99 {times.p99_s:.2f} s, max {times.max_s:.2f} s"
    return f"{times.measure}: {shares}; {times.met:,} of {times.gaps:,} in time"


def _short_id(gap: GapDetected | GapOpened) -> str:
    """The id without what is in the table's title or in its first column."""
    return gap.gap_id.removeprefix(f"{gap.provider}-{gap.symbol}-{gap.session_date}-")
