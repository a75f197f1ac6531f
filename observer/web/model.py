"""What the page shows: one value for a moment of the running system or for a stored day, sent as JSON.

Times of the machine are milliseconds of the Unix epoch (`_ms`); minutes of a day count from midnight of the venue's
local time (`_minute`) and may have a fraction. `known_ms` of each part is when its figures were true: those of sweeps,
universe, premiums and tape at the time of their newest record, others when they were last found out, all of a past day
when it was read. A demo's market goes faster than the machine: ages of records are the market's there. The page shows
the age of each part. None means that a figure is not known, never zero.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

Level = Literal["ok", "warning", "critical"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the parts of a state. `missing` says in one sentence why the part has no figures; empty: it has."""

    known_ms: int
    missing: str = ""


class Phase(msgspec.Struct, frozen=True):
    """A phase of the day's plan."""

    name: str
    begin_minute: float
    end_minute: float


class Timeline(Part, frozen=True, kw_only=True):
    """The day's plan; `now_minute` is None on a past day. Without phases the day does not trade."""

    phases: Sequence[Phase] = ()
    now_minute: float | None = None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process, as `observer status` shows it."""

    name: str
    state: str
    level: Level
    pid: int | None
    uptime_s: float | None
    restarts: int
    cpu_percent: float | None
    rss_bytes: int | None
    heartbeat_age_s: float | None
    loop_lag_s: float | None
    exit: str | None


class Processes(Part, frozen=True, kw_only=True):
    """All processes in the order of their start."""

    version: str = ""
    uptime_s: float = 0.0
    processes: Sequence[Process] = ()


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert; times are of the market (local ISO time with offset). `ended` is None while it is open."""

    identity: str
    severity: Literal["info", "warning", "critical"]
    process: str
    text: str
    since: str
    count: int
    silenced_until: str | None
    ended: str | None = None


class Alerts(Part, frozen=True, kw_only=True):
    """Open alerts, of a past day all of the day, worst first."""

    alerts: Sequence[Alert] = ()


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One line that holds a slot: why (its trigger, or "pin"), its score, its trades of the last minute, its last price
    with that price's age in market seconds, and its last prices by minute of the day for a small chart.
    """

    line: str
    name: str
    why: str
    score: float | None
    since: str
    trades_per_minute: float | None
    price: float | None
    price_age_s: float | None
    change_percent: float | None
    prices: Sequence[tuple[float, float]] = ()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account's slots. `is_connected` is None where it is not known."""

    name: str
    slots_max: int
    is_connected: bool | None
    token_expires: str | None
    slots: Sequence[Slot] = ()


class Board(Part, frozen=True, kw_only=True):
    """The slots of all accounts, and the candidates that found no slot."""

    accounts: Sequence[Account] = ()
    waiting: int = 0


class Tile(msgspec.Struct, frozen=True):
    """One line of the universe: its size in the heat map is its traded value of the day, its colour the change."""

    line: str
    name: str
    sector: str
    change_percent: float | None
    value: float


class Universe(Part, frozen=True, kw_only=True):
    """The day's universe; `tiles` are the largest by traded value, at most 400."""

    lines: int = 0
    tiles: Sequence[Tile] = ()


class GapSpan(msgspec.Struct, frozen=True):
    """One gap of a line."""

    begin_minute: float
    end_minute: float
    state: Literal["open", "recovered", "empty", "lost"]


class Strip(msgspec.Struct, frozen=True):
    """One line's gaps of the day, the newest fifty."""

    line: str
    name: str
    spans: Sequence[GapSpan]


class Gaps(Part, frozen=True, kw_only=True):
    """The day's gaps. `strips` are the lines with gaps, those with open or lost ones first, at most a hundred."""

    open: int = 0
    recovered: int = 0
    lost: int = 0
    detection_p95_s: float | None = None
    closing_p95_s: float | None = None
    strips: Sequence[Strip] = ()


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """One sweep of the universe."""

    begin_minute: float
    duration_s: float
    asked: int
    answered: int


class Sweeps(Part, frozen=True, kw_only=True):
    """The day's sweeps, the newest last."""

    sweeps: Sequence[Sweep] = ()


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A new listing."""

    symbol: str
    name: str
    exchange: str
    kind: str
    seen: str


class PendingFile(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of an exchange's master file that wait for approval, and why; `run` names them."""

    exchange: str
    run: str
    reason: str
    since: str


class Listings(Part, frozen=True, kw_only=True):
    """Listings that appeared in the last thirty days, the newest first, and changes that wait for approval."""

    listings: Sequence[Listing] = ()
    pending: Sequence[PendingFile] = ()


class Premium(msgspec.Struct, frozen=True, kw_only=True):
    """An ETF's price beside the value of its assets."""

    symbol: str
    name: str
    price: float
    nav: float
    premium_percent: float


class Premiums(Part, frozen=True, kw_only=True):
    """ETFs with the largest premiums and discounts of the day `day`, at most forty."""

    day: str = ""
    premiums: Sequence[Premium] = ()


class Storage(Part, frozen=True, kw_only=True):
    """What is stored: the day's rows by kind, and how far the writer is behind."""

    rows: dict[str, int] = {}
    rows_per_s: float | None = None
    database_bytes: int | None = None
    disk_free_bytes: int | None = None
    waiting_events: int | None = None
    acknowledgement_s: float | None = None


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A verified package."""

    name: str
    kind: str
    taken: str
    age_s: float


class Backups(Part, frozen=True, kw_only=True):
    """The newest package of each kind."""

    backups: Sequence[Backup] = ()


class Tape(Part, frozen=True, kw_only=True):
    """The tape's progress: the share of the market's volume that is held trade by trade."""

    is_on: bool = False
    share_held: float | None = None
    lines_complete: int | None = None
    lines: int | None = None
    done_at: str | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `level` and `headline` answer "is all well?"; `market_time` is the venue's local ISO time.

    `is_live`: of the running system now; otherwise of the stored day `day`, whose live parts say so in `missing`.
    """

    now_ms: int
    is_live: bool
    day: str
    market_time: str
    instance: str
    phase: str
    level: Level
    headline: str
    timeline: Timeline
    processes: Processes
    alerts: Alerts
    board: Board
    universe: Universe
    gaps: Gaps
    sweeps: Sweeps
    listings: Listings
    premiums: Premiums
    storage: Storage
    backups: Backups
    tape: Tape
