"""`observer exports`: rebuilds the ledgers' files from the database. The running system writes them by itself."""

from observer.base.errors import DataFileError
from observer.cli.context import DayArgument, SettingsOption, stored_day
from observer.cli.frame import Answer
from observer.cli.removed import require_hot
from observer.store.days import DayReader
from observer.store.exports import Ledgers, ledgers_folder


def rebuild(day: DayArgument = None, *, settings: SettingsOption) -> Answer:
    """Rebuild the ledger files of a day from the database.

    They are byte for byte those that the running system wrote.
    """
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
    files = [str(path) for path in paths]
    title = f"{asked.title}: {len(paths)} files" if paths else f"nothing was refused or recovered on {asked.title}"
    return Answer({"day": asked.session_date, "files": files}, "\n".join([title, *files]))
