"""`observer universe`: the day's universe, and how it changed. Asked of the database; only `build` needs a system that
runs.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bus.commands import Done, Refused, Reply, RunJob, UnderWay
from bus.control import ControlClient, ControlTimeoutError
from bus.events import AlertRaised, DailyBar, UniverseBuilt, UniverseMember
from bus.feed import FeedSubscriber
from observer.cli.control import ANSWER_S
from observer.cli.here import ConfigOption, settings_here, today
from observer.cli.quality import parsed_day
from observer.clock import kst_datetime
from observer.config import Settings, endpoints_of, is_reachable
from observer.errors import ConfigError
from observer.reference.listings import Listing
from observer.selection.universe import KOREAN_STOCKS, exclusion_by_kind
from observer.selection.universe_changes import UniverseChanges, changes_between
from observer.store.reader import StoreReader
from observer.universe.builder import EXCHANGES
from observer.universe.files import universe_content

MOVED_SHOWN: Final = 10
BUILD_S_MAX: Final = 900.0  # machine seconds
SHOWN_AFTER_S: Final = 2.0  # what is over sooner needs no bar
LOOK_S: Final = 1.0

app = typer.Typer(help="Who is in the day's universe, and why others are not any more.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
DateArgument = Annotated[str | None, typer.Argument(help="The day, 2026-11-18 or 20261118; without it today.")]


@app.command()
def show(
    day: DateArgument = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    as_file: Annotated[
        bool, typer.Option("--as-file", help="The content of the day's file, whole, made from the database.")
    ] = False,
) -> None:
    """Show a day's universe by rank."""
    settings = settings_here(config)
    session_date = parsed_day(day) if day else today(settings)
    with StoreReader(settings.store.url) as reader:
        built, members = _universe(reader, session_date)
        if as_file:
            sys.stdout.buffer.write(universe_content(reader, session_date, KOREAN_STOCKS) or b"")
            return
    shown = members[:limit]
    if as_json:
        listed = [msgspec.structs.asdict(member) for member in shown]
        typer.echo(msgspec.json.encode({**msgspec.structs.asdict(built), "members": listed}).decode())
    else:
        Console().print(_table(built, shown))


