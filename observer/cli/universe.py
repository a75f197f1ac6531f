"""`observer universe`: the day's universe and its changes, from the database; only `build` needs a running system."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import click
import msgspec
from click.exceptions import Exit

from bus.commands import Done, Refused, Reply, RunJob, UnderWay
from bus.events import AlertRaised, DailyBar, UniverseBuilt, UniverseMember, VenueEligibility
from observer.base.errors import ConfigError, NoDataError
from observer.base.settings import endpoints_of, is_reachable
from observer.cli.context import (
    ANSWER_S,
    AskedDay,
    ConfigOption,
    DayArgument,
    JsonOption,
    base_settings,
    full_settings,
    parsed_day,
    print_error,
    print_json,
    stored_day,
    today,
)
from observer.cli.options import Argument
from observer.cli.tables import show_text
from observer.reference.listings.model import Listing
from observer.reference.universe.builder import EXCHANGES
from observer.reference.universe.changes import UniverseChanges, changes_between
from observer.reference.universe.eligibility import KOREAN_STOCKS, exclusion_by_kind
from observer.reference.universe.files import universe_content
from observer.store.reader import StoreReader
from observer.system.config import Settings

if TYPE_CHECKING:  # imported by the commands that need them
    from rich.progress import Progress, TaskID

    from bus.feed import FeedSubscriber

MOVED_SHOWN: Final = 10
BUILD_S_MAX: Final = 900.0  # machine seconds
SHOWN_AFTER_S: Final = 2.0  # what is over sooner needs no bar
POLL_S: Final = 1.0


def file(day: DayArgument = None, config: ConfigOption = None) -> None:
    """Print a day's file of the universe, made from the database."""
    settings = base_settings(config)
    with StoreReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
        _universe(reader, asked)
        sys.stdout.buffer.write(universe_content(reader, asked.session_date, KOREAN_STOCKS) or b"")


