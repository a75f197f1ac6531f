"""Parts of a state with made-up figures, for the page's tests and pictures."""

import math
import random
from collections.abc import Sequence
from typing import Final

import msgspec

from observer.web.model import (
    Account,
    Backup,
    Backups,
    Board,
    Gaps,
    GapSpan,
    Listing,
    Listings,
    PendingFile,
    Phase,
    Premium,
    Premiums,
    Process,
    Processes,
    Slot,
    Storage,
    Strip,
    Sweep,
    Sweeps,
    Tile,
    Universe,
)

DAY: Final = "2026-11-23"
PAST_DAY: Final = "2026-11-18"
NOW_MS: Final = 1_795_398_137_000  # 10:42:17 of DAY in Seoul
NOW_MINUTE: Final = 642.28

PHASES: Final = (
    Phase("IDLE", 0.0, 515.0),
    Phase("WARMUP", 515.0, 530.0),
    Phase("TRACK_A_ONLY", 530.0, 540.0),
    Phase("FULL_OPERATION", 540.0, 930.0),
    Phase("TRACK_A_CLOSING", 930.0, 945.0),
    Phase("SHUTDOWN", 945.0, 1020.0),
    Phase("IDLE", 1020.0, 1440.0),
)
SECTORS: Final = (
    *("Information Technology", "Industrials", "Health Care", "Financials", "Consumer Discretionary", "Materials"),
    *("Communication Services", "Consumer Staples", "Energy", "Utilities", "Real Estate"),
)
NAMES: Final = (
    *("삼성전자", "SK하이닉스", "LG에너지솔루션", "삼성바이오로직스", "현대차", "기아", "셀트리온", "KB금융", "NAVER"),
    *("신한지주", "POSCO홀딩스", "삼성물산", "현대모비스", "카카오", "한화에어로스페이스", "LG화학", "하나금융지주"),
    *("메리츠금융지주", "삼성생명", "크래프톤", "두산에너빌리티", "HMM", "한국전력", "SK이노베이션", "알테오젠"),
    *("에코프로비엠", "HD현대중공업", "고려아연", "삼성화재", "KT&G", "우리금융지주", "LG", "한미반도체", "엔켐"),
)
TRIGGERS: Final = ("volume_surge", "price_change", "volatility", "pin", "trade_value", "market_cap")
PROCESSES: Final = (
    *("core-writer", "accounts", "master-file", "etf", "track-a", "track-b", "gap-recovery", "lake", "tape"),
)


def name_of(order: int) -> str:
    """The name of a made-up line."""
    return NAMES[order % len(NAMES)] + ("" if order < len(NAMES) else f" {order // len(NAMES) + 1}")


def line_of(order: int) -> str:
    """The id of a made-up line."""
    return f"{(5930 + order * 7919) % 1_000_000:06d}"


def prices(order: int, points: int = 78, rng_salt: int = 0) -> Sequence[tuple[float, float]]:
    """A walk of prices, a point each five minutes."""
    rng = random.Random(order * 31 + rng_salt)
    price = 5_000.0 + (order * 7_411) % 200_000
    found = []
    for point in range(points):
        price *= 1 + rng.gauss(0, 0.003)
        found.append((540.0 + point * 5, float(round(price / 50) * 50)))
    return found


def slot(order: int, **changes: object) -> Slot:
    """One slot; `changes` replace fields."""
    walk = prices(order, points=21)
    why = TRIGGERS[order % len(TRIGGERS)]
    made = Slot(
        line=line_of(order) + (".NXT" if order % 9 == 4 else ""),
        name=name_of(order),
        why=why,
        score=None if why == "pin" else round(4.8 / (1 + order / 9), 2),
        since=f"{DAY}T{9 + order % 2:02d}:{(order * 7) % 40:02d}:05+09:00",
        trades_per_minute=round(1800 / (1 + order), 1),
        price=walk[-1][1],
        price_age_s=round(0.2 + (order * 1.7) % 23, 1),
        change_percent=round((walk[-1][1] / walk[0][1] - 1) * 100, 2),
        prices=walk,
    )
    return msgspec.structs.replace(made, **changes)


def board(used: int = 41, is_connected: bool = True) -> Board:
    """The slots of two accounts, of 41."""
    slots = [slot(order) for order in range(used)]
    first = Account(
        name="main", slots_max=20, is_connected=True, token_expires=f"{DAY}T23:11:40+09:00", slots=slots[:20]
    )
    second = Account(
        name="second",
        slots_max=21,
        is_connected=is_connected,
        token_expires="2026-11-24T07:55:02+09:00",
        slots=slots[20:],
    )
    return Board(known_ms=NOW_MS - 400, accounts=[first, second], waiting=17)


def universe(count: int = 400, shift: float = 0.0, lines: int = 2_583) -> Universe:
    """The heat map's tiles; their changes move with `shift`."""
    rng = random.Random(7)
    tiles = []
    for order in range(count):
        change = round(rng.gauss(0.3, 2.2) + math.sin(order + shift) * 0.6, 2)
        value = 1.6e12 / (1 + order) ** 1.05
        sector = SECTORS[min(int(rng.expovariate(0.35)), len(SECTORS) - 1)]
        known = None if order % 97 == 96 else change
        tiles.append(Tile(line_of(order), name_of(order), sector, known, value))
    return Universe(known_ms=NOW_MS - 21_000, lines=lines, tiles=tiles)


def sweeps(until_minute: float) -> Sweeps:
    """A sweep each 1.5 minutes since 08:50; two of them incomplete."""
    rng = random.Random(3)
    found: list[Sweep] = []
    minute = 530.0
    while minute < until_minute:
        lost = {41: 212, 60: 8}.get(len(found), 0)
        length = round(rng.gauss(62, 3) + lost / 8, 1)
        found.append(Sweep(begin_minute=minute, duration_s=length, asked=2583, answered=2583 - lost))
        minute += 1.5
    return Sweeps(known_ms=NOW_MS - 21_000, sweeps=found)


