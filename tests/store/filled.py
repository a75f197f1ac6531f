"""Events of two sessions that give every query of the store rows to find."""

from datetime import date
from typing import Final

from bus.events import (
    AlertRaised,
    AlertRepeated,
    AlertResolved,
    BarsChecked,
    BarsFetched,
    ConnectionChanged,
    DailyBar,
    EnrichmentCompleted,
    EtfJobEnded,
    Event,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapUnrecoverable,
    InputQuarantined,
    ListingValued,
    MasterFileChecked,
    MinuteBarFetched,
    PhaseChanged,
    QualityJudged,
    Reached,
    SectorAssigned,
    SelectionAdvanced,
    SharesAdjusted,
    SlotAssigned,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    TapeJudged,
    TapePage,
    TapeProgressed,
    TapeSpan,
    TradesConflated,
    TriggerFired,
    UniverseBuilt,
    UniverseMember,
    VenueEligibility,
    VolumeMeans,
    VolumePoints,
    VolumeProfiled,
    VolumeRise,
    WatchChanged,
    WatchLearned,
    WatchObserved,
)
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from tests.builders import day_began, trades
from tests.store.etf import etf_listed, etf_measured, etf_nav_day, etf_range_found, etf_valued
from tests.store.exporting import recovery, refusal
from tests.store.listings import listing_changed

SESSIONS: Final = ("2026-11-17", "2026-11-18")
SYMBOLS: Final = ("005930", "000660", "069500")
GAP_ID: Final = "gap-1"
STREAM: Final = "5" * 32


def ten_ns(session_date: str) -> int:
    """Ten o'clock of that day."""
    return local_ns(date.fromisoformat(session_date), 10)


TAPE_SPAN: Final = TapeSpan(1.0, 2.0, 1, 2)


def events() -> list[Event]:
    """All events, in one order."""
    found: list[Event] = [refusal(1), *recovery(1), *recovery(3)]
    for number, session_date in enumerate(SESSIONS):
        found += _of_day(session_date, number)
    return found


def _of_day(day: str, number: int) -> list[Event]:
    at_ns = ten_ns(day)
    found: list[Event] = [
        SelectionAdvanced(day, at_ns, day_began(day)),
        PhaseChanged(day, at_ns, "IDLE", "FULL_OPERATION"),
        SweepCompleted("kis", day, 1, at_ns, at_ns + NS_PER_S, 3, 3, 1),
        ConnectionChanged("kis", "main", at_ns, "connected", "", 0),
        InputQuarantined("kis stream", at_ns, "no", b"x"),
        AlertRaised(at_ns, "critical", "etf", "it failed", "etf_values", f"queue-{number}"),
        AlertRepeated(at_ns + 1, "etf", f"queue-{number}", 2, "again"),
        AlertResolved(at_ns + 2, "etf", f"queue-{number}", 2, "over"),
        SharesAdjusted("kis", "000660", day, day, 10.0, 20.0),
        VenueEligibility("kis", day, "005930", "NXT", True, at_ns),
        EnrichmentCompleted("KR", at_ns, at_ns + number, *[0] * 10, ""),
        MasterFileChecked("kis", "KOSPI", at_ns + number, "updated", "", 1, "", 1, 0, 1, 0, 0, initial=0),
        GapOpened(f"cut-{number}", "kis", "005930", day, at_ns, at_ns, 1.0, "reconnect"),
        GapOpened(f"empty-{number}", "kis", "005930", day, at_ns, at_ns, 1.0, "reconnect"),
        GapEmpty(f"empty-{number}", "kis", "005930", day, at_ns + 5, at_ns, at_ns + 1, 1.0),
        GapDetected(f"lost-{number}", "kis", "005930", day, at_ns, 1, 2, 1.0, 2.0, 1.0, None, "reconnect"),
        GapUnrecoverable(f"lost-{number}", "005930", at_ns, "too late"),
        EtfJobEnded("etf_list", day, at_ns, at_ns + number, "krx", 1, 1, 0, ""),
        etf_listed(session_date=day, listed_ns=at_ns, change="new" if number == 0 else "same"),
        etf_valued(session_date=day, valued_ns=at_ns),
        etf_nav_day(day),
        etf_measured(session_date=day),
        etf_range_found(session_date=day),
        TapePage("kis", SYMBOLS[0], day, at_ns, at_ns, 30, 3, 9.0, 1.0, 10.0, at_ns, at_ns + 1, (TAPE_SPAN,), "KRX"),
        TapeProgressed("kis", day, at_ns + number, 3, 1, 1, 3, 30.0, 9.0, 1.0, 1, 2, 60.0, False),
        TapeJudged("kis", SYMBOLS[0], day, at_ns, "seconds", 30.0, 29.0, 3, (TAPE_SPAN,), (), "KRX"),
        *trades(2, symbol=f"{SYMBOLS[0]}.NXT", session_date=day),
    ]
    for rank, symbol in enumerate(SYMBOLS, 1):
        found += _of_symbol(day, number, rank, symbol)
    if number:
        points, means = VolumePoints((54,), (1.0,), (2.0,)), VolumeMeans((54,), (1.0,), (2.0,), (1,))
        found.append(VolumeProfiled(day, SYMBOLS[0], at_ns, 1, 2, SESSIONS[0], points, means))
    found += [
        UniverseMember("kis", "KR", day, rank, symbol, symbol, "KOSPI", 1e12, 5_000.0, None, None)
        for rank, symbol in enumerate(SYMBOLS, 1)
    ]
    return [*found, UniverseBuilt("kis", "KR", day, day, at_ns, len(SYMBOLS), 9, 4_000.0)]


