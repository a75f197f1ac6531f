"""`observer top`: the running system, or a stored day, on one screen."""

import asyncio
import contextlib
import io
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Final

from click.exceptions import Exit
from rich.console import Console

from observer.cli.context import (
    ConfigOption,
    JsonOption,
    asked_day,
    full_settings,
    parsed_day,
    print_json,
    running_system,
)
from observer.cli.options import Option
from observer.cli.top_screen import screen
from observer.cli.top_terminal import Terminal, is_terminal, rendered
from observer.system.config import Settings
from observer.web.live import Live, now_ms
from observer.web.model import Part, State
from observer.web.past import past_state
from observer.web.stored import PageReader

FIRST_S: Final = 5.0  # machine seconds for the first figures of all parts
_SIZE: Final = (120, 40)  # columns and rows without a terminal


def top(
    day: Annotated[
        str | None,
        Option("--day", metavar="DATE", parser=parsed_day, help="Show a stored day: 2026-11-18, yesterday, last, ..."),
    ] = None,
    once: Annotated[bool, Option(help="Print one screen and end; so it does where stdout is no terminal.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the running system, refreshed each second, until q.

    Whether all is well, the phase of the day, processes, open alerts, slots, gaps, sweeps, stored rows and backups;
    with --day those of a stored day. It fits the terminal's size.

    Signs: on the line of the day the heavy part is over, a circle is now, and a cross the begin of a phase. Bars behind
    a slot are its prices of the last minutes, from its lowest to its highest. In the strips of gaps o is open,
    = recovered, x lost; a dot: nothing missing.

    Exit status 0; with --once or --json 1 when a critical alert is open, as of `observer status`; 2: no system runs.
    """
    if day is None:
        running_system(config)
    settings = full_settings(config)
    logging.getLogger().addHandler(logging.NullHandler())  # its lines would tear the screen
    if is_terminal() and not (once or as_json):
        asyncio.run(_show(settings, day))
        return
    state = asyncio.run(_first_state(settings, day))
    if as_json:
        print_json(state)
    else:
        _print(state)
    if state.is_live and state.level == "critical":
        raise Exit(1)


def _print(state: State) -> None:
    is_on_terminal = sys.stdout.isatty()
    columns, rows = os.get_terminal_size() if is_on_terminal else shutil.get_terminal_size(_SIZE)
    console = Console() if is_on_terminal else Console(file=io.StringIO(), color_system=None)
    lines = screen(state, columns, rows - is_on_terminal)  # the shell's prompt follows
    sys.stdout.writelines(f"{line}\n" for line in rendered(lines, console))


def _stored(settings: Settings, day: str) -> State:
    with PageReader(settings.store.url) as reader:
        asked = asked_day(reader, day, settings.run)
        return past_state(reader, settings, asked.session_date, now_ms())


async def _first_state(settings: Settings, day: str | None) -> State:
    """The state of the day; of the running system once all parts have figures, at the latest after FIRST_S."""
    if day is not None:
        return await asyncio.to_thread(_stored, settings, day)
    async with Live(settings) as live:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                async for state in live.states():
                    if not _lacks(state):
                        break
        return live.state()


def _lacks(state: State) -> bool:
    parts = (getattr(state, name) for name in state.__struct_fields__)
    return any(isinstance(part, Part) and part.missing for part in parts)


async def _states(settings: Settings, day: str | None) -> AsyncIterator[State]:
    if day is not None:
        yield await asyncio.to_thread(_stored, settings, day)
        return
    async with Live(settings) as live:
        async for state in live.states():
            yield state


async def _show(settings: Settings, day: str | None) -> None:
    """Show each new state until the terminal asks to stop."""
    states = _states(settings, day)
    first = await anext(states)  # an error is a line, not a screen
    terminal = Terminal()
    shown = [first]

    async def follow() -> None:
        async for state in states:
            shown[0] = state
            terminal.changed.set()
        await terminal.stopping.wait()

    async def draw() -> None:
        while True:
            terminal.changed.clear()
            terminal.draw(screen(shown[0], *terminal.size()))
            await terminal.changed.wait()

    with terminal.taken():
        tasks = [asyncio.create_task(each) for each in (follow(), draw(), terminal.stopping.wait())]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