def process(name: str, order: int, **changes: object) -> Process:
    """A process that runs; `changes` replace fields."""
    made = Process(
        name=name,
        state="RUNNING",
        level="ok",
        pid=4200 + order * 11,
        uptime_s=8_532.0 - order,
        restarts=0,
        cpu_percent=round(31 / (1 + order), 1),
        rss_bytes=(182 - order * 9) * 2**20,
        heartbeat_age_s=round(0.2 + order * 0.07, 2),
        loop_lag_s=0.0004 + order * 0.0003,
        exit=None,
    )
    return msgspec.structs.replace(made, **changes)


def processes(known_ms: int = NOW_MS - 250) -> Processes:
    """All processes, running."""
    found = [process(name, order) for order, name in enumerate(PROCESSES)]
    return Processes(known_ms=known_ms, version="0.1.0", uptime_s=8_534.0, processes=found)


def premiums() -> Premiums:
    """Forty funds."""
    rng = random.Random(11)
    shares = sorted((rng.gauss(0, 0.6) for _ in range(40)), key=abs, reverse=True)
    found = [
        Premium(
            symbol=f"{(69_500 + order * 3_331) % 999_999:06d}",
            name=("KODEX 200", "TIGER 미국S&P500", "KODEX 레버리지", "ACE KRX금현물", "PLUS 고배당주")[order % 5],
            price=float(round(10_000 * (1 + share / 100), 0)),
            nav=10_000.0,
            premium_percent=round(share, 2),
        )
        for order, share in enumerate(shares)
    ]
    return Premiums(known_ms=NOW_MS - 3_840_000, day="2026-11-20", premiums=found)


def listings(pending: bool = False) -> Listings:
    """Three new listings."""
    found = [
        Listing(symbol="475150", name="SK이터닉스우", exchange="KOSPI", kind="stock", seen="2026-11-20"),
        Listing(symbol="0105A0", name="TIGER 미국배당100타겟", exchange="KOSPI", kind="etf", seen="2026-11-17"),
        Listing(symbol="488900", name="비츠로넥스텍", exchange="KOSDAQ", kind="stock", seen="2026-11-12"),
    ]
    since = f"{DAY}T06:00:41+09:00"
    file = PendingFile(exchange="KOSDAQ", run="KOSDAQ-1", reason="63 listings removed, more than 50", since=since)
    return Listings(known_ms=NOW_MS - 16_900_000, listings=found, pending=[file] if pending else [])


def backups() -> Backups:
    """The newest packages."""
    daily = Backup(name="daily-20261120-170213", kind="daily", taken="2026-11-20T17:02:13+09:00", age_s=236_404.0)
    manual = Backup(name="manual-20261114-101500", kind="manual", taken="2026-11-14T10:15:00+09:00", age_s=779_237.0)
    return Backups(known_ms=NOW_MS - 31_000, backups=[daily, manual])


def storage() -> Storage:
    """The day's rows so far."""
    rows = {
        "trades": 4_812_306,
        "snapshots": 184_211,
        "quotes": 96_400,
        "triggers": 1_204,
        "slot_changes": 388,
        "gaps": 19,
    }
    return Storage(
        known_ms=NOW_MS - 600,
        rows=rows,
        rows_per_s=842.0,
        database_bytes=38_200_000_000,
        disk_free_bytes=412_000_000_000,
        waiting_events=12,
        acknowledgement_s=0.0042,
    )


def gaps(lines: int = 3) -> Gaps:
    """Gaps of some lines; of more than three lines also open and lost ones."""
    rng = random.Random(5)
    strips = []
    for order in range(lines):
        spans = []
        for _ in range(1 + order % 4):
            begin = 545 + rng.random() * 90
            spans.append(GapSpan(round(begin, 2), round(begin + rng.expovariate(0.6), 2), "recovered"))
        if lines > 3 and order % 5 == 0:
            spans.append(GapSpan(618.0, 642.2, "lost" if order % 10 else "open"))
        if order % 3 == 2:
            spans.append(GapSpan(560.0, 560.4, "empty"))
        strips.append(Strip(line_of(order), name_of(order), spans))
    states = [span.state for strip in strips for span in strip.spans]
    return Gaps(
        known_ms=NOW_MS - 900,
        open=states.count("open"),
        recovered=states.count("recovered"),
        lost=states.count("lost"),
        detection_p95_s=0.41,
        closing_p95_s=2.7,
        strips=strips,
    )


# Calls of the page's format.js, and the text of each.
TEXTS: Final = {
    "number(null)": "–",
    "number(-1234567)": "−1,234,567",
    "signedPercent(1.204)": "+1.20 %",
    "signedPercent(-0.001)": "0.00 %",
    "bytes(1536)": "1.5 KiB",
    "duration(0.0042)": "4.2 ms",
    "duration(59.6)": "60 s",
    "duration(3660)": "1 h 01 min",
    "duration(400000)": "4 d",
    "brief(6130)": "102 min",
    "age(-5)": "now",
    "age(119999)": "119 s ago",
    "age(undefined)": "–",
    "secondText(641.5)": "10:41:30",
    "localTime('2026-11-18T09:00:01+09:00', '2026-11-18')": "09:00:01",
    "localTime('2026-11-17T09:00:01+09:00', '2026-11-18')": "2026-11-17 09:00",
    "secondsBetween('2026-11-17T23:59:50+09:00', '2026-11-18T00:00:10')": 20,
    "words('TRACK_A_ONLY')": "Track A only",
}
