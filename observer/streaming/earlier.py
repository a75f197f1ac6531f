"""What the database tells of earlier days, as the selection compares a day with them."""

from observer.selection.profile import EarlierDays, profiles_of
from observer.selection.settings import SelectionSettings
from observer.store.reader import StoreReader


def earlier_days(
    reader: StoreReader, session_date: str, midnight_ns: int, settings: SelectionSettings, *, has_usual_hours: bool
) -> EarlierDays:
    """What is stored of earlier days; a day of unusual hours has no time of day to compare with.

    Raises:
        StoreError: the database does not answer.
    """
    profile = settings.triggers.time_of_day
    rows, trade_volumes = reader.earlier_days(session_date, profile.days)
    profiles = profiles_of(rows, profile) if profile.enabled and has_usual_hours else {}
    return EarlierDays(midnight_ns=midnight_ns, profiles=profiles, trade_volumes=trade_volumes)
