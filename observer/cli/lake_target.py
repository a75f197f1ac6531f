"""`observer lake publish`: sealed days are copied to the lake's object store."""

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence

import click
import msgspec

from observer.base.errors import ConfigError, NoDataError
from observer.cli.backup import shown
from observer.cli.context import ConfigOption, DayArgument, JsonOption, asked_day, print_json
from observer.cli.lake import Lake, lake_of
from observer.store.days import DayReader


class PublishedLine(msgspec.Struct, frozen=True):
    """A day that was published, or brought up to date, at the object store."""

    session_date: str
    market: str
    rows: int
    size_bytes: int


def publish_command(day: DayArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Publish sealed days at the object store.

    All days that are not at the target of [lake], or not as they are here; the lake's process does it each day after
    the sealing. Of a named day everything there is read again, and what is damaged is replaced.

    Exit status 1: the object store does not answer or refuses, or another process changes the lake; what was published
    until then stays, and the next publication goes on there.
    """
    lake = lake_of(config)
    again = None
    if day is not None:
        with DayReader(lake.url) as reader:
            again = asked_day(reader, day, lake.settings.run).session_date
        if again not in {each.session_date for each in lake.sealed}:
            raise NoDataError(f"{again} is not sealed in {lake.folder}: see `observer lake status`")
    found = asyncio.run(_publish(lake, again, as_json=as_json))
    if as_json:
        print_json(found)
    else:
        count = len(lake.sealed)
        click.echo(f"{count} sealed days: {len(found)} published now, {count - len(found)} were there")


async def _publish(lake: Lake, again: str | None, *, as_json: bool) -> Sequence[PublishedLine]:
    from observer.archive.target import publish_days

    if (store := lake.open_target()) is None:
        raise ConfigError('no object store is configured: add target = "s3://BUCKET/PREFIX" to [lake]')
    out = None if sys.stdout.isatty() else sys.stdout  # on a terminal, above the line that shows the step

    async def publishing(show: Callable[[str], None], stop: threading.Event) -> Sequence[PublishedLine]:
        def work() -> Sequence[PublishedLine]:
            found = []

            def progress(session_date: str, kind: str) -> None:
                show(f"publishing {session_date}: {kind}")

            for day in publish_days(lake.folder, store, lake.market, stop, progress, again):
                found.append(PublishedLine(day.session_date, day.market, day.rows, day.size_bytes))
                if not as_json:
                    click.echo(f"{day.session_date}: published, {day.rows:,} rows, {day.size_bytes:,} bytes", file=out)
            return found

        return await asyncio.to_thread(work)

    return await shown(publishing, as_json=as_json)
