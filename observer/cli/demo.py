"""`observer demo`: a whole trading day against the built-in broker simulator, in about two minutes."""

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import click
from click.exceptions import Exit
from rich.console import Console
from rich.live import Live
from rich.text import Text

from bus.events import EVENT_TYPES, BackupCompleted, Event, QualityJudged
from bus.feed import FeedSubscriber
from observer.base import logs
from observer.base.clock import CLOCK_VARIABLE
from observer.base.errors import ConfigError, StoreError, StoreFailedError
from observer.base.local_time import local_datetime
from observer.base.signals import stopping_on_signals
from observer.base.units import NS_PER_S
from observer.cli.context import DEMO_CONFIGURATION, JsonOption, print_json
from observer.cli.options import Option
from observer.cli.tables import Table, show
from observer.cli.web import can_serve, free_port, serve
from observer.demo.configuration import DAY
from observer.demo.day import BOOT_S_MAX, DemoDay, DemoOptions, is_of_demo, prepare, tidy
from observer.demo.display import DayView
from observer.demo.ledger import LEDGER, OFFERED, keep_ledger, write_offered
from observer.demo.summary import DemoSummary, summarise, summary_rows
from observer.simulator.kis.simulator import market_of
from observer.simulator.kis.well_known import WELL_KNOWN
from observer.store.engine import parse_url
from observer.store.reader import StoreReader
from observer.supervisor.linux import require_linux
from observer.system.config import Settings
from observer.system.host import NAME, Host

MoreRecords = Literal["order_book", "expected_price", "market_state", "nav"]  # beside trades

SPEED = 240.0
WHOLE_DAY_SPEED = 400.0
REFRESHES_PER_S = 4
END_S_MAX = 240.0  # machine seconds: the backup leaves the processors to everything else
TRADES_QUERY = "SELECT exchange_time_ns, price, volume, side FROM trades WHERE symbol = '{}' LIMIT 5"
BOOT_MINUTES = 0.1  # of the start and the end of all processes, about
INTERRUPTED = 130  # a shell's exit status for a program that SIGINT ended


def _trading_date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"--date {text}: give a date such as {DAY}") from None


def demo(
    speed: Annotated[
        float | None, Option(min=1, max=100_000, help="Market seconds a second; left out: 240, with --nxt 400.")
    ] = None,
    symbols: Annotated[int, Option(min=50, max=4000, help="Made-up symbols beside the well-known ones.")] = 500,
    accounts: Annotated[int, Option(min=1, max=20, help="Accounts; each has its own slots.")] = 1,
    stream: Annotated[
        list[MoreRecords] | None,
        Option(help="Also stream this record kind; repeat for more. Each is a subscription of every streamed symbol."),
    ] = None,
    breaker: Annotated[bool, Option("--breaker", help="Circuit breakers stop the market, once for the day.")] = False,
    nxt: Annotated[bool, Option("--nxt", help="Collect KRX and NXT, 08:00 to 20:00: the profile whole-day.")] = False,
    db: Annotated[str, Option(help="URL of an empty database: sqlite:///... or postgresql+psycopg://...")] = "",
    seed: Annotated[int, Option(min=0, help="The same seed gives the same trades.")] = 7,
    day: Annotated[
        str, Option("--date", metavar="DATE", parser=_trading_date, help="The trading day, as an ISO date.")
    ] = DAY.isoformat(),
    data: Annotated[Path | None, Option(help="Folder of real master files to make the market of.")] = None,
    metrics_port: Annotated[int, Option(min=0, max=65_535, help="Port for Prometheus on loopback; 0: none.")] = 0,
    web_port: Annotated[
        int | None,
        Option(
            min=0, max=65_535, help="Port of the page on loopback; 0: none. Left out: one at a terminal, 8765 or free."
        ),
    ] = None,
    no_web: Annotated[bool, Option("--no-web", help="No page, and none of the stored day at the end.")] = False,
    keep: Annotated[bool, Option("--keep", help="Keep logs, keys, the broker's ledger and all else.")] = False,
    as_json: JsonOption = False,
    folder: Annotated[
        Path, Option(help="Where everything goes; an earlier demo in it is removed, anything else refused.")
    ] = Path("demo"),
) -> None:
    """Run a trading day against the built-in simulator, in two minutes.

    It is a whole Korean day, 08:00 to 15:40 (with --nxt 07:00 to 20:15), with every process, against a simulated broker
    on loopback. At a high speed or with many symbols it begins earlier, so that the universe is ready before the open.

    At a terminal the page of the day is open while it runs, and after it until ctrl-C.

    Exit status 0 when everything that was published is stored, each streamed symbol has a quality report no better than
    the simulated broker's truth and no process failed; 1 when not; 130 after ctrl-C.
    """
    if db:
        _require_empty(db)  # before an earlier demo is removed
    stays_open = web_port is None and not (no_web or as_json) and sys.stdout.isatty() and can_serve()
    options = DemoOptions(
        speed=speed or (WHOLE_DAY_SPEED if nxt else SPEED),
        symbols=symbols,
        database=db,
        seed=seed,
        data=data,
        keep=keep,
        folder=folder,
        accounts=accounts,
        streams=tuple(dict.fromkeys(stream or ())),
        nxt=nxt,
        breaker=breaker,
        day=date.fromisoformat(day),
        metrics_port=metrics_port,
        web_port=0 if no_web else free_port() if stays_open else web_port or 0,
    )
    settings = _play(options, as_json=as_json)
    if stays_open:
        serve(settings, options.web_port, "the day is at {}; ctrl-C ends", opens=False)


