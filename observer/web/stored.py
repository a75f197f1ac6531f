"""What the database and the disk give to a state: the running day before the feed, a past day, and slow figures."""

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from bus.events import Event, GapRecovered, GapUnrecoverable, ListingChanged, MasterFileChecked
from observer.archive.backup.manifest import moment_in
from observer.archive.backup.package import newest_packages
from observer.base.errors import NoDataError
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.brokers.accounts.clients import capacity_of
from observer.calendar.day_file import read_trading_days
from observer.calendar.phases import DayPlan, plan
from observer.calendar.trading_day import TradingDay
from observer.reference.listings.kinds import kind_of
from observer.reference.sectors.model import EXCHANGES
from observer.store.alerts import AlertReader
from observer.store.etf import EtfReader
from observer.store.sectors import SectorReader
from observer.store.slots import day_bounds
from observer.store.summary import DaySummary
from observer.system.config import Settings
from observer.system.figures import storage_of
from observer.web.model import Backup, Backups, Listing, Listings, PendingFile, Storage
from observer.web.state_day import DayBasis, DayFold
from observer.web.state_system import local_time

LISTINGS_DAYS: Final = 30
VALUES_DAYS: Final = 7  # before the running day: until its own values are there, those of the last session show
LISTINGS_MAX: Final = 200
TOKENS_OWNER: Final = "accounts"


class PageReader(EtfReader, SectorReader, AlertReader):
    """All subjects of the page over one pool of connections; it adds no query."""


def read_basis(reader: PageReader, settings: Settings, day: str) -> DayBasis:
    """What stands for the whole day."""
    begins_ns, ends_ns = day_bounds(day)
    universe = reader.universe_in_force(day, settings.instance.market, ends_ns)
    members = universe.members if universe is not None else ()
    exchanges = {member.exchange for member in members}
    regions = [region for region, names in EXCHANGES.items() if exchanges.intersection(names)]
    return DayBasis(
        session_date=day,
        begins_ns=begins_ns,
        capacities={each.account_id: capacity_of(settings.clients, each) for each in settings.pool.by_priority},
        members=members,
        built_ns=universe.built.built_ns if universe is not None else 0,
        sectors={
            (each.exchange, each.symbol): each.sector
            for region in regions
            for each in reader.assignments(region)
            if each.sector is not None
        },
        etf_names={symbol: etf.name for symbol, etf in reader.etfs().items()},
        has_tape=settings.tape is not None and settings.tape.share_of_limit > 0,
    )


def read_day(reader: PageReader, settings: Settings, day: str, *, is_past: bool = False) -> DayFold:
    """The day's state as far as it is stored.

    Raises:
        StoreError: the database does not answer.
    """
    fold = DayFold(read_basis(reader, settings, day), is_past=is_past)
    for seen in reader.price_snapshots(day):
        fold.prices.see_snapshot(*seen)
    for event in _events(reader, day, is_past=is_past):
        fold.apply(event)
    return fold


def _events(reader: PageReader, day: str, *, is_past: bool) -> Iterable[Event]:
    """The day's stored events in an order in which they can be folded; of a past day without what is over then."""
    begins_ns, ends_ns = day_bounds(day)
    yield from reader.slot_history(day) if is_past else reader.slot_events(day)
    yield from reader.sweeps(day)
    for opening in reader.openings(day):
        yield from (each for each in (opening.opened, opening.empty, opening.unrecoverable) if each is not None)
    for story in reader.gaps(day):
        yield story.gap
        outcomes = [each for each in (story.recovered, story.unrecoverable) if each is not None]
        yield from sorted(outcomes, key=_decided_ns)
    yield from reader.gap_times(day).values()
    if (progress := reader.tape_progress(day)) is not None:
        yield progress
    if not is_past:
        yield from reader.latest_connections(begins_ns).values()
        yield from reader.latest_tokens(TOKENS_OWNER).values()
    yield from reader.valued_between(begins_ns - (0 if is_past else VALUES_DAYS * NS_PER_DAY), ends_ns)


def _decided_ns(outcome: GapRecovered | GapUnrecoverable) -> int:
    return outcome.recovered_ns if isinstance(outcome, GapRecovered) else outcome.decided_ns


class SlowFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked at intervals: rows, listings, packages, and how many events were ever committed."""

    storage: Storage
    listings: Listings
    backups: Backups
    committed: int


def read_slow_figures(reader: PageReader, settings: Settings, day: str, now_ns: int, known_ms: int) -> SlowFigures:
    """The figures at this moment of the market (UTC ns).

    Raises:
        StoreError: the database does not answer.
    """
    disk = storage_of(settings)
    storage = Storage(
        known_ms=known_ms,
        rows=rows_of(reader.day_summary(day)),
        database_bytes=disk.database_bytes,
        disk_free_bytes=disk.disk_free_bytes,
    )
    return SlowFigures(
        storage=storage,
        listings=read_listings(reader, now_ns, known_ms),
        backups=read_backups(settings, now_ns, known_ms),
        committed=reader.committed_events(),
    )


def rows_of(summary: DaySummary) -> dict[str, int]:
    """The day's rows by kind."""
    return {
        "trades": summary.trades,
        "recovered trades": summary.recovered_trades,
        "snapshots": summary.snapshots,
        "sweeps": summary.sweeps,
        "triggers": sum(summary.triggers.values()),
        "slots allocated": summary.slots_allocated,
        "slot overflows": summary.slots_overflow,
        "gaps": summary.gaps_found,
        "quarantined": summary.quarantined_inputs + summary.quarantined_events,
    }


def read_listings(reader: PageReader, now_ns: int, known_ms: int, until_ns: int | None = None) -> Listings:
    """The listings that appeared before that moment (now), and the files that wait for approval now."""
    appeared = reader.new_listings(now_ns - LISTINGS_DAYS * NS_PER_DAY)
    found = [_listing(each) for each in reversed(appeared) if until_ns is None or each.changed_ns < until_ns]
    waiting = [_pending(each) for each in reader.last_checks() if each.outcome == "pending"] if until_ns is None else []
    return Listings(known_ms=known_ms, listings=found[:LISTINGS_MAX], pending=waiting)


def _listing(change: ListingChanged) -> Listing:
    return Listing(
        symbol=change.symbol,
        name=change.name or change.english_name,
        exchange=change.exchange,
        kind=kind_of(change),
        seen=local_time(change.changed_ns),
    )


def _pending(check: MasterFileChecked) -> PendingFile:
    return PendingFile(exchange=check.exchange, run=check.run, reason=check.reason, since=local_time(check.checked_ns))


def read_backups(settings: Settings, now_ns: int, known_ms: int) -> Backups:
    """The newest verified package of each kind."""
    names = newest_packages(settings.backup.folder_of(settings.run), settings.instance)
    found = [_backup(kind, name, now_ns) for kind, name in sorted(names.items())]
    missing = "" if found else "no package was made yet: `observer backup now` makes one"
    return Backups(known_ms=known_ms, missing=missing, backups=found)


def _backup(kind: str, name: str, now_ns: int) -> Backup:
    taken_ns = moment_in(name)
    return Backup(name=name, kind=kind, taken=local_time(taken_ns), age_s=max(0.0, (now_ns - taken_ns) / NS_PER_S))


def plan_on(settings: Settings, day: str) -> DayPlan | None:
    """The day's plan; None where the day file does not have the day."""
    wanted = date.fromisoformat(day)
    known = [each for each in read_trading_days(Path(settings.run.runtime)) if each.day == wanted]
    return plan(known[0], settings.day_rules) if known else None


def past_plan(settings: Settings, day: str) -> DayPlan:
    """The plan of a stored session, with the usual hours if the day file lacks it."""
    known = plan_on(settings, day)
    return known or plan(TradingDay(date.fromisoformat(day), True, "assumed"), settings.day_rules)


def require_stored(reader: PageReader, day: str) -> str:
    """The day as an ISO date, if it is stored.

    Raises:
        NoDataError: it is no date, or nothing of it is stored.
    """
    try:
        session_date = date.fromisoformat(day).isoformat()
    except ValueError:
        raise NoDataError(f"{day!r} is no date: give one such as 2026-11-18") from None
    if not reader.has_session(session_date):
        last: Sequence[str] = reader.sessions()[:1]
        remedy = f"the last stored session is {last[0]}" if last else "no session is stored yet"
        raise NoDataError(f"{session_date} is not stored: {remedy}")
    return session_date
