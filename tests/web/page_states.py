"""States for the page's tests and pictures: a night, full operation, a worker that is down, a past day with gaps."""

from typing import Final

import msgspec

from observer.web.model import (
    Account,
    Alert,
    Alerts,
    Backups,
    Board,
    Gaps,
    Level,
    Processes,
    State,
    Storage,
    Sweeps,
    Tape,
    Timeline,
    Universe,
)
from tests.web.page_parts import (
    DAY,
    NOW_MINUTE,
    NOW_MS,
    PAST_DAY,
    PHASES,
    backups,
    board,
    gaps,
    listings,
    premiums,
    process,
    processes,
    slot,
    storage,
    sweeps,
    universe,
)


def full_operation(shift: float = 0.0) -> State:
    """A morning on which all is well."""
    return State(
        now_ms=NOW_MS,
        is_live=True,
        day=DAY,
        market_time=f"{DAY}T10:42:17+09:00",
        instance="main",
        phase="FULL_OPERATION",
        level="ok",
        headline="All 9 processes run, no alert is open, 41 of 41 slots stream.",
        timeline=Timeline(known_ms=NOW_MS - 250, phases=PHASES, now_minute=NOW_MINUTE),
        processes=processes(),
        alerts=Alerts(known_ms=NOW_MS - 250),
        board=board(),
        universe=universe(shift=shift),
        gaps=gaps(),
        sweeps=sweeps(NOW_MINUTE),
        listings=listings(),
        premiums=premiums(),
        storage=storage(),
        backups=backups(),
        tape=Tape(known_ms=NOW_MS - 4_000, is_on=True, share_held=0.8731, lines_complete=1_911, lines=2_583),
    )


def night() -> State:
    """Hours before the opening: nothing to sweep or to stream."""
    return msgspec.structs.replace(
        full_operation(),
        market_time=f"{DAY}T02:14:09+09:00",
        phase="IDLE",
        headline="All 9 processes run, no alert is open. The next sweep begins at 08:50.",
        timeline=Timeline(known_ms=NOW_MS - 250, phases=PHASES, now_minute=134.15),
        board=Board(
            known_ms=NOW_MS - 400,
            accounts=[
                Account(name="main", slots_max=20, is_connected=None, token_expires=None),
                Account(name="second", slots_max=21, is_connected=None, token_expires=None),
            ],
        ),
        universe=Universe(known_ms=0, missing="The day's universe is built at 08:35."),
        gaps=Gaps(known_ms=NOW_MS - 900),
        sweeps=Sweeps(known_ms=NOW_MS - 900),
        storage=Storage(
            known_ms=NOW_MS - 600,
            rows={},
            rows_per_s=0.0,
            database_bytes=38_100_000_000,
            disk_free_bytes=412_000_000_000,
            waiting_events=0,
            acknowledgement_s=None,
        ),
        tape=Tape(known_ms=0, missing="The tape has no lines before the opening."),
    )


ALERTS: Final = (
    Alert(
        identity="process_fatal:track-b",
        severity="critical",
        process="supervisor",
        text="track-b is FATAL: 9 ends in a minute. Read `observer logs track-b`, then `observer ctl restart track-b`.",
        since=f"{DAY}T10:39:51+09:00",
        count=1,
        silenced_until=None,
    ),
    Alert(
        identity="gap_rate",
        severity="warning",
        process="gap-recovery",
        text="6.2 % of the streamed lines have open gaps, more than 5 %.",
        since=f"{DAY}T10:40:12+09:00",
        count=14,
        silenced_until=None,
    ),
    Alert(
        identity="master_file:KOSDAQ",
        severity="warning",
        process="master-file",
        text="63 listings would be removed: pending approval. `observer master approve KOSDAQ` applies the changes.",
        since=f"{DAY}T06:00:41+09:00",
        count=1,
        silenced_until=f"{DAY}T12:00:00+09:00",
    ),
    Alert(
        identity="official_bars_late",
        severity="info",
        process="tape",
        text="Official bars of 2026-11-20 are 12 % behind.",
        since="2026-11-22T18:20:00+09:00",
        count=3,
        silenced_until=None,
    ),
)


def worker_down() -> State:
    """The stream's process is FATAL, its slots are lost, gaps are open."""
    level: Level = "critical"
    whole = processes()
    broken = [
        process(
            "track-b",
            5,
            state="FATAL",
            level=level,
            pid=None,
            uptime_s=None,
            restarts=9,
            cpu_percent=None,
            rss_bytes=None,
            heartbeat_age_s=146.0,
            loop_lag_s=None,
            exit="SIGSEGV",
        )
        if each.name == "track-b"
        else process("gap-recovery", 6, level="warning", state="LATE", heartbeat_age_s=11.4, loop_lag_s=1.21)
        if each.name == "gap-recovery"
        else each
        for each in whole.processes
    ]
    return msgspec.structs.replace(
        full_operation(),
        level=level,
        headline="track-b is FATAL since 10:39:51: no trades stream. 2 more alerts are open.",
        processes=msgspec.structs.replace(whole, processes=broken),
        alerts=Alerts(known_ms=NOW_MS - 250, alerts=ALERTS),
        board=board(used=26, is_connected=False),
        gaps=gaps(38),
        listings=listings(pending=True),
    )


def past_board() -> Board:
    """The slots of a stored day: what only the running system knows is None."""
    found = [
        slot(order, since=f"{PAST_DAY}T14:{order:02d}:05+09:00", trades_per_minute=None, price_age_s=None)
        for order in range(38)
    ]
    account = Account(name="main", slots_max=41, is_connected=None, token_expires=None, slots=found)
    return Board(known_ms=NOW_MS, accounts=[account])


def past_day() -> State:
    """A stored day with gaps."""
    live = "Only the running system knows this; a stored day has none."
    base = full_operation()
    return msgspec.structs.replace(
        base,
        is_live=False,
        day=PAST_DAY,
        market_time=f"{PAST_DAY}T23:59:59+09:00",
        phase="IDLE",
        level="warning",
        headline="Complete for 2,571 of 2,583 lines; 14 gaps of 9 lines are lost.",
        timeline=Timeline(known_ms=NOW_MS, phases=PHASES),
        processes=Processes(known_ms=0, missing=live),
        alerts=Alerts(
            known_ms=NOW_MS,
            alerts=[
                msgspec.structs.replace(
                    alert, since=alert.since.replace(DAY, PAST_DAY), silenced_until=None, ended=ended
                )
                for alert, ended in zip(ALERTS[1:3], (f"{PAST_DAY}T10:55:02+09:00", None), strict=True)
            ],
        ),
        board=past_board(),
        gaps=gaps(46),
        sweeps=sweeps(945.0),
        storage=msgspec.structs.replace(
            storage(), rows_per_s=None, waiting_events=None, acknowledgement_s=None, disk_free_bytes=None
        ),
        backups=Backups(known_ms=0, missing=live),
        tape=Tape(
            known_ms=NOW_MS,
            is_on=True,
            share_held=0.9987,
            lines_complete=2_561,
            lines=2_583,
            done_at=f"{PAST_DAY}T20:41:07+09:00",
        ),
    )


FOUR_STATES: Final = {"night": night, "full": full_operation, "down": worker_down, "past": past_day}
