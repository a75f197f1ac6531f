"""`observer demo`: a whole trading day against the built-in broker simulator, in about two minutes."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from click.exceptions import Exit
from rich.console import Console
from rich.live import Live

from bus.events import EVENT_TYPES, Event
from bus.feed import FeedSubscriber
from observer import logs
from observer.cli.context import JsonOption, print_json
from observer.cli.options import Option
from observer.cli.tables import Table, show
from observer.clock import CLOCK_VARIABLE
from observer.demo.configuration import DAY
from observer.demo.day import BOOT_S_MAX, DemoDay, DemoOptions, prepare, tidy
from observer.demo.display import DayView
from observer.demo.summary import DemoSummary, summarise, summary_rows
from observer.errors import ConfigError, StoreError, StoreFailedError
from observer.host.process import NAME, Host
from observer.signals import stopping_on_signals
from observer.simulator.kis.simulator import market_of
from observer.store.engine import parse_url
from observer.store.reader import StoreReader

REFRESHES_PER_S = 4
INTERRUPTED = 130  # a shell's exit status for a program that SIGINT ended


def demo(
    speed: Annotated[float, Option(min=1, help="Market seconds a second; 240 is a day in two minutes.")] = 240.0,
    symbols: Annotated[int, Option(min=50, max=4000, help="Made-up symbols on the market.")] = 500,
    accounts: Annotated[int, Option(min=1, max=20, help="Accounts; each streams 41 symbols.")] = 1,
    db: Annotated[str, Option(help="Database URL (sqlite:///... or postgresql+psycopg://...), empty.")] = "",
    seed: Annotated[int, Option(min=0, help="The market is a function of it, trade for trade.")] = 7,
    data: Annotated[Path | None, Option(help="Folder of real master files to make the market of.")] = None,
    keep: Annotated[bool, Option("--keep", help="Keep logs, outboxes and everything else.")] = False,
    as_json: JsonOption = False,
    folder: Annotated[Path, Option(help="Where everything goes; an earlier demo in it is removed.")] = Path("demo"),
) -> None:
    """Run a trading day against the built-in simulator, in two minutes.

    It is a whole Korean day, 08:00 to 15:40, with every process, against a simulated broker on loopback.

    Exit status 0 when everything that was published is stored and no process failed; 1 when not; 130 after ctrl-C.
    """
    if db:
        _require_empty(db)  # before an earlier demo is removed
    options = DemoOptions(
        speed=speed,
        symbols=symbols,
        database=db,
        seed=seed,
        data=data,
        keep=keep,
        folder=folder,
        accounts=accounts,
    )
    day = prepare(options)
    os.environ[CLOCK_VARIABLE] = day.clock.to_variable()
    console = Console(stderr=as_json, quiet=as_json)
    (folder / "data" / "logs").mkdir()
    with (folder / "data" / "logs" / f"{NAME}.log").open("w") as log:
        logs.set_up(NAME, day.clock, stream=log)
        summary = asyncio.run(_run(day, folder, console))
    _report(summary, console, as_json=as_json)
    if summary.succeeded and not keep:
        tidy(options)
    if not summary.succeeded:
        raise Exit(INTERRUPTED if summary.interrupted else 1)


async def _run(day: DemoDay, folder: Path, console: Console) -> DemoSummary:
    """Run the day from its first process to its last; return its summary."""
    began_s = time.monotonic()
    host = Host(day.settings, day.configuration, day.clock)
    interrupted = asyncio.Event()
    tasks = [
        asyncio.create_task(_watch(day, host, console)),
        asyncio.create_task(_live_through(day, host)),
        asyncio.create_task(_pass_on(interrupted, host.stopping)),
    ]
    try:
        with stopping_on_signals(interrupted):
            await host.run()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    is_short = interrupted.is_set() or day.clock.now_ns() < day.ends_ns
    try:
        return await asyncio.to_thread(_summarise, day, host, folder, time.monotonic() - began_s, interrupted=is_short)
    except StoreError:
        if interrupted.is_set():  # before there was a database to count in
            raise Exit(INTERRUPTED) from None
        raise


async def _live_through(day: DemoDay, host: Host) -> None:
    """Start the day when every process is ready, or after BOOT_S_MAX; stop the host at its end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BOOT_S_MAX):
            await host.started.wait()
    day.clock.start()
    await day.clock.sleep_until(day.ends_ns)
    host.stopping.set()


async def _pass_on(asked: asyncio.Event, stopping: asyncio.Event) -> None:
    await asked.wait()
    stopping.set()


async def _watch(day: DemoDay, host: Host, console: Console) -> None:
    """Show the running day: live on a terminal, a line for each news item elsewhere, nothing when quiet."""
    if console.quiet:
        return
    view = DayView(day.begins_ns, day.ends_ns, report=None if console.is_terminal else console.print)
    following = asyncio.create_task(_follow(host, view.apply))
    try:
        if not console.is_terminal:
            await following
        with Live(console=console, refresh_per_second=REFRESHES_PER_S, transient=True) as live:
            while True:
                live.update(view.render(day.clock.now_ns(), host.status().processes))
                await asyncio.sleep(1 / REFRESHES_PER_S)
    finally:
        following.cancel()


async def _follow(host: Host, apply: Callable[[Event], None]) -> None:
    feed = FeedSubscriber(host.endpoints.feed, EVENT_TYPES)
    try:
        async for event in feed:
            apply(event)
    finally:
        feed.close()


def _summarise(day: DemoDay, host: Host, folder: Path, wall_s: float, *, interrupted: bool) -> DemoSummary:
    assert day.settings.simulator is not None
    with StoreReader(day.settings.store.url) as reader:
        return summarise(
            reader,
            market_of(day.settings.simulator),
            folder / "run" / "outbox",
            host.status(),
            session_date=DAY.isoformat(),
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


def _report(summary: DemoSummary, console: Console, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    show(Table(("the day", ""), summary_rows(summary)))
    console.print(f"database: {summary.database}", soft_wrap=True)
    if not summary.interrupted:
        console.print("three queries to try:")
        for query in QUERIES:
            console.print(f"  {query}", soft_wrap=True, highlight=False)


QUERIES = (
    "SELECT symbol, count(*) AS trades, sum(volume) AS shares FROM trades GROUP BY symbol ORDER BY 2 DESC LIMIT 5;",
    "SELECT symbol, trigger, score, reason, replaced FROM slot_assignments ORDER BY assigned_ns DESC LIMIT 5;",
    "SELECT gaps.symbol, reason, missing_volume, source, rows FROM gaps LEFT JOIN gap_recoveries USING (gap_id);",
)
