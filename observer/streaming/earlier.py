"""What the database tells of earlier days, as the selection compares a day with them."""

import asyncio

import msgspec

from observer.errors import StoreError
from observer.schedule.phases import DayPlan
from observer.selection.profile import EarlierDays, profiles_of
from observer.selection.settings import SelectionSettings
from observer.store.reader import StoreReader
from observer.store.universes import Universe
from observer.streaming.steps import Beginning


def earlier_days(
    reader: StoreReader, session_date: str, midnight_ns: int, settings: SelectionSettings, beginning: Beginning
) -> EarlierDays:
    """What is stored of earlier days, in the shares that the day's universe knew of; a day of unusual hours has no time
    of day to compare with.

    Raises:
        StoreError: the database does not answer.
    """
    if not beginning.knows_earlier_days:
        return EarlierDays(midnight_ns=midnight_ns)
    profile = settings.triggers.time_of_day
    rows, trade_volumes = reader.earlier_days(session_date, profile.days, beginning.universe)
    profiles = profiles_of(rows, profile) if profile.enabled and beginning.has_usual_hours else {}
    return EarlierDays(midnight_ns=midnight_ns, profiles=profiles, trade_volumes=trade_volumes)


class Begun(msgspec.Struct, frozen=True):
    """What a process begins with, what it knows of earlier days, and why that is nothing where it failed."""

    beginning: Beginning
    earlier: EarlierDays
    failure: str = ""


async def earlier_in_time(
    reader: StoreReader, plan: DayPlan, settings: SelectionSettings, universe: Universe | None, limit_s: float
) -> Begun:
    """What earlier days tell; nothing when it cannot be had in so many machine seconds: then the day is compared with
    daily bars alone.
    """
    day = (plan.day.isoformat(), plan.starts_ns, settings)
    date, built_ns = (universe.built.session_date, universe.built.built_ns) if universe is not None else ("", None)
    beginning = Beginning(date, built_ns, plan.has_usual_hours, knows_earlier_days=True)
    try:
        async with asyncio.timeout(limit_s):
            return Begun(beginning, await asyncio.to_thread(earlier_days, reader, *day, beginning))
    except (StoreError, TimeoutError) as error:
        failure = f"Track B compares with no earlier days: {error or f'not read within {limit_s:g} s'}"
        without = msgspec.structs.replace(beginning, knows_earlier_days=False)
        return Begun(without, earlier_days(reader, *day, without), failure)
