"""Reads from the database before streaming starts: data of earlier days, and the last accounted trades of an earlier
process of the same day.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bus.events import (
    DayBegan,
    Event,
    RiseApplied,
    SelectionAdvanced,
    SlotAssigned,
    Snapshot,
    SweepCompleted,
    UniverseEvaluated,
    VolumeRise,
)
from observer.base.errors import StoreError
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.calendar.phases import DayPlan
from observer.collection.unreadable import QUARANTINE_UNCOUNTED, UnreadableInputs
from observer.gaps.detector import Mark
from observer.monitoring.alerts.process import Alerts
from observer.selection.profile import EarlierDays, profiles_of
from observer.selection.settings import RULES, DaySettings, SelectionSettings
from observer.store.reader import StoreReader
from observer.store.slots import day_bounds
from observer.store.universes import StoredUniverse

COUNT_AGAIN_S: Final = 10.0  # machine seconds


def began(settings: DaySettings, universe: StoredUniverse | None, *, has_usual_hours: bool) -> DayBegan:
    """The day's first step with this universe, without any snapshot."""
    built = universe.built if universe is not None else None
    return DayBegan(
        universe=built.session_date if built is not None else "",
        built_ns=built.built_ns if built is not None else None,
        has_usual_hours=has_usual_hours,
        knows_earlier_days=True,
        snapshots=0,
        settings_digest=settings.digest,
        settings=settings.document,
        accounts=settings.accounts,
        allocation_strategy=settings.allocation_strategy,
        sweep_interval_s=settings.sweep_interval_s,
        rules=RULES,
    )


def earlier_days(
    reader: StoreReader, session_date: str, midnight_ns: int, settings: SelectionSettings, step: DayBegan
) -> EarlierDays:
    """Stored data of earlier days, in the shares of the day's universe. A day of unusual hours has no volume profile.

    Raises:
        StoreError: the database does not answer.
    """
    if not step.knows_earlier_days:
        return EarlierDays(midnight_ns=midnight_ns)
    profile = settings.triggers.time_of_day
    rows, trade_volumes = reader.earlier_days(session_date, profile.days, step.universe)
    profiles = profiles_of(rows, profile) if profile.enabled and step.has_usual_hours else {}
    return EarlierDays(midnight_ns=midnight_ns, profiles=profiles, trade_volumes=trade_volumes)


class Begun(msgspec.Struct, frozen=True):
    """The first step of a process, the data of earlier days, and why these are empty after a failure."""

    step: DayBegan
    earlier: EarlierDays
    failure: str = ""


async def earlier_in_time(
    reader: StoreReader, plan: DayPlan, settings: DaySettings, universe: StoredUniverse | None, limit_s: float
) -> Begun:
    """The data of earlier days; empty if reading takes longer than this limit in machine seconds: triggers then use
    daily bars alone.
    """
    day = (plan.day.isoformat(), plan.starts_ns, settings.selection)
    step = began(settings, universe, has_usual_hours=plan.has_usual_hours)
    try:
        async with asyncio.timeout(limit_s):
            return Begun(step, await asyncio.to_thread(earlier_days, reader, *day, step))
    except (StoreError, TimeoutError) as error:
        failure = f"triggers compare with no earlier days: {error or f'not read within {limit_s:g} s'}"
        without = msgspec.structs.replace(step, knows_earlier_days=False)
        return Begun(without, earlier_days(reader, *day, without), failure)


def state_failure(alerts: Alerts, identity: str, failure: str, over: str) -> None:
    """Report that the data of this alert are not read, or resolve it; `failure` is empty where they are read."""
    if failure:
        alerts.report(identity, "warning", failure)
    else:
        alerts.resolve(identity, over)


async def opening_in_time(reader: StoreReader, plan: DayPlan, limit_s: float) -> tuple[Sequence[Snapshot], str]:
    """The opening's snapshots of Track A, oldest first. If reading takes longer than this limit in machine seconds:
    none, and the reason; the largest symbols then get the first slots.
    """
    day = (plan.day.isoformat(), plan.track_a_start_ns, plan.track_b_start_ns)
    try:
        async with asyncio.timeout(limit_s):
            return await asyncio.to_thread(reader.snapshots, *day), ""
    except (StoreError, TimeoutError) as error:
        return [], f"Track B starts without context: {error or f'not read within {limit_s:g} s'}"


