"""The kinds of data: one row for each kind of event. Its table, its indexes, sealing and removal follow from it.

Without SQLAlchemy: what asks only for names and columns does not load it. A kind's table is `observer.store.tables`,
which takes the columns from the event's fields.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from bus import events
from bus.events import Fact
from observer.base.errors import StoreError

DAY: Final = "session_date"
GAP: Final = "gap_id"
POSITION: Final = ("stream", "sequence")
"""The columns of an event's position."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of event and its table.

    Args:
        name: of the table.
        event: whose fields are the columns.
        order: the columns that order the rows of one symbol.
        day: the column that gives the row's day: `session_date`, a time whose local date is the day, or `gap_id`, by
            which the row belongs to the day of its gap. Empty: its rows belong to no day, and no lake has them.
        known: the time at which the row was known; None where nobody asks.
        indexes: the columns of each index. Each serves a query; tests/conformance/test_store_plans.py explains them. A
            day of all trades is read by its lines, which the index of their groups finds (`observer.store.lines`). A
            kind with a day has an index that begins with it, or with symbol and day: a sealing counts single days.
        removable: there are many rows, and those of an old sealed day may be removed from the database. Rows of the
            other kinds, which say what happened on a day, stay there.
        announcing: its rows state that rows of their day, which may be long past, came with them or in front of them.
    """

    name: str
    event: type[Fact]
    order: tuple[str, ...] = ()
    day: str = DAY
    known: str | None = None
    indexes: tuple[tuple[str, ...], ...] = ()
    removable: bool = False
    announcing: bool = False

    @property
    def is_dated(self) -> bool:
        """Whether a column gives the row's day, or the day of its gap, as a date."""
        return self.day in (DAY, GAP)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of its table."""
        return *POSITION, *self.event.__struct_fields__

    @property
    def has_symbols(self) -> bool:
        """Whether each row is of a line."""
        return "symbol" in self.event.__struct_fields__

    @property
    def is_by_line(self) -> bool:
        """Whether an index finds a line's rows of a day."""
        return any(index[:2] == ("symbol", self.day) for index in self.indexes)


def _of_day(
    name: str,
    event: type[Fact],
    order: str,
    *indexes: str,
    day: str = DAY,
    known: str | None = None,
    removable: bool = False,
    announcing: bool = False,
) -> Kind:
    return Kind(
        name=name,
        event=event,
        order=_names(order),
        day=day,
        known=known,
        indexes=tuple(map(_names, indexes)),
        removable=removable,
        announcing=announcing,
    )


def _by_time(name: str, event: type[Fact], time: str, *indexes: str, removable: bool = False) -> Kind:
    """A kind without a date: the day follows from the time."""
    return _of_day(name, event, time, *indexes, day=time, known=time, removable=removable)


def _undated(name: str, event: type[Fact], *indexes: str) -> Kind:
    return _of_day(name, event, "", *indexes, day="")


def _names(columns: str) -> tuple[str, ...]:
    return tuple(columns.split(", ")) if columns else ()


