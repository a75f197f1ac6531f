"""`observer accounts`: each account's state, from the files beside its token and from the database. Needs no keys."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.base.clock import ManualClock
from observer.base.errors import DataFileError, NoDataError, StoreError
from observer.base.local_time import local_datetime, local_ns
from observer.base.settings import is_reachable
from observer.base.units import NS_PER_S
from observer.brokers.accounts.health import Health, believed
from observer.brokers.accounts.health_file import HealthFile
from observer.brokers.accounts.pool import AccountSettings
from observer.brokers.accounts.token_cache import TokenRecord, TokenStore
from observer.calendar.phases import phase_at
from observer.calendar.service import TradingDayService
from observer.cli.context import SettingsOption, age_time_ns, print_error
from observer.cli.frame import Answer
from observer.cli.tables import Table, show
from observer.selection.allocation import held_by_account
from observer.store.reader import StoreReader
from observer.system.config import Settings

_HOUR_S: Final = 3600.0


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """One account; times in market seconds.

    Null: `healthy` and `checked_s_ago` without a recent check, the token's two fields without a token, `stream`
    (of market data: connected, lost, suspended ...) and `slots_held` if the database does not know or does not answer.
    """

    account_id: str
    priority: int
    healthy: bool | None
    checked_s_ago: float | None
    token_age_s: float | None
    token_expires_in_s: float | None
    stream: str | None
    slots_held: int | None
    max_slots: int


def accounts(settings: SettingsOption) -> Answer:
    """Show the accounts: health, token, slots, market data stream. Keys are never shown.

    Where no system runs, the states are those of the end of the stored data.
    """
    folder = _folder(settings)
    if not is_reachable(settings.run) and not (folder.is_dir() and any(folder.iterdir())):
        raise NoDataError("nothing is known of the accounts: no system runs here; start one with `observer run`")
    now_ns = age_time_ns(settings.run, settings.store.url, _seen_ns(settings))
    states = states_of(settings, now_ns)
    return Answer(states, lambda: show(_table(states, _closed(settings, now_ns))))


def states_of(settings: Settings, now_ns: int) -> list[AccountState]:
    """The accounts' states at this market time, by priority."""
    streams, held_slots = _in_use(settings.store.url, local_ns(local_datetime(now_ns).date()))
    folder = _folder(settings)
    interval_s = settings.pool.health_check_interval_seconds
    capacities = {account.account_id: account.slots for account in settings.pool.accounts}
    slots = None if held_slots is None else held_by_account(capacities, held_slots)
    states = []
    for account in settings.pool.by_priority:
        name = account.account_id
        health = believed(HealthFile(folder, name).read(), interval_s, now_ns)
        held = None if slots is None else slots.get(name, 0)
        states.append(_state(account, health, _token(folder, name), streams.get(name), held, now_ns))
    return states


def _folder(settings: Settings) -> Path:
    """The files of the accounts' health and access tokens, which outlive the processes that write them."""
    return Path(settings.run.runtime) / "tokens"


def _seen_ns(settings: Settings) -> Iterator[int]:
    """The times of the files: checks and tokens."""
    folder = _folder(settings)
    for account in settings.pool.accounts:
        if (health := HealthFile(folder, account.account_id).read()) is not None:
            yield health.checked_ns
        if (token := _token(folder, account.account_id)) is not None:
            yield token.issued_ns


def _state(
    account: AccountSettings,
    health: Health | None,
    token: TokenRecord | None,
    stream: str | None,
    slots_held: int | None,
    now_ns: int,
) -> AccountState:
    return AccountState(
        account_id=account.account_id,
        priority=account.priority,
        healthy=None if health is None else health.healthy,
        checked_s_ago=None if health is None else (now_ns - health.checked_ns) / NS_PER_S,
        token_age_s=None if token is None else (now_ns - token.issued_ns) / NS_PER_S,
        token_expires_in_s=None if token is None else (token.expires_ns - now_ns) / NS_PER_S,
        stream=stream,
        slots_held=slots_held,
        max_slots=account.slots,
    )


def _token(folder: Path, name: str) -> TokenRecord | None:
    with contextlib.suppress(DataFileError):  # an unreadable record is no record
        return TokenStore(folder, name).read()
    return None


def _in_use(url: str, since_ns: int) -> tuple[Mapping[str, str], Sequence[str] | None]:
    """The state of the market data stream by account, and the slots in use; None: unknown."""
    try:
        with StoreReader(url) as reader:
            streams = {name: change.state for name, change in reader.latest_connections(since_ns).items()}
            return streams, [assigned.slot for assigned in reader.open_slots(since_ns)]
    except StoreError as error:
        print_error(f"market data streams and slots are unknown: {error}")
        return {}, None


def _closed(settings: Settings, now_ns: int) -> str:
    """Why no market data stream is connected; empty while one is due, or where the day's plan is not known."""
    plan = TradingDayService(Path(settings.run.runtime), settings.day_rules, ManualClock(now_ns)).known()
    if plan is None or phase_at(plan, now_ns) != "IDLE":
        return ""
    begins = [span.start_ns for span in plan.phases if span.phase != "IDLE" and span.start_ns > now_ns]
    return f"market closed, next {local_datetime(min(begins)):%H:%M}" if begins else "market closed"


def _table(states: list[AccountState], closed: str) -> Table:
    words = {True: "healthy", False: "unhealthy", None: "not checked"}
    rows = [
        (
            state.account_id,
            words[state.healthy],
            str(state.priority),
            _hours(state.token_age_s),
            _hours(state.token_expires_in_s),
            f"{'?' if state.slots_held is None else state.slots_held} of {state.max_slots}",
            closed if closed and state.stream in (None, "closed") else state.stream or "",
        )
        for state in states
    ]
    columns = ("account", "health", "priority", "token age h", "token left h", "slots used", "stream")
    return Table(columns, rows, right=columns[2:6])


def _hours(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / _HOUR_S:.1f}"
