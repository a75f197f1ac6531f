"""`observer lake forget`: a day whose files and copies are lost is not looked for any more."""

import click

from observer.cli.context import ConfigOption, DayArgument
from observer.cli.lake import finished_day, lake_of
from observer.errors import DataFileError
from observer.lake.layout import forget_day, sealed_day


def forget_command(day: DayArgument, config: ConfigOption = None) -> None:
    """End the search for a day whose files are lost.

    The lake's process and `observer lake seal --all` pass over the day then, and the alert ends with the next sealing.
    What the database has of it stays. Once its files are back, it is a sealed day again.
    """
    from observer.store.sealing import SealingReader

    lake = lake_of(config)
    asked = finished_day(lake, day)
    with SealingReader(lake.url) as reader:
        if sealed_day(lake.folder, lake.market, asked) is not None or not reader.lacks_snapshots(asked):
            raise DataFileError(f"{asked} is not lost: `observer lake seal {asked}`")
    forget_day(lake.folder, lake.market, asked)
    click.echo(f"{asked}: its files are lost; what the database has of it stays there")