_ALL: Final = (
    # Many trades have one exchange time; their order is that of the day's volume.
    _of_day(
        "trades",
        events.Trade,
        "exchange_time_ns, cumulative_volume",
        "symbol, session_date",
        known="receive_time_ns",
        removable=True,
    ),
    _of_day(
        "conflated_trades",
        events.TradesConflated,
        "from_ns",
        "symbol, session_date",
        known="receive_time_ns",
        removable=True,
    ),
    _of_day(
        "recovered_minute_bars",
        events.MinuteBarRecovered,
        "minute_start_ns",
        "symbol, minute_start_ns",
        "session_date",
        known="receive_time_ns",
    ),
    _of_day(
        "fetched_minute_bars",
        events.MinuteBarFetched,
        "minute_start_ns",
        "symbol, session_date",
        known="received_ns",
        removable=True,
    ),
    _of_day(
        "bar_fetches",
        events.BarsFetched,
        "received_ns",
        "symbol, session_date",
        "session_date",
        known="received_ns",
        announcing=True,
    ),
    _of_day("bar_checks", events.BarsChecked, "checked_ns", "session_date, symbol"),
    _of_day(
        "order_books", events.OrderBook, "receive_time_ns", "symbol, receive_time_ns", "session_date", removable=True
    ),
    _of_day(
        "expected_prices",
        events.ExpectedPrice,
        "receive_time_ns",
        "symbol, receive_time_ns",
        "session_date",
        removable=True,
    ),
    _by_time("market_states", events.MarketStateChanged, "receive_time_ns", "symbol, receive_time_ns"),
    _by_time("navs", events.NavObserved, "receive_time_ns", "symbol, receive_time_ns", removable=True),
    _of_day(
        "snapshots",
        events.Snapshot,
        "receive_time_ns",
        "symbol, session_date",
        "session_date, receive_time_ns",
        known="receive_time_ns",
        removable=True,
    ),
    _of_day("sweeps", events.SweepCompleted, "started_ns", "session_date", known="completed_ns"),
    _of_day(
        "volume_rises",
        events.VolumeRise,
        "receive_time_ns",
        "symbol, receive_time_ns",
        "session_date, receive_time_ns",
        removable=True,
    ),
    _of_day("attentions", events.AttentionCompleted, "started_ns", "session_date"),
    _of_day("daily_bars", events.DailyBar, "", "symbol, session_date", "session_date"),
    _by_time("sampling_changes", events.SamplingChanged, "changed_ns", "changed_ns"),
    _of_day("universes", events.UniverseBuilt, "built_ns", "session_date, market", known="built_ns"),
    _of_day("universe_members", events.UniverseMember, "rank", "exchange, symbol", "session_date"),
    _of_day("venue_eligibility", events.VenueEligibility, "observed_ns", "session_date"),
    _of_day("share_adjustments", events.SharesAdjusted, "", "session_date"),
    _of_day("context_syncs", events.ContextSynced, "synced_ns", "session_date"),
    _by_time("triggers", events.TriggerFired, "fired_ns", "fired_ns", "symbol, fired_ns"),
    _by_time("trigger_ends", events.TriggerEnded, "ended_ns", "ended_ns"),
    _by_time("slot_assignments", events.SlotAssigned, "assigned_ns", "assigned_ns", "symbol, assigned_ns"),
    _by_time("slot_extensions", events.SlotExtended, "extended_ns", "extended_ns"),
    _by_time("slot_releases", events.SlotReleased, "released_ns", "released_ns"),
    _by_time("slot_overflows", events.SlotOverflowed, "overflowed_ns", "overflowed_ns"),
    _by_time("churn_guard_changes", events.ChurnGuardChanged, "changed_ns", "changed_ns"),
    _of_day("selection_steps", events.SelectionAdvanced, "advanced_ns", "session_date", known="advanced_ns"),
    _of_day("watch_changes", events.WatchChanged, "changed_ns", "session_date", known="changed_ns"),
    _of_day("gap_openings", events.GapOpened, "from_ns", "gap_id", "session_date", known="opened_ns"),
    _of_day("empty_gaps", events.GapEmpty, "from_ns", "gap_id", "session_date", known="closed_ns"),
    _of_day("gaps", events.GapDetected, "from_ns", "gap_id", "session_date", known="detected_ns"),
    _of_day(
        "gap_recoveries", events.GapRecovered, "recovered_ns", "gap_id", day=GAP, known="recovered_ns", announcing=True
    ),
    _of_day(
        "gap_losses", events.GapUnrecoverable, "decided_ns", "gap_id", day=GAP, known="decided_ns", announcing=True
    ),
    _of_day("gap_times", events.GapTimesMeasured, "measured_ns", "session_date", known="measured_ns"),
    _of_day("reconciliations", events.ReconciliationResult, "from_ns", "session_date, symbol", known="checked_ns"),
    _of_day("quality", events.QualityJudged, "judged_ns", "session_date, symbol", known="judged_ns"),
    _by_time("connections", events.ConnectionChanged, "changed_ns", "changed_ns"),
    _of_day("phases", events.PhaseChanged, "changed_ns", "session_date, current", known="changed_ns"),
    _of_day("etf_lists", events.EtfListed, "listed_ns", "session_date", "symbol, session_date", known="listed_ns"),
    _of_day("etf_values", events.EtfValued, "valued_ns", "symbol, session_date", "valued_ns"),
    _of_day("etf_nav_days", events.EtfNavDay, "received_ns", "symbol, session_date", "session_date"),
    _of_day("etf_measures", events.EtfMeasured, "measured_ns", "symbol, session_date"),
    _of_day("etf_ranges", events.EtfRangeFound, "found_ns", "symbol, session_date"),
    _of_day("etf_jobs", events.EtfJobEnded, "ended_ns", "job, ended_ns", "session_date"),
    _of_day("tape_pages", events.TapePage, "fetched_ns", "session_date, symbol", known="fetched_ns", removable=True),
    _of_day(
        "tape_progress", events.TapeProgressed, "progressed_ns", "session_date, progressed_ns", known="progressed_ns"
    ),
    _of_day("tape_reports", events.TapeJudged, "judged_ns", "session_date, symbol", known="judged_ns"),
    _undated("master_file_checks", events.MasterFileChecked, "exchange, checked_ns", "checked_ns", "run"),
    _undated("listing_changes", events.ListingChanged, "symbol, exchange", "changed_ns", "isin"),
    _undated("token_renewals", events.TokenRenewed),
    _undated("account_checks", events.AccountChecked),
    _undated("process_changes", events.ProcessChanged, "changed_ns"),
    _undated("alerts", events.AlertRaised, "source, identity, raised_ns", "job, raised_ns"),
    _undated("alert_repetitions", events.AlertRepeated, "source, identity, repeated_ns"),
    _undated("alert_resolutions", events.AlertResolved, "source, identity, resolved_ns"),
    _undated("backups", events.BackupCompleted),
    _undated("sector_assignments", events.SectorAssigned, "exchange, symbol, assigned_ns"),
    _undated("enrichments", events.EnrichmentCompleted, "region, completed_ns"),
    _undated("quarantined_inputs", events.InputQuarantined, "quarantined_ns"),
    _undated("master_file_approvals", events.MasterFileApproved, "run"),
    _undated("listing_values", events.ListingValued, "exchange, symbol, valued_ns"),
    _undated("volume_profiles", events.VolumeProfiled, "session_date, symbol"),
)

BY_EVENT: Final[Mapping[type[Fact], Kind]] = {kind.event: kind for kind in _ALL}
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _ALL if kind.day}
"""By name the kinds whose rows belong to a day, which the lake takes."""
REMOVABLE: Final = frozenset(kind.name for kind in _ALL if kind.removable)
ANNOUNCING: Final = tuple(kind.name for kind in _ALL if kind.announcing)
TABLE_NAMES: Final[Mapping[type[Fact], str]] = {kind.event: kind.name for kind in _ALL}


def kind_named(name: str) -> Kind:
    """The kind of a day's rows with this name.

    Raises:
        StoreError: there is no such kind.
    """
    if name not in KINDS:
        raise StoreError(f"there is no kind of data {name!r}: give one of {', '.join(KINDS)}")
    return KINDS[name]
