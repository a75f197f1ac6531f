"""What Track A stored while no process of Track B ran: the last sweep, and the volume rises after it."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bus.events import Event, RiseApplied, SelectionAdvanced, SweepCompleted, UniverseEvaluated, VolumeRise
from observer.base.units import NS_PER_S
from observer.store.reader import StoreReader

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
