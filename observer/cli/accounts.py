"""`observer accounts`: how each account does, from the files beside its token and from the database. Needs no keys."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from observer.accounts.health import Health, believed
from observer.accounts.health_file import HealthFile
from observer.accounts.pool import AccountSettings
from observer.accounts.token_cache import TokenRecord, TokenStore
from observer.cli.here import market_time_ns, settings_here
from observer.clock import NS_PER_S, kst_datetime, kst_ns
from observer.config import Settings
from observer.errors import DataFileError, StoreError
from observer.store.reader import StoreReader

_HOUR_S: Final = 3600.0


class AccountState(msgspec.Struct, frozen=True, kw_only=True):
    """One account; times in market seconds.

    Null: `healthy` and `checked_s_ago` where nobody judged it of late, the token's two where there is none, `stream`
    (connected, lost, suspended ...) and `slots_held` where the database does not know or does not answer.
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


def accounts(
    config: Annotated[
        Path | None,
        typer.Option(
            help="The configuration that is meant; without it the one of the system that runs in this folder."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array on stdout.")] = False,
) -> None:
    """Show the accounts: health, age of the token, stream, places of the stream that are taken. Never a key."""
    settings = settings_here(config)
    states = states_of(settings, market_time_ns(settings))
    if as_json:
        typer.echo(msgspec.json.encode(states).decode())
    else:
        Console().print(_table(states))


def states_of(settings: Settings, now_ns: int) -> list[AccountState]:
    """The accounts at this market time, first by priority first."""
    streams, slots = _in_use(settings.store.url, kst_ns(kst_datetime(now_ns).date()))
    folder = Path(settings.run.runtime) / "tokens"
    interval_s = settings.pool.health_check_interval_seconds
    states = []
    for account in settings.pool.by_priority:
        name = account.account_id
        health = believed(HealthFile(folder, name).read(), interval_s, now_ns)
        held = None if slots is None else slots.get(name, 0)
        states.append(_state(account, health, _token(folder, name), streams.get(name), held, now_ns))
    return states


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
        max_slots=account.max_slots,
    )


def _token(folder: Path, name: str) -> TokenRecord | None:
    with contextlib.suppress(DataFileError):  # an unreadable record is no record
        return TokenStore(folder, name).read()
    return None


def _in_use(url: str, since_ns: int) -> tuple[Mapping[str, str], Mapping[str, int] | None]:
    """By account: the state of its stream and how many of its places are taken."""
    try:
        with StoreReader(url) as reader:
            streams = {name: change.state for name, change in reader.latest_connections(since_ns).items()}
            return streams, Counter(slot.slot.rpartition(":")[0] for slot in reader.open_slots(since_ns))
    except StoreError as error:
        typer.echo(f"observer: streams and places are not known: {error}", err=True)
        return {}, None


def _table(states: list[AccountState]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("account", "health"):
        table.add_column(column, no_wrap=True)
    for column in ("priority", "token age h", "token left h", "places"):
        table.add_column(column, justify="right")
    table.add_column("stream")
    words = {True: "healthy", False: "ill", None: "not judged"}
    for state in states:
        table.add_row(
            state.account_id,
            words[state.healthy],
            str(state.priority),
            _hours(state.token_age_s),
            _hours(state.token_expires_in_s),
            f"{'?' if state.slots_held is None else state.slots_held} of {state.max_slots}",
            state.stream or "",
        )
    return table


def _hours(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / _HOUR_S:.1f}"