def _play(options: DemoOptions, *, as_json: bool) -> Settings:
    """Run the day and print what it was; raise Exit when it did not succeed. Returns the settings of its system."""
    require_linux()
    folder = options.folder
    is_anew = is_of_demo(folder)
    made = prepare(options)
    os.environ[CLOCK_VARIABLE] = made.clock.to_variable()
    console = Console(stderr=as_json, quiet=as_json)
    if is_anew:
        console.print(f"The earlier demo in {folder} is removed.", highlight=False, markup=False)
    console.print(_announcement(made, folder), soft_wrap=True, highlight=False, markup=False)
    (folder / "data" / "logs").mkdir()
    with (folder / "data" / "logs" / f"{NAME}.log").open("w") as log:
        logs.set_up(NAME, made.clock, stream=log, head=made.settings.log_head(made.configuration))
        summary, failure = asyncio.run(_run(made, folder, console))
    _report(summary, console, folder, as_json=as_json)
    if summary.succeeded and not options.keep:
        tidy(options)
    for text in faults(summary, folder / "data", failure):
        click.echo(text, err=True)
    if not summary.succeeded:
        raise Exit(INTERRUPTED if summary.interrupted else 1)
    return made.settings


def faults(summary: DemoSummary, folder: Path, failure: Exception | None = None) -> Iterator[str]:
    """What is wrong with the day's quality reports, and what in the folder says why. `failure` ended the day without
    the broker's ledger.
    """
    if failure is not None:
        yield f"no comparison with the broker's ledger: {failure}"
    if not (summary.is_judged or summary.interrupted):
        yield (
            f"the day is not judged: {summary.quality_reports:,} of {summary.symbols_with_slot:,} symbols with a slot "
            f"have a quality report; {folder / 'logs' / 'gap-recovery.log'} says why"
        )
    if summary.overstated:
        yield f"{summary.overstated:,} quality reports are better than the broker's ledger, {folder / LEDGER}"


def _announcement(day: DemoDay, folder: Path) -> str:
    """What begins now, where, and about how long it takes."""
    first, last = local_datetime(day.begins_ns), local_datetime(day.ends_ns)
    minutes = (day.ends_ns - day.begins_ns) / NS_PER_S / day.clock.speed / 60
    web = day.settings.web
    page = "" if web is None else f"The page of the day: http://127.0.0.1:{web.port}/\n"
    return (
        f"{page}Running the trading day of {first:%Y-%m-%d}, {first:%H:%M} to {last:%H:%M}, with every process and a "
        f"simulated broker in {folder}: about {minutes + BOOT_MINUTES:.1f} minutes. Ctrl-C ends it in order."
    )


async def _run(day: DemoDay, folder: Path, console: Console) -> tuple[DemoSummary, Exception | None]:
    """Run the day from its first process to its last; return its summary, and what went wrong at its end. The ledger of
    the simulated broker and the trades that it offered are written beside the database.
    """
    began_s = time.monotonic()
    host = Host(day.settings, day.configuration, day.clock)
    interrupted = asyncio.Event()
    tasks = [
        asyncio.create_task(_watch(day, host, console)),
        asyncio.create_task(_live_through(day, host, folder / "data")),
        asyncio.create_task(_pass_on(interrupted, host.stopping)),
    ]
    try:
        with stopping_on_signals(interrupted):
            await host.run()
    finally:
        for task in tasks:
            task.cancel()
        [_, lived, _] = await asyncio.gather(*tasks, return_exceptions=True)
    failure = lived if isinstance(lived, Exception) else None
    is_short = interrupted.is_set() or day.clock.now_ns() < day.ends_ns
    wall_s = time.monotonic() - began_s
    try:
        return await asyncio.to_thread(_summarise, day, host, folder, wall_s, interrupted=is_short), failure
    except StoreError:
        if interrupted.is_set():  # before there was a database to count in
            console.print("interrupted before anything was stored")
            raise Exit(INTERRUPTED) from None
        raise


