"""The common parts of Track A: its sweeps, and its requests between them."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

from bus.producer import Producer
from observer.accounts.clients import RestOfAll
from observer.alerts.process import Alerts
from observer.calendar.phases import DayPlan
from observer.calendar.sessions import SessionRules, Window, windows_of
from observer.clock import Clock
from observer.lines import venue_of
from observer.selection.settings import SelectionSettings
from observer.store.reader import StoreReader
from observer.streaming.settings import TrackASettings


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
        found = windows_of(self.sessions, plan.sessions, "track_a", self.settings.sessions)
        return [window for window in found if window.venue in self.venues]


def elsewhere(lines: Sequence[str], venues: AbstractSet[str], main_venue: str) -> frozenset[str]:
    """The lines of other venues than these."""
    return frozenset(line for line in lines if venue_of(line, main_venue) not in venues)
