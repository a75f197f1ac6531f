"""A demo day's result: one struct, its table, its JSON, and its success."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bus.commands import StatusReply
from bus.events import Trade
from bus.segments import published_by_stream
from observer.base.units import NS_PER_S
from observer.demo.day import OUTBOXES
from observer.demo.ledger import of_line, overstated, read_ledger
from observer.simulator.market.market import Market, OfferedTrade
from observer.simulator.market.sessions import Venue
from observer.store.reader import StoreReader
from observer.store.summary import DaySummary

_DAY_S = 24 * 3600


class SlotCounts(msgspec.Struct, frozen=True):
    """Slots assigned, of these taken from another symbol, released, and refused."""

    allocated: int
    replaced: int
    released: int
    overflow: int


class GapCounts(msgspec.Struct, frozen=True):
    """Gaps detected, recovered (of these as minute bars only, without their trades), and given up."""

    found: int
    recovered: int
    recovered_as_bars: int
    unrecoverable: int


class ListingCounts(msgspec.Struct, frozen=True):
    """Listings that appeared and vanished after the first import."""

    new: int
    removed: int


class VenueCounts(msgspec.Struct, frozen=True):
    """A venue's day in the lines of the universe: the shares and the value of the market by the exchange's cumulative
    figures of the sweeps, their part outside the regular session (0 to 1, of the value), the shares traded while
    their lines had slots, and those stored trade by trade.
    """

    shares: float
    value: float
    outside_regular: float
    shares_in_slots: float
    shares_stored: float


class DemoSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of `observer demo --json`.

    `trades` counts streamed and recovered trades, `trades_offered` those that equal a trade of the simulated market;
    `duplicates` counts surplus rows in the database, `redelivered` repeated events that were dropped. `quality_reports`
    should be as many as `symbols_with_slot`; `overstated` of them are better than the truth by the broker's ledger
    (None: the day ended without one). `by_session` counts these trades by venue and session of the simulated market;
    `venues` compares the volume of each venue with what is stored of it.
    """

    universe: int
    sweeps: int
    snapshots: int
    trades: int
    trades_recovered: int
    trades_offered: int
    triggers: Mapping[str, int]
    slots: SlotCounts
    gaps: GapCounts
    listings: ListingCounts
    symbols_with_slot: int
    quality_reports: int
    overstated: int | None
    events_published: int
    events_stored: int
    duplicates: int
    redelivered: int
    quarantined: int
    restarts: int
    processes: Mapping[str, str]
    market_digest: str
    wall_s: float
    database: str
    interrupted: bool
    by_session: Mapping[str, Mapping[str, int]] = {}
    venues: Mapping[str, VenueCounts] = {}

    @property
    def succeeded(self) -> bool:
        """Whether every published event is stored once, every stored trade was offered, each symbol that had a slot has
        a quality report no better than the truth, and every process ended as requested. A day without a universe, a
        sweep or a trade is no success: its empty counts agree trivially.
        """
        return (
            not self.interrupted
            and min(self.universe, self.sweeps, self.trades) > 0
            and self.events_published == self.events_stored
            and self.duplicates == 0
            and self.trades == self.trades_offered
            and self.is_judged
            and self.overstated == 0
            and all(state == "STOPPED" for state in self.processes.values())
        )

    @property
    def is_judged(self) -> bool:
        """Whether each symbol that had a slot has its quality report."""
        return self.quality_reports == self.symbols_with_slot > 0


def summarise(
    reader: StoreReader,
    market: Market,
    folder: Path,
    final: StatusReply,
    *,
    session_date: str,
    final_ns: int,
    wall_s: float,
    database: str,
    interrupted: bool,
) -> DemoSummary:
    """Count stored events from the database and published events from the producers' files in the demo's folder, where
    the broker's ledger is kept, too. `final_ns` is the market time of the day's end.
    """
    ledger = read_ledger(folder / "data")
    day, found = reader.day_summary(session_date), _offered(reader, market, session_date)
    return DemoSummary(
        universe=day.universe,
        sweeps=day.sweeps,
        snapshots=day.snapshots,
        trades=day.trades + day.recovered_trades,
        trades_recovered=day.recovered_trades,
        trades_offered=sum(sum(counts.values()) for counts in found.sessions.values()),
        triggers=day.triggers,
        slots=SlotCounts(day.slots_allocated, day.slots_replaced, day.slots_released, day.slots_overflow),
        gaps=GapCounts(day.gaps_found, day.gaps_recovered, day.gaps_recovered_as_bars, day.gaps_unrecoverable),
        listings=ListingCounts(day.listings_new, day.listings_removed),
        symbols_with_slot=len(reader.stream_times(session_date, final_ns)),
        quality_reports=len(reader.quality(session_date)),
        overstated=None if ledger is None else len(overstated(reader, market, ledger, session_date, final_ns)),
        events_published=sum(sum(published_by_stream(path).values()) for path in (folder / "run" / OUTBOXES).iterdir()),
        events_stored=reader.total_rows(),
        duplicates=reader.duplicate_trades(session_date),
        redelivered=sum(stream.duplicates for stream in reader.streams()),
        quarantined=_quarantined(day),
        restarts=sum(process.restarts for process in final.processes),
        processes={process.name: process.state for process in final.processes},
        market_digest=market.offered_digest(),
        wall_s=round(wall_s, 1),
        database=database,
        interrupted=interrupted,
        by_session=found.sessions,
        venues={venue: _venue(reader, market, session_date, venue, found) for venue in market.venues},
    )


