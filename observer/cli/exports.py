"""`observer exports`: rebuilds the ledgers' files from the database. The running system writes them by itself."""

import click

from observer.base.errors import DataFileError
from observer.cli.context import ConfigOption, DayArgument, JsonOption, full_settings, print_json, stored_day
from observer.cli.removed import require_hot
from observer.store.days import DayReader
from observer.store.exports import Ledgers, ledgers_folder


def rebuild(
    day: DayArgument = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the ledger files of a day from the database.

    They are byte for byte those that the running system wrote.
    """
    settings = full_settings(config)
    with DayReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
    require_hot(settings, asked.session_date)
    folder = ledgers_folder(settings.run.data)
    ledgers = Ledgers(settings.store.url, folder, settings.provider, settings.instance.market)
    try:
        paths = ledgers.rebuild(asked.session_date)
    except OSError as error:
        raise DataFileError(f"the ledgers cannot be written: {error}") from error
    finally:
        ledgers.close()
    if as_json:
        print_json({"day": asked.session_date, "files": [str(path) for path in paths]})
        return
    click.echo(f"{asked.title}: {len(paths)} files" if paths else f"nothing was refused or recovered on {asked.title}")
    for path in paths:
        click.echo(str(path))
