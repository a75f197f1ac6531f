"""Days whose rows were removed from the database ([store] keep_days): commands that need them refuse, and say why."""

from collections.abc import Sequence
from pathlib import Path

from observer.archive.day import SealedDay, readable_days
from observer.archive.settings import LakeSettings
from observer.base.errors import DataFileError, NoDataError
from observer.system.config import Settings


def folder_of_lake(settings: Settings) -> Path:
    """The lake's folder, also where [lake] was taken out of the configuration; it need not be there."""
    return (settings.lake or LakeSettings()).folder_in(settings.run.data)


def days_of_lake(settings: Settings) -> Sequence[SealedDay]:
    """The sealed days of the instance's market whose manifest can be read, by date; also where [lake] was taken out of
    the configuration.
    """
    return [day for day in readable_days(folder_of_lake(settings))[0] if day.market == settings.instance.market]


def require_hot(settings: Settings, session_date: str, before: int = 0) -> None:
    """Return if the database has to have the rows of this day, and of so many sealed days before it.

    Raises:
        NoDataError: it has not; the text names what reads them.
        DataFileError: the manifest of one of these days cannot be read, so it is not known.
    """
    until = [day for day in days_of_lake(settings) if day.session_date <= session_date]
    oldest = until[-before - 1 :][0].session_date if before and until else session_date
    for date, text in readable_days(folder_of_lake(settings))[1].items():
        if oldest <= date <= session_date:
            raise DataFileError(text)
    for day in until:
        if day.removed and day.session_date >= oldest:
            raise NoDataError(
                f"the rows of {day.session_date} were removed from the database ([store] keep_days): only the lake has "
                f"them; `observer bars`, `observer query` and `observer export {day.session_date}` read them there"
            )