def _of_symbol(day: str, number: int, rank: int, symbol: str) -> list[Event]:
    at_ns = ten_ns(day) + rank * NS_PER_S
    learned = WatchLearned(Reached(1.0, 1, at_ns))
    return [
        *trades(5, symbol=symbol, session_date=day),
        TradesConflated("kis", symbol, day, at_ns, at_ns + 1, at_ns + 2, 2, 2.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9),
        Snapshot("kis", symbol, day, 1, at_ns, 1.0, *[None] * 8, 10.0, 10.0),
        VolumeRise("kis", symbol, day, at_ns - 1, at_ns, 1.0, 2.0, 1.0, 1.0, None, None, None, 1.0),
        DailyBar("kis", symbol, day, 1.0, 1.0, 1.0, 1.0, 10.0, 10.0),
        MinuteBarFetched("kis", symbol, day, at_ns, 1.0, 1.0, 1.0, 1.0, 10.0, 10.0, "past_day", at_ns),
        BarsFetched("kis", symbol, day, day, "minutes", "equal", 1, 0, 10.0, 10.0, 1, at_ns),
        BarsChecked("kis", symbol, day, at_ns, 1, 1, 0, 0, 0, 0, 10.0, 10.0, ()),
        SlotAssigned(f"main:0{rank}", symbol, at_ns, "volume_surge", 12.5, "free slot", None),
        TriggerFired(symbol, "volume_surge", at_ns, None, 1.0, 1.0, 1.0, 1.0, 1.0),
        WatchChanged("kis", symbol, day, at_ns, learned),
        WatchChanged("kis", symbol, day, at_ns + 1, WatchObserved(Reached(1.0, 1, at_ns))),
        QualityJudged("kis", symbol, day, at_ns, "complete", "", 1.0, 5, 5.0, 0.0, 0.0, 0.0, 0, 0),
        SectorAssigned("KR", "KOSPI", symbol, at_ns, "Energy", "sector_code", 1.0, "x", ""),
        listing_changed(symbol=symbol, changed_ns=at_ns + number),
        ListingValued("kis", "KOSPI", symbol, at_ns + number, 1.0, 1.0),
        *([SlotReleased(f"main:0{rank}", symbol, at_ns + 9, 12.5, "expired")] if rank > 1 else []),
    ]
