"""The state of a stored day: the same parts as those of the running one, from the database alone."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from observer.base.units import NS_PER_MS, NS_PER_S
from observer.store.alerts import StoredAlert
from observer.store.slots import day_bounds
from observer.system.config import Settings
from observer.web.model import Alerts, Backups, Gaps, Level, Processes, State, Storage
from observer.web.state_system import SEVERITIES, alert_of, local_time, timeline_of
from observer.web.stored import (
    PageReader,
    past_plan,
    read_day,
    read_listings,
    require_stored,
    rows_of,
)

IN_THE_LAKE: Final = "its trades and snapshots are in the lake alone: `observer query`, `observer bars`, the data API"
REMOVED: Final = ("trades", "recovered trades", "snapshots")
OF_NOW: Final = "not stored: only a running system shows it"


def past_state(reader: PageReader, settings: Settings, day: str, now_ms: int) -> State:
    """The state of this day at its end, as of now (ms of the Unix epoch).

    Raises:
        NoDataError: it is no date, or nothing of it is stored.
        StoreError: the database does not answer.
    """
    day = require_stored(reader, day)
    begins_ns, ends_ns = day_bounds(day)
    fold = read_day(reader, settings, day, is_past=True)
    gaps = fold.gaps(ends_ns, now_ms)

    def read_at(_moment_ns: int) -> int:
        return now_ms  # the day is over: nothing of it grows old

    stored = reader.alerts(begins_ns, ends_ns)
    level, headline = answer_of_day(day, gaps, stored)
    state = State(
        now_ms=now_ms,
        is_live=False,
        day=day,
        market_time=local_time(ends_ns - NS_PER_S),
        instance=settings.instance.name,
        phase="",
        level=level,
        headline=headline,
        timeline=timeline_of(past_plan(settings, day), None, now_ms),
        processes=Processes(known_ms=0, missing=OF_NOW),
        alerts=_alerts(stored, now_ms),
        board=fold.board(ends_ns, now_ms),
        universe=fold.universe(read_at),
        gaps=gaps,
        sweeps=fold.sweeps(now_ms, read_at),
        listings=read_listings(reader, ends_ns, now_ms, ends_ns),
        premiums=fold.premiums(read_at),
        storage=Storage(known_ms=now_ms, rows=rows_of(reader.day_summary(day))),
        backups=Backups(known_ms=0, missing=OF_NOW),
        tape=fold.tape(read_at),
    )
    return without_removed(state)


def without_removed(state: State) -> State:
    """The state of a stored day, without zeros for rows that `[store] keep_days` removed: sweeps had answers, and no
    snapshot of them is in the database.
    """
    swept = any(sweep.answered for sweep in state.sweeps.sweeps)
    if not swept or state.storage.rows.get("snapshots"):
        return state
    rows = {kind: count for kind, count in state.storage.rows.items() if kind not in REMOVED}
    return replace(
        state,
        universe=replace(state.universe, tiles=(), missing=IN_THE_LAKE),
        storage=replace(state.storage, rows=rows, missing=IN_THE_LAKE),
    )


def answer_of_day(day: str, gaps: Gaps, alerts: Sequence[StoredAlert]) -> tuple[Level, str]:
    """Whether the day is whole, and a sentence about its gaps and alerts."""
    critical = sum(alert.severity == "critical" for alert in alerts)
    level: Level = "warning" if gaps.open or gaps.lost or critical else "ok"
    total = gaps.open + gaps.recovered + gaps.lost
    outcome = f"{total} gaps, {gaps.recovered} recovered, {gaps.lost} lost, {gaps.open} open" if total else "no gaps"
    return level, f"The stored day {day}: {outcome}; {len(alerts)} alerts, {critical} critical"


def _alerts(stored: Sequence[StoredAlert], known_ms: int) -> Alerts:
    """The alerts of the day, worst first. One that is still open has no end, though the time is known when it ends."""
    now_ns = known_ms * NS_PER_MS
    ordered = sorted(stored, key=lambda each: (SEVERITIES.index(each.severity), -each.since_ns))
    return Alerts(
        known_ms=known_ms,
        alerts=[
            alert_of(each, each.source, ended_ns=None if each.is_open(now_ns) else each.resolved_ns or each.until_ns)
            for each in ordered
        ],
    )