def diff(
    earlier: Annotated[str, Argument(metavar="EARLIER", parser=parsed_day, help="The earlier day, e.g. 2026-11-17.")],
    later: Annotated[
        str | None,
        Argument(metavar="[LATER]", parser=parsed_day, help="The later day; default: the last stored session."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show additions, removals and rank changes between two days.

    Removals are judged by the listings as they are now, and by the closes that the later day was built from.
    """
    settings = full_settings(config)
    with StoreReader(settings.store.url) as reader:
        days = [stored_day(reader, each, settings.run) for each in (earlier, later)]
        (_, before), (built, after) = (_universe(reader, each) for each in days)
        closes = reader.closes(built.previous_session_date)
        changes = changes_between(before, after, _listed(reader), closes, settings.selection.universe)
    if as_json:
        print_json({"days": [each.session_date for each in days], **msgspec.structs.asdict(changes)})
    else:
        click.echo(f"from {days[0].title} to {days[1].title}")
        _print_changes(changes)


def build(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Build today's universe now, by the running system. An existing one stays as it is all day.

    Exit status 0: it is built; 1: refused or failed, and why; 2: it could not be asked.
    """
    settings = full_settings(config)
    if not is_reachable(settings.run):
        raise ConfigError(f"no system runs here ({settings.run.runtime}): start one with `observer run`")
    session_date = today(settings.run)
    reply = asyncio.run(_build(settings, session_date))
    if as_json:
        print_json(reply)
    elif isinstance(reply, Refused):
        print_error(f"{reply.message} ({reply.code})")
    elif isinstance(reply, Done | UnderWay):
        show_text(reply.detail)
    if isinstance(reply, Refused):
        raise Exit(1)


async def _build(settings: Settings, session_date: str) -> Reply:
    """Order the build, and follow it to its end with progress bars of fetched bars and of stocks asked for venues."""
    from bus.control import ControlClient, ControlTimeoutError
    from bus.feed import FeedSubscriber

    endpoints = endpoints_of(settings.run)
    feed = FeedSubscriber(endpoints.feed, (DailyBar, VenueEligibility, UniverseBuilt, AlertRaised))
    control = ControlClient(endpoints.control)
    try:
        reply = await control.request(RunJob("universe"), ANSWER_S)
        if not isinstance(reply, UnderWay):
            return reply
        async with asyncio.timeout(BUILD_S_MAX):
            return await _follow(feed, settings, session_date)
    except ControlTimeoutError as error:
        raise ConfigError(f"{error}: no system runs here any more, or it hangs: `observer run` starts one") from error
    except TimeoutError:
        return UnderWay("still being built: see the log of master-file")
    finally:
        control.close()
        feed.close()


async def _follow(feed: "FeedSubscriber", settings: Settings, session_date: str) -> Reply:
    """Follow the feed and poll the database: the feed is quick but may lose events."""
    with StoreReader(settings.store.url) as reader, _progress() as progress:
        bar = progress.add_task("daily bars", total=_candidates(reader, settings), visible=False)
        venues = progress.add_task("stocks asked for venues", total=None, visible=False)
        asking = asyncio.create_task(_committed(reader, session_date))
        monitor = asyncio.create_task(_received(feed, progress, bar, venues))
        showing = asyncio.create_task(_show_later(progress, bar))
        try:
            done, _ = await asyncio.wait([asking, monitor], return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in (asking, monitor, showing):
                task.cancel()
            await asyncio.gather(asking, monitor, showing, return_exceptions=True)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


async def _show_later(progress: "Progress", bar: "TaskID") -> None:
    await asyncio.sleep(SHOWN_AFTER_S)
    progress.update(bar, visible=True)


async def _committed(reader: StoreReader, session_date: str) -> Reply:
    while True:
        built = await asyncio.to_thread(reader.universe_built, session_date, KOREAN_STOCKS)
        if built is not None:
            return _done(built)
        await asyncio.sleep(POLL_S)


async def _received(feed: "FeedSubscriber", progress: "Progress", bar: "TaskID", venues: "TaskID") -> Reply:
    seen: set[str] = set()
    async for event in feed:
        match event:
            case DailyBar(symbol=symbol) if symbol not in seen:
                seen.add(symbol)
                progress.update(bar, completed=len(seen))
            case VenueEligibility():
                progress.update(venues, advance=1, visible=True)
            case UniverseBuilt():
                return _done(event)
            case AlertRaised(severity="critical", job="universe", text=text):
                return Refused("failed", text)
            case _:
                pass
    raise AssertionError("a feed ends only by being cancelled")


def _done(built: UniverseBuilt) -> Done:
    return Done("master-file", f"{built.symbols} symbols out of {built.considered} listings")


def _candidates(reader: StoreReader, settings: Settings) -> int | None:
    """How many symbols' bars are needed, by the known listings; None before the first listings."""
    listings = _listed(reader).values()
    rules = settings.selection.universe
    wanted = sum(exclusion_by_kind(listing, rules) is None for listing in listings)
    return wanted or None


def _listed(reader: StoreReader) -> Mapping[str, Listing]:
    found: dict[str, Listing] = {}
    for exchange in EXCHANGES:
        found |= reader.active_listings(exchange)
    return found


def _universe(reader: StoreReader, day: AskedDay) -> tuple[UniverseBuilt, Sequence[UniverseMember]]:
    built = reader.universe_built(day.session_date, KOREAN_STOCKS)
    if built is None:
        raise NoDataError(f"no universe of {day.session_date} is stored: `observer universe build` builds today's")
    return built, reader.universe(day.session_date, KOREAN_STOCKS)


def _print_changes(changes: UniverseChanges) -> None:
    counts = f"{changes.stayed} stayed, {len(changes.came)} came, {len(changes.left)} left, {len(changes.moved)} moved"
    click.echo(counts)
    for came in changes.came:
        click.echo(f"+ {came.symbol} {came.name}: rank {came.rank}")
    for left in changes.left:
        show_text(f"- {left.symbol} {left.name}: was rank {left.rank}; {left.reason}")
    for moved in changes.moved[:MOVED_SHOWN]:
        click.echo(f"{moved.ranks:+d} {moved.symbol} {moved.name}: rank {moved.rank_before} -> {moved.rank_after}")