def marks_of(
    reader: StoreReader, session_date: str, assigned: Sequence[SlotAssigned], snapshots: Iterable[Snapshot]
) -> Iterable[Mark]:
    """The last stored trade of each symbol in its slot. Without one, the last mark before its assignment: the reported
    gap is then too wide, but not missed.

    Args:
        reader: the database.
        session_date: the day.
        assigned: the slots that the earlier process had assigned.
        snapshots: Track A's of the day, oldest first.
    """
    since_ns = {slot.symbol: slot.assigned_ns for slot in assigned}
    before = {
        seen.symbol: Mark(seen.symbol, session_date, seen.cumulative_volume, None, seen.receive_time_ns)
        for seen in snapshots
        if seen.receive_time_ns < since_ns.get(seen.symbol, 0)
    }
    stored = reader.last_marks(session_date, list(since_ns))
    accounted = reader.last_accounts(session_date)  # a gap that only the exchange's volume showed ends there
    for symbol in since_ns:
        if (last := stored.get(symbol)) is not None:
            mark = Mark(symbol, session_date, last.cumulative_volume, last.cumulative_trades, last.exchange_time_ns)
            known = accounted.get(symbol)
            if known is not None and known.exchange_time_ns > mark.exchange_time_ns:
                seen = Mark(symbol, session_date, known.cumulative_volume, None, known.exchange_time_ns)
                mark = max(mark, seen, key=lambda each: each.cumulative_volume)
            earlier = before.get(symbol, mark)  # may be from an earlier slot interval, and older than the snapshot
            yield mark if mark.cumulative_volume >= earlier.cumulative_volume else earlier
        elif symbol in before:
            yield before[symbol]


async def count_quarantine(
    reader: StoreReader, unreadable: UnreadableInputs, alerts: Alerts, until_ns: int, again_s: float = COUNT_AGAIN_S
) -> None:
    """Count what an earlier process of this day put into quarantine before `until_ns`; the stream does not wait for it.
    While the database does not answer, the bound of the day's quarantine counts this process alone: an alert, and the
    question is repeated after `again_s` machine seconds.
    """
    since_ns, _ = day_bounds(local_datetime(until_ns).date().isoformat())
    while True:
        try:
            stored = await asyncio.to_thread(reader.quarantined_input_bytes, since_ns, until_ns)
        except StoreError as error:
            text = f"the bound of the day's quarantine does not count an earlier process's inputs yet: {error}"
            alerts.report(QUARANTINE_UNCOUNTED, "warning", text)
        else:
            alerts.resolve(QUARANTINE_UNCOUNTED, "the day's quarantine is counted")
            return unreadable.resume(stored)
        await asyncio.sleep(again_s)


# --- missed ---
#
# What Track A stored while no process of Track B ran: the last sweep, and the volume rises after it.

ON_THE_WAY_NS: Final = 60 * NS_PER_S
"""Market time from a rise's answer to its step: one so much older than the last step has been evaluated."""


class LastEvaluated(msgspec.Struct, frozen=True):
    """The progress of an earlier process of the day: the end of its last evaluated sweep, the time of its last step
    (UTC ns), and its evaluated rises by symbol and time.
    """

    sweep_ns: int
    step_ns: int
    rises: frozenset[tuple[str, int]]


def last_evaluated(reported: Iterable[Event], track_b_start_ns: int) -> LastEvaluated:
    """Return the progress of the process that published these events."""
    steps = [event for event in reported if isinstance(event, SelectionAdvanced)]
    sweeps = (each.step.completed_ns for each in steps if isinstance(each.step, UniverseEvaluated))
    rises = ((each.step.symbol, each.step.received_ns) for each in steps if isinstance(each.step, RiseApplied))
    last_step_ns = max((each.advanced_ns for each in steps), default=track_b_start_ns)
    return LastEvaluated(max(sweeps, default=track_b_start_ns - 1), last_step_ns, frozenset(rises))


def missed_since(
    reader: StoreReader, session_date: str, last: LastEvaluated
) -> tuple[SweepCompleted | None, Sequence[VolumeRise]]:
    """The last sweep, if it was not evaluated, and the rises that were not, oldest first. A sweep knows more of a
    symbol than an older rise, which then decides nothing.

    Raises:
        StoreError: the database does not answer.
    """
    sweep = reader.last_sweep(session_date)
    rises = reader.volume_rises(session_date, last.step_ns - ON_THE_WAY_NS)
    missed = [rise for rise in rises if (rise.symbol, rise.receive_time_ns) not in last.rises]
    return (sweep if sweep is not None and sweep.completed_ns > last.sweep_ns else None), missed