@app.command()
def diff(
    earlier: Annotated[str, typer.Argument(help="The earlier day.")],
    later: Annotated[str, typer.Argument(help="The later day.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who came into the universe between two days, who left it and why, and whose rank changed most.

    The reasons are those of the listings as they are now, and of the closes by which the later day was judged.
    """
    settings = settings_here(config)
    with StoreReader(settings.store.url) as reader:
        (_, before), (built, after) = (_universe(reader, parsed_day(day)) for day in (earlier, later))
        closes = reader.closes(built.previous_session_date)
        changes = changes_between(before, after, _listed(reader), closes, settings.selection.universe)
    if as_json:
        typer.echo(msgspec.json.encode(changes).decode())
    else:
        _print_changes(changes)


@app.command()
def build(day: DateArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Let the running system build today's universe before its time. One that is there stays as it is all day.

    Exit status 0: it is built; 1: refused or failed, and why; 2: it could not be asked.
    """
    settings = settings_here(config)
    if not is_reachable(settings.run):
        raise ConfigError(f"no system runs here ({settings.run.runtime}): start one with `observer run`")
    session_date = today(settings)
    if day is not None and parsed_day(day) != session_date:
        raise ConfigError(f"only the universe of today, {session_date}, can be built")
    reply = asyncio.run(_build(settings, session_date))
    if as_json:
        typer.echo(msgspec.json.encode(reply).decode())
    elif isinstance(reply, Refused):
        typer.echo(f"observer: {reply.message} ({reply.code})", err=True)
    elif isinstance(reply, Done | UnderWay):
        typer.echo(reply.detail)
    if isinstance(reply, Refused):
        raise typer.Exit(1)


async def _build(settings: Settings, session_date: str) -> Reply:
    """Order it, and follow it to its end with a bar of the symbols whose bars are there."""
    endpoints = endpoints_of(settings.run)
    feed = FeedSubscriber(endpoints.feed, (DailyBar, UniverseBuilt, AlertRaised))
    control = ControlClient(endpoints.control)
    try:
        reply = await control.request(RunJob("universe"), ANSWER_S)
        if not isinstance(reply, UnderWay):
            return reply
        async with asyncio.timeout(BUILD_S_MAX):
            return await _follow(feed, settings, session_date)
    except ControlTimeoutError as error:
        raise ConfigError(f"{error}: no system runs here any more, or it hangs") from error
    except TimeoutError:
        return UnderWay("it is still being built: the log of master-file tells how it ends")
    finally:
        control.close()
        feed.close()


async def _follow(feed: FeedSubscriber, settings: Settings, session_date: str) -> Reply:
    """The feed is quick and may lose; the database is asked as well."""
    with StoreReader(settings.store.url) as reader, _progress() as progress:
        bar = progress.add_task("daily bars", total=_candidates(reader, settings), visible=False)
        asking = asyncio.create_task(_committed(reader, session_date))
        hearing = asyncio.create_task(_heard(feed, progress, bar))
        showing = asyncio.create_task(_show_later(progress, bar))
        try:
            done, _ = await asyncio.wait([asking, hearing], return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in (asking, hearing, showing):
                task.cancel()
            await asyncio.gather(asking, hearing, showing, return_exceptions=True)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


async def _show_later(progress: Progress, bar: TaskID) -> None:
    await asyncio.sleep(SHOWN_AFTER_S)
    progress.update(bar, visible=True)


async def _committed(reader: StoreReader, session_date: str) -> Reply:
    while True:
        built = await asyncio.to_thread(reader.universe_built, session_date, KOREAN_STOCKS)
        if built is not None:
            return _done(built)
        await asyncio.sleep(LOOK_S)


async def _heard(feed: FeedSubscriber, progress: Progress, bar: TaskID) -> Reply:
    seen: set[str] = set()
    async for event in feed:
        match event:
            case DailyBar(symbol=symbol) if symbol not in seen:
                seen.add(symbol)
                progress.update(bar, completed=len(seen))
            case UniverseBuilt():
                return _done(event)
            case AlertRaised(severity="critical", text=text) if text.startswith("job universe"):
                return Refused("failed", text)
            case _:
                pass
    raise AssertionError("a feed ends only by being cancelled")


def _done(built: UniverseBuilt) -> Done:
    return Done("master-file", f"{built.symbols} symbols out of {built.considered} listings")


def _candidates(reader: StoreReader, settings: Settings) -> int | None:
    """How many symbols' bars are wanted, as far as the listings are known; None before the first day's are."""
    listings = _listed(reader).values()
    rules = settings.selection.universe
    wanted = sum(exclusion_by_kind(listing, rules) is None for listing in listings)
    return wanted or None


def _listed(reader: StoreReader) -> Mapping[str, Listing]:
    found: dict[str, Listing] = {}
    for exchange in EXCHANGES:
        found |= reader.active_listings(exchange)
    return found


def _universe(reader: StoreReader, session_date: str) -> tuple[UniverseBuilt, Sequence[UniverseMember]]:
    built = reader.universe_built(session_date, KOREAN_STOCKS)
    if built is None:
        raise ConfigError(f"there is no universe of {session_date}")
    return built, reader.universe(session_date, KOREAN_STOCKS)


def _table(built: UniverseBuilt, members: Sequence[UniverseMember]) -> Table:
    when = kst_datetime(built.built_ns).strftime("%Y-%m-%d %H:%M:%S KST")
    title = f"universe of {built.session_date}: {built.symbols:,} of {built.considered:,} listings, built {when}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("rank", "symbol", "name", "exchange"):
        table.add_column(column, no_wrap=True, justify="right" if column == "rank" else "left")
    for column in ("cap 10⁹ won", "close", "volume 20d", "range 14d"):
        table.add_column(column, justify="right")
    for member in members:
        numbers = (member.previous_close, member.average_volume_20d, member.average_true_range_14d)
        texts = ("" if number is None else f"{number:,.0f}" for number in numbers)
        cap = f"{member.market_cap_krw / 1e9:,.0f}"
        table.add_row(str(member.rank), member.symbol, member.name, member.exchange, cap, *texts)
    return table


def _print_changes(changes: UniverseChanges) -> None:
    counts = f"{changes.stayed} stayed, {len(changes.came)} came, {len(changes.left)} left, {len(changes.moved)} moved"
    typer.echo(counts)
    for came in changes.came:
        typer.echo(f"+ {came.symbol} {came.name}: rank {came.rank}")
    for left in changes.left:
        typer.echo(f"- {left.symbol} {left.name}: was rank {left.rank}; {left.reason}")
    for moved in changes.moved[:MOVED_SHOWN]:
        typer.echo(f"{moved.places:+d} {moved.symbol} {moved.name}: rank {moved.rank_before} -> {moved.rank_after}")
