"""`observer tail`: committed events as they come, from the running system's feed."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Annotated, Final

from bus.endpoints import Address, is_served
from bus.events import Fact, Severity
from bus.feed import FeedSubscriber
from observer.base.settings import RunSettings
from observer.cli.context import ConfigOption, base_settings, print_error, running_system
from observer.cli.event_lines import event_line, json_line, symbol_of
from observer.cli.lines import typed_line
from observer.cli.options import Option
from observer.cli.tables import terminal_width
from observer.research.following import running_feed, types_of
from observer.store.kinds import TABLE_NAMES

QUIET: Final = ("trades", "conflated_trades", "order_books", "expected_prices", "navs", "snapshots", "selection_steps")
"""Tables with many rows a second, which are shown where they are named."""

CHECK_S: Final = 1.0  # machine seconds between looks whether the system still runs
_FLUSH_S: Final = 0.1  # machine seconds that a line may wait for further ones
_LOSS_S: Final = 1.0  # machine seconds between two statements of losses


def tail(
    kind: Annotated[
        list[str] | None,
        Option(metavar="TABLE", help="Show events of this table, such as trades or gaps; repeat for more."),
    ] = None,
    symbol: Annotated[
        list[str] | None,
        Option(help="Show events of this symbol only; SYMBOL.VENUE is the stock at another venue. Repeat for more."),
    ] = None,
    count: Annotated[int, Option(min=0, help="End after so many events; 0: at ctrl-C.")] = 0,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object a line.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show committed events of the running system as they come.

    It ends at ctrl-C. Without --kind all is shown but the tables with many rows a second: trades, quotes and snapshots.
    A line has the moment, the table, the symbol and what fits of the other fields; --json has all. What the feed lost
    is stated on stderr; the database has it. When the system ends, its next start is waited for.

    Exit status 0 after --count events or ctrl-C; 2 when no system runs here, 1 when its core writer does not.
    """
    types = types_of(kind or [name for name in TABLE_NAMES.values() if name not in QUIET])
    settings = base_settings(config)
    lines = frozenset(typed_line(each, settings.instance.market) for each in symbol or ())
    running_system(config)
    address = running_feed(settings.run)
    if not kind:
        print_error(f"all but {', '.join(QUIET[:-1])} and {QUIET[-1]}, which --kind shows")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_Tail(address, types, lines, settings.run, as_json=as_json).run(count))


class _Tail:
    def __init__(
        self, address: Address, types: Sequence[type[Fact]], lines: frozenset[str], run: RunSettings, *, as_json: bool
    ) -> None:
        self._address = address
        self._types = types
        self._lines = lines
        self._run = run
        self._as_json = as_json
        self._has_written = False
        self._is_losing = False  # a loss is known and not stated

    async def run(self, count: int) -> None:
        """Print events, as many as `count`, 0 for all, until cancelled."""
        feed = FeedSubscriber(self._address, self._types, self._lost)
        works = (self._print_events(feed, count), self._flush_often(), self._state_losses(feed), self._watch())
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            feed.close()
        sys.stdout.flush()

    async def _print_events(self, feed: FeedSubscriber, count: int) -> None:
        printed = 0
        async for event in feed:
            if self._lines and symbol_of(event) not in self._lines:
                continue
            table = TABLE_NAMES[type(event)]
            sys.stdout.write(
                (json_line(table, event) if self._as_json else event_line(table, event, terminal_width())) + "\n"
            )
            self._has_written = True
            printed += 1
            if printed == count:
                return

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            if self._has_written:
                self._has_written = False
                sys.stdout.flush()

    def _lost(self, severity: Severity, text: str) -> None:
        """State a possible loss at once, and the number of lost events a little later: many losses come together."""
        if severity == "info":
            print_error(text)
        else:
            self._is_losing = True

    async def _state_losses(self, feed: FeedSubscriber) -> None:
        stated = 0
        try:
            while True:
                await asyncio.sleep(_LOSS_S)
                stated = self._state_loss(feed, stated)
        finally:
            self._state_loss(feed, stated)

    def _state_loss(self, feed: FeedSubscriber, stated: int) -> int:
        if self._is_losing:
            self._is_losing = False
            lost = f"{feed.missed - stated:,}" if feed.missed > stated else "some"
            print_error(f"{lost} committed events were lost on the feed, {feed.missed:,} in all: show fewer kinds")
        return feed.missed

    async def _watch(self) -> None:
        """State when the system ends, and when it is there again."""
        was_served = True
        while True:
            await asyncio.sleep(CHECK_S)
            served = is_served(self._address)
            if served != was_served:
                what = "runs again" if served else "does not run any more; its next start is waited for"
                print_error(f"the system ({self._run.runtime}) {what}")
            was_served = served