async def _live_through(day: DemoDay, host: Host, ledger_folder: Path) -> None:
    """Start the day when every process is ready, or after BOOT_S_MAX; keep the broker's ledger at its end. The host
    stops in any case.

    On a busy machine the backup and the quality reports may not be finished at the day's end: they have END_S_MAX more.
    """
    awaited: set[type[Event]] = {BackupCompleted, QualityJudged}
    feed = FeedSubscriber(host.endpoints.feed, tuple(awaited))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOOT_S_MAX):
                await host.started.wait()
        day.clock.start()
        await day.clock.sleep_until(day.ends_ns)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S_MAX):
                async for event in feed:
                    awaited.discard(type(event))
                    if not awaited:
                        break
        if day.settings.simulator is not None:
            await keep_ledger(f"http://127.0.0.1:{day.settings.simulator.rest_port}", ledger_folder)
    finally:
        feed.close()
        host.stopping.set()


async def _pass_on(asked: asyncio.Event, stopping: asyncio.Event) -> None:
    await asked.wait()
    stopping.set()


async def _watch(day: DemoDay, host: Host, console: Console) -> None:
    """Show the running day: a live screen on a terminal, lines elsewhere, nothing when quiet."""
    if console.quiet:
        return
    view = DayView(day.begins_ns, day.ends_ns, report=None if console.is_terminal else partial(_print_line, console))
    following = asyncio.create_task(_follow(host, view.apply))
    screen = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
    try:
        with screen if console.is_terminal else contextlib.nullcontext():
            while True:
                now_ns, processes = day.clock.now_ns(), host.status().processes
                view.update(now_ns, time.monotonic(), processes)
                if console.is_terminal:
                    screen.update(view.render(now_ns, processes), refresh=True)
                await asyncio.sleep(1 / REFRESHES_PER_S)
    finally:
        following.cancel()


def _print_line(console: Console, line: Text) -> None:
    console.print(line, soft_wrap=True)


async def _follow(host: Host, apply: Callable[[Event], None]) -> None:
    feed = FeedSubscriber(host.endpoints.feed, EVENT_TYPES)
    try:
        async for event in feed:
            apply(event)
    finally:
        feed.close()


def _summarise(day: DemoDay, host: Host, folder: Path, wall_s: float, *, interrupted: bool) -> DemoSummary:
    assert day.settings.simulator is not None
    market = market_of(day.settings.simulator)
    write_offered(market, folder / "data" / OFFERED)
    with StoreReader(day.settings.store.url) as reader:
        return summarise(
            reader,
            market,
            folder,
            host.status(),
            session_date=local_datetime(day.begins_ns).date().isoformat(),
            final_ns=day.ends_ns,
            wall_s=wall_s,
            database=str(parse_url(day.settings.store.url)),  # without its password
            interrupted=interrupted,
        )


def _require_empty(url: str) -> None:
    """Refuse a used database: a demo counts stored rows, so it does not share one."""
    address = parse_url(url)
    try:
        with StoreReader(url) as reader:
            rows = reader.total_rows()
    except StoreFailedError:
        raise
    except StoreError:
        return  # nothing there yet
    if rows:
        raise ConfigError(f"{address} holds {rows:,} events already: give the demo an empty database")


def _report(summary: DemoSummary, console: Console, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    show(Table(("the day", ""), summary_rows(summary), folded=("",)))
    console.print(f"database: {summary.database}", soft_wrap=True)
    if not summary.interrupted:
        console.print("to type next:")
        for command in next_commands(program_of(sys.argv[0]), folder, summary.database):
            console.print(f"  {command}", soft_wrap=True, highlight=False, markup=False)


def next_commands(program: str, folder: Path, database: str) -> Sequence[str]:
    """Three commands about the day that just ended, for the shell of its user."""
    option = "" if folder == DEMO_CONFIGURATION.parent else f" --config {shlex.quote(str(folder / 'observer.toml'))}"
    symbol = WELL_KNOWN[0].symbol
    shell = _shell(database)
    return (
        f"{program} quality{option}",
        f"{program} etfs --sort -premium_20d_percent{option}",
        f'{shell} "{TRADES_QUERY.format(symbol)}"' if shell else f"{program} slots why {symbol}{option}",
    )


def _shell(database: str) -> str | None:
    """The database's own shell with its file or URL; None if it is not installed."""
    file = database.removeprefix("sqlite:///")
    if file != database:
        name, argument = "sqlite3", _relative(file)
    else:  # the URL as psql reads it, without the driver's name; psql asks for a password
        name, argument = "psql", f"postgresql://{database.partition('://')[2].replace(':***@', '@')}"
    return f"{name} {shlex.quote(argument)}" if shutil.which(name) else None


def program_of(called_as: str) -> str:
    """The program as its user can type it again."""
    path = Path(called_as)
    if path.name == "__main__.py":
        return f"{shlex.quote(_relative(sys.executable))} -m observer"
    return path.name if shutil.which(path.name) == str(path) else shlex.quote(_relative(called_as))


def _relative(path: str) -> str:
    """The path from the current folder, if it lies in it."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
