"""States that a screen shows: a night, full operation, a worker down, a stored day with gaps."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from bus.events import Severity
from observer.web.model import (
    Account,
    Alert,
    Alerts,
    Backup,
    Backups,
    Board,
    Gaps,
    GapSpan,
    Listing,
    Listings,
    Phase,
    Premiums,
    Process,
    Processes,
    Slot,
    State,
    Storage,
    Strip,
    Sweep,
    Sweeps,
    Tape,
    Timeline,
    Universe,
)

NOW_MS: Final = 1_794_967_512_000
OF_NOW: Final = "not stored: only a running system shows it"
PROCESSES: Final = (
    *("core-writer", "accounts", "master-file", "gap-recovery", "etf", "track-a", "track-b", "lake", "tape"),
)
PHASES: Final = (
    Phase("IDLE", 0, 480),
    Phase("WARMUP", 480, 540),
    Phase("TRACK_A_ONLY", 540, 570),
    Phase("FULL_OPERATION", 570, 900),
    Phase("TRACK_A_CLOSING", 900, 935),
    Phase("SHUTDOWN", 935, 950),
    Phase("IDLE", 950, 1_440),
)


def process(name: str, number: int, **changes: object) -> Process:
    up = Process(
        name=name,
        state="RUNNING",
        level="ok",
        pid=4_194_000 + number,
        uptime_s=7_384.5 * number + 12,
        restarts=0,
        cpu_percent=3.4 * number,
        rss_bytes=52_428_800 + 12_345_678 * number,
        heartbeat_age_s=0.4,
        loop_lag_s=0.0012,
        exit=None,
    )
    return msgspec.structs.replace(up, **changes)


def slot(number: int) -> Slot:
    return Slot(
        line=f"{5930 + number * 10_070:06d}" + (".NXT" if number % 7 == 3 else ""),
        name=("삼성전자", "SK하이닉스", "KODEX 코스닥150레버리지", "NAVER", "LG에너지솔루션")[number % 5],
        why=("volume_surge", "trade_velocity", "market_cap", "pin", "volatility_spike")[number % 5],
        score=None if number % 5 == 3 else 123.456 / (number + 1),
        since="2026-11-18T10:02:11+09:00",
        trades_per_minute=None if number % 9 == 8 else 2_345.0 / (number + 1),
        price=1_234_500.0 / (number + 1) // 5 * 5,
        price_age_s=0.8,
        change_percent=(-1) ** number * 29.97 / (number + 1),
        prices=[(600 + at, 71_000 + 100 * (at * (number + 3) % 7)) for at in range(30)],
    )


def full() -> State:
    return State(
        now_ms=NOW_MS,
        is_live=True,
        day="2026-11-18",
        market_time="2026-11-18T10:45:12.345+09:00",
        instance="main",
        phase="FULL_OPERATION",
        level="ok",
        headline="all is well: 9 processes run, no open alerts",
        timeline=Timeline(known_ms=NOW_MS, phases=PHASES, now_minute=645.2),
        processes=Processes(
            known_ms=NOW_MS,
            version="0.9.0",
            uptime_s=98_765.4,
            processes=[process(name, number) for number, name in enumerate(PROCESSES)],
        ),
        alerts=Alerts(known_ms=NOW_MS),
        board=Board(
            known_ms=NOW_MS,
            waiting=17,
            accounts=[
                Account(
                    name="main",
                    slots_max=41,
                    is_connected=True,
                    token_expires="2026-11-19T08:00:00+09:00",
                    slots=[slot(number) for number in range(38)],
                )
            ],
        ),
        universe=Universe(known_ms=NOW_MS, lines=1_678),
        gaps=Gaps(known_ms=NOW_MS, open=0, recovered=131, lost=0, detection_p95_s=0.42, closing_p95_s=1.234),
        sweeps=Sweeps(
            known_ms=NOW_MS, sweeps=[Sweep(begin_minute=640.5, duration_s=84.21, asked=1_678, answered=1_678)]
        ),
        listings=Listings(
            known_ms=NOW_MS,
            listings=[
                Listing(
                    symbol="0120X0", name="새회사", exchange="KOSDAQ", kind="stock", seen="2026-11-12T07:31:00+09:00"
                )
            ],
        ),
        premiums=Premiums(known_ms=NOW_MS),
        storage=Storage(
            known_ms=NOW_MS,
            rows={"trades": 1_234_567, "snapshots": 92_290, "order_books": 0, "triggers": 1_234},
            rows_per_s=1_210.4,
            database_bytes=1_234_567_890,
            disk_free_bytes=81_234_567_890,
            waiting_events=12,
            acknowledgement_s=0.0123,
        ),
        backups=Backups(
            known_ms=NOW_MS,
            backups=[Backup(name="20261117T210000", kind="daily", taken="2026-11-17T21:00:00+09:00", age_s=49_500.0)],
        ),
        tape=Tape(known_ms=NOW_MS, is_on=True, share_held=0.4567, lines_complete=123, lines=1_678),
    )


def night() -> State:
    state = full()
    return msgspec.structs.replace(
        state,
        market_time="2026-11-18T02:10:00.000+09:00",
        phase="IDLE",
        headline="all is well: the market is closed",
        timeline=msgspec.structs.replace(state.timeline, now_minute=130.0),
        board=Board(
            known_ms=NOW_MS, accounts=[Account(name="main", slots_max=41, is_connected=None, token_expires=None)]
        ),
        gaps=Gaps(known_ms=NOW_MS),
        sweeps=Sweeps(known_ms=NOW_MS),
        storage=Storage(known_ms=NOW_MS, rows={}, database_bytes=1_234_567_890, disk_free_bytes=81_234_567_890),
        tape=Tape(known_ms=NOW_MS),
    )


def worker_down() -> State:
    state = full()
    down = process(
        "track-b",
        6,
        state="FATAL",
        level="critical",
        pid=None,
        uptime_s=None,
        cpu_percent=None,
        rss_bytes=None,
        heartbeat_age_s=None,
        loop_lag_s=None,
        restarts=9,
        exit="exit status 1 after 0.3 s, the ninth time in a minute",
    )
    alerts: list[tuple[str, Severity, str, str, int]] = [
        ("given_up:track-b", "critical", "supervisor", "track-b is FATAL: more than 8 ends in a minute", 1),
        (
            "stream:main",
            "critical",
            "track-b",
            "no stream of account main: lost, closed by the broker",
            6,
        ),
        ("gap_rate", "warning", "gap-recovery", "7.2 % of the streamed seconds are gaps, more than 5 %", 12_345),
        (
            "disk",
            "warning",
            "supervisor",
            "the disk has 1,234,567,890 bytes left of 81,234,567,890, 4 days left",
            1,
        ),
    ]
    return msgspec.structs.replace(
        state,
        level="critical",
        headline="track-b is FATAL and 1 more critical alert is open; 2 warnings",
        processes=msgspec.structs.replace(
            state.processes,
            processes=[down if each.name == "track-b" else each for each in state.processes.processes],
        ),
        alerts=Alerts(
            known_ms=NOW_MS,
            alerts=[
                Alert(
                    identity=identity,
                    severity=severity,
                    process=source,
                    text=text,
                    since="2026-11-18T10:41:07+09:00",
                    count=count,
                    silenced_until=None,
                )
                for identity, severity, source, text, count in alerts
            ],
        ),
        board=msgspec.structs.replace(
            state.board,
            known_ms=NOW_MS - 245_000,
            accounts=[msgspec.structs.replace(state.board.accounts[0], is_connected=False)],
        ),
        gaps=msgspec.structs.replace(state.gaps, open=38, lost=2, strips=strips()),
    )


def past_day() -> State:
    state = full()
    return msgspec.structs.replace(
        state,
        is_live=False,
        day="2026-11-17",
        market_time="2026-11-17T23:59:59+09:00",
        phase="",
        level="warning",
        headline="2 gaps of 2026-11-17 are lost",
        timeline=msgspec.structs.replace(state.timeline, now_minute=None),
        processes=Processes(known_ms=0, missing=OF_NOW),
        gaps=Gaps(
            known_ms=NOW_MS,
            open=0,
            recovered=207,
            lost=2,
            detection_p95_s=0.93,
            closing_p95_s=4.1,
            strips=strips(),
        ),
        storage=Storage(known_ms=NOW_MS, rows={"trades": 12_345_678, "snapshots": 645_002}),
        backups=Backups(known_ms=0, missing=OF_NOW),
        tape=Tape(known_ms=NOW_MS),
    )


def strips() -> list[Strip]:
    return [
        Strip(
            line=slot(number).line,
            name=slot(number).name,
            spans=[
                GapSpan(580 + 7 * number, 590 + 7 * number, "recovered"),
                GapSpan(700, 704, "empty"),
                *([GapSpan(800, 830, "lost")] if number % 6 == 1 else []),
                *([GapSpan(860, 861, "open")] if number % 6 == 2 else []),
            ],
        )
        for number in range(14)
    ]


STATES: Final[Mapping[str, Callable[[], State]]] = {
    "night": night,
    "full operation": full,
    "a worker down": worker_down,
    "a stored day with gaps": past_day,
}
