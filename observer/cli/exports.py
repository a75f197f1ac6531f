"""`observer exports`: the ledgers' files, made again from the database. The running system writes them by itself."""

from typing import Annotated

import msgspec
import typer

from observer.brokers import PROVIDER
from observer.cli.here import ConfigOption, settings_here
from observer.cli.quality import parsed_day
from observer.errors import DataFileError
from observer.store.exports import Ledgers, ledgers_folder

app = typer.Typer(help="Ledgers of overflow and recovery, as files.", no_args_is_help=True)


@app.callback()
def _exports() -> None:
    """One command so far, and still a group: it is `observer exports rebuild`."""


@app.command()
def rebuild(
    day: Annotated[str, typer.Argument(metavar="DATE", help="The day: 2026-11-18, say.")],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array on stdout.")] = False,
) -> None:
    """Make a day's ledgers anew: byte for byte what the running system wrote, if nobody changed them."""
    settings = settings_here(config)
    ledgers = Ledgers(settings.store.url, ledgers_folder(settings.run.data), PROVIDER)
    try:
        paths = ledgers.rebuild(parsed_day(day))
    except OSError as error:
        raise DataFileError(f"the ledgers cannot be written: {error}") from error
    finally:
        ledgers.close()
    if as_json:
        typer.echo(msgspec.json.encode([str(path) for path in paths]).decode())
        return
    for path in paths:
        typer.echo(str(path))
    if not paths:
        typer.echo("nothing was refused or recovered on that day", err=True)
