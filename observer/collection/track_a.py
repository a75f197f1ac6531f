"""The common parts of Track A: sweeps, and requests between sweeps."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.lines import venue_of
from observer.base.units import NS_PER_S
from observer.brokers.accounts.clients import RestOfAll
from observer.calendar.phases import DayPlan
from observer.calendar.sessions import SessionRules, Window, windows_of
from observer.collection.settings import TrackASettings
from observer.collection.sweep_times import Sweep, sweeps_of
from observer.monitoring.alerts.process import Alerts
from observer.selection.settings import SelectionSettings
from observer.store.reader import StoreReader


class TrackAParts(msgspec.Struct, frozen=True, kw_only=True):
    """What Track A works with. `venues` are those of the universe, the main one first; `sessions` are the rules with
    the profiles that `settings.sessions` names; `calls_per_second` is the limit of one account.
    """

    settings: TrackASettings
    selection: SelectionSettings
    provider: str
    venues: Sequence[str]
    sessions: SessionRules
    calls_per_second: float
    rest: RestOfAll
    reader: StoreReader
    producer: Producer
    clock: Clock
    alerts: Alerts

    @property
    def main_venue(self) -> str:
        """The venue of the symbols without a venue in their id."""
        return self.venues[0]

    def windows(self, plan: DayPlan) -> Sequence[Window]:
        """What is collected of the universe's venues on a day."""
        return _windows(plan, self.settings, self.sessions, self.venues)


def sweeps_on(
    plan: DayPlan, settings: TrackASettings, sessions: SessionRules, venues: Sequence[str]
) -> Sequence[Sweep]:
    """The sweeps of a day; `sessions` and `venues` as in TrackAParts."""
    interval_ns = round(settings.interval_s * NS_PER_S)
    return sweeps_of(plan, _windows(plan, settings, sessions, venues), interval_ns, venues[0])


def _windows(
    plan: DayPlan, settings: TrackASettings, sessions: SessionRules, venues: Sequence[str]
) -> Sequence[Window]:
    found = windows_of(sessions, plan.sessions, "track_a", settings.sessions)
    return [window for window in found if window.venue in venues]


def elsewhere(lines: Sequence[str], venues: AbstractSet[str], main_venue: str) -> frozenset[str]:
    """The lines whose venue is not among `venues`."""
    return frozenset(line for line in lines if venue_of(line, main_venue) not in venues)