def _venue(reader: StoreReader, market: Market, session_date: str, venue: Venue, found: "Offered") -> VenueCounts:
    """A venue's day by its sweeps, its quality reports and the stored trades."""
    sessions = market.sessions(venue)
    [regular] = [each for each in sessions if each.name == "regular"]
    following_s = next((each.start_s for each in sessions if each.name == "after"), _DAY_S)
    bounds_ns = tuple(market.midnight_ns + second * NS_PER_S for second in (regular.start_s, following_s))
    swept = reader.swept_volume(session_date, venue, (bounds_ns[0], bounds_ns[1]))
    stored = found.volumes.get(venue, 0.0)
    reports = [report for report in reader.quality(session_date) if report.venue == venue]
    return VenueCounts(
        shares=swept.shares,
        value=swept.value,
        outside_regular=swept.outside_value / swept.value if swept.value else 0.0,
        shares_in_slots=stored + sum(report.conflated_volume + report.missing_volume for report in reports),
        shares_stored=stored,
    )


def _quarantined(day: DaySummary) -> int:
    return day.quarantined_inputs + day.quarantined_events


class Offered(msgspec.Struct):
    """Stored trades that equal trades which the market offered: their count by venue and session, shares by venue."""

    sessions: dict[str, dict[str, int]] = {}
    volumes: dict[str, float] = {}


def _offered(reader: StoreReader, market: Market, session_date: str) -> Offered:
    """Compare each stored trade with its line's trades in the market."""
    offered: dict[float, OfferedTrade] = {}
    line, found = "", Offered()
    for trade in reader.trades(session_date):
        if trade.symbol != line:
            line = trade.symbol
            offered = {float(each.cumulative_volume): each for each in of_line(market, line)}
        twin = offered.get(trade.cumulative_volume)
        if twin is not None and is_unaltered(trade, twin):
            counts = found.sessions.setdefault(twin.venue, {})
            counts[twin.session] = counts.get(twin.session, 0) + 1
            found.volumes[twin.venue] = found.volumes.get(twin.venue, 0.0) + trade.volume
    return found


def is_unaltered(stored: Trade, offered: OfferedTrade) -> bool:
    """Whether a stored trade equals the offered one in all fields that its source reports.

    The wire has whole seconds; time-and-sales, the source of recovered trades, has no counts and no aggressor.
    """
    second_ns = offered.exchange_time_ns // NS_PER_S * NS_PER_S
    reported = (stored.exchange_time_ns, stored.price, stored.volume) == (second_ns, offered.price, offered.volume)
    if stored.gap_id is not None:
        return reported
    count = offered.cumulative_sells + offered.cumulative_buys
    return reported and (stored.cumulative_trades, stored.side) == (count, offered.side)


def summary_rows(summary: DemoSummary) -> Sequence[tuple[str, str]]:
    """The summary's table rows: label and count."""
    triggers = ", ".join(f"{kind} {count:,}" for kind, count in sorted(summary.triggers.items())) or "none"
    slots, gaps = summary.slots, summary.gaps
    trades = gaps.recovered - gaps.recovered_as_bars
    overstated = "not compared" if summary.overstated is None else f"{summary.overstated:,}"
    reports = f"{summary.quality_reports:,} ({overstated})"
    ended = (("ended early", "by ctrl-C, or before the close"),) if summary.interrupted else ()
    return (
        *ended,
        ("symbols in the universe", f"{summary.universe:,}"),
        ("sweeps / snapshots", f"{summary.sweeps:,} / {summary.snapshots:,}"),
        ("trades (of them recovered)", f"{summary.trades:,} ({summary.trades_recovered:,})"),
        ("stored as the market offered", f"{summary.trades_offered:,} of {summary.trades:,} trades"),
        *_venue_rows(summary),
        ("triggers", triggers),
        ("slots", f"{slots.allocated:,} allocated, {slots.replaced:,} replaced, {slots.released:,} released"),
        ("overflowed", f"{slots.overflow:,}"),
        ("gaps found / unrecoverable", f"{gaps.found:,} / {gaps.unrecoverable:,}"),
        ("gaps filled with trades / bars", f"{trades:,} / {gaps.recovered_as_bars:,}"),
        ("listings", f"{summary.listings.new:,} new, {summary.listings.removed:,} removed"),
        ("quality reports (overstated)", f"{reports} of {summary.symbols_with_slot:,} symbols with a slot"),
        ("restarts", f"{summary.restarts:,}"),
        ("events published / stored", f"{summary.events_published:,} / {summary.events_stored:,}"),
        ("duplicate rows / redelivered", f"{summary.duplicates:,} / {summary.redelivered:,}"),
        ("in quarantine", f"{summary.quarantined:,}"),
        ("market digest", summary.market_digest[:16]),
        ("wall time", f"{summary.wall_s:.1f} s"),
    )


def _venue_rows(summary: DemoSummary) -> Iterator[tuple[str, str]]:
    """Rows for the venues, if there are several: their volumes, those in slots and stored, trades by session."""
    if len(summary.venues) < 2:
        return
    main = next(iter(summary.venues))
    for venue, found in summary.venues.items():
        of_main = f" ({found.value / summary.venues[main].value:.0%} of {main}'s value)" if venue != main else ""
        yield (
            f"{venue}{of_main}",
            f"{found.shares:,.0f} shares, {found.outside_regular:.0%} outside regular hours",
        )
        shares = (found.shares_in_slots, found.shares_stored)
        parts = (f"{count:,.0f} ({count / max(found.shares, 1):.0%})" for count in shares)
        yield f"{venue} in slots / stored", " / ".join(parts)
        sessions = summary.by_session.get(venue, {})
        counts = (f"{session.removeprefix('closing_')} {count:,}" for session, count in sessions.items())
        yield f"{venue} trades stored", ", ".join(counts) or "none"
