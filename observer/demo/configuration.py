"""The demo configuration: a system against the simulated broker on loopback, all in one folder."""

import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from observer.base.shipped_files import shipped_file
from observer.brokers.broker import DEFAULT_BROKER, RecordKind
from observer.calendar.session_file import SHIPPED

DAY: Final = date(2026, 11, 18)  # an ordinary Wednesday, the day before the exam day

# Reference jobs, ETF jobs and the backup lie inside the hours that the demo shows; everything else happens at its usual
# time. After the backup there is so much time that a busy machine makes it.
UNIVERSE_AT: Final = "08:05"
SCHEDULE: Final = {"master_files": "12:20", "backup": "15:00"}
WHOLE_DAY_SCHEDULE: Final = {"master_files": "12:20", "backup": "19:40"}
WHOLE_DAY: Final = ["whole-day"]  # the profile of both venues, 08:00 to 20:00
BOTH_VENUES: Final = ["KRX", "NXT"]
AUCTION_SESSIONS: Final = ["closing-auction"]  # expected prices exist in auctions: slots stay into the closing one
ETF_TIMES: Final = {"list_at": "08:40", "values_at": "09:40", "ranges_at": "09:41"}
LISTING_APPEARS_AT: Final = "12:10"
_POOL: Final = "provider_pool.json"
_SELECTION: Final = "symbol_selection.json"
DROPS: Final = (
    {"at": "10:42:00", "closed_for_s": 5.0},
    {"at": "13:17:30", "closed_for_s": 20.0},
)

# After each of them the app key stays in use longer than the stream is closed: a reconnect meets OPSP8996.
SESSION_TIMEOUT_S: Final = 60.0


BREAKER_STOPS: Final[Sequence[Mapping[str, object]]] = ({"at": "10:30", "for_s": 1800}, {"at": "14:00", "closes": True})
"""Two circuit breakers: one that ends in an auction, and one of the third level, which closes the market."""


class DemoConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a demo: made-up symbols, seed, folder of real samples (None: made-up listings), database URL
    (empty: a file in the folder), number of accounts, record kinds streamed beside trades, the universe's time (HH:MM),
    whether both venues are collected the whole day, whether circuit breakers stop the market, the day, and the ports of
    the exporter and of the page (0: none).
    """

    symbols: int
    seed: int
    data: Path | None = None
    database: str = ""
    accounts: int = 1
    streams: Sequence[RecordKind] = ()
    universe_at: str = UNIVERSE_AT
    nxt: bool = False
    breaker: bool = False
    day: date = DAY
    metrics_port: int = 0
    web_port: int = 0


def write_demo_configuration(folder: Path, demo: DemoConfiguration) -> Path:
    """Write configuration and new broker keys into the existing `folder`; return the path of the configuration."""
    names = ["main"] if demo.accounts == 1 else [f"account_{n:03}" for n in range(1, demo.accounts + 1)]
    keys = _keys_file(folder, names)
    _pool_file(folder.absolute(), names)
    # Only ETFs have a NAV: to stream it, the universe needs them.
    universe = {"generation_time": demo.universe_at, "exclude_etf": "nav" not in demo.streams}
    _write_json(folder / _SELECTION, {"universe": universe})
    configuration = folder / "observer.toml"
    configuration.touch(mode=0o600)  # it knows the simulated broker's keys, and perhaps a database's password
    configuration.write_text(tomli_w.dumps(_document(folder.absolute(), demo, keys)))
    return configuration


def _keys_file(folder: Path, names: Sequence[str]) -> Mapping[str, str]:
    """Write a new keys file for each account, in the format of a user's.

    Returns the secret of each app key.
    """
    keys = {name: {"app_key": f"PS{secrets.token_hex(17)}", "app_secret": secrets.token_urlsafe(135)} for name in names}
    path = folder / "keys.toml"
    path.touch(mode=0o600)
    path.write_text(tomli_w.dumps(keys))
    return {each["app_key"]: each["app_secret"] for each in keys.values()}


def _pool_file(folder: Path, names: Sequence[str]) -> None:
    keys_file = str(folder / "keys.toml")
    accounts = [
        {"account_id": name, "keys_file": keys_file, "priority": priority}
        for priority, name in enumerate(names, start=1)
    ]
    _write_json(folder / _POOL, {"provider_pool": {"accounts": accounts}})


def _write_json(path: Path, document: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))


def _document(folder: Path, demo: DemoConfiguration, keys: Mapping[str, str]) -> dict[str, object]:
    rest_port, stream_port, files_port = _free_ports(3)
    simulator = {
        "seed": demo.seed,
        "session_date": demo.day.isoformat(),
        "symbols": demo.symbols,
        "data": "" if demo.data is None else str(demo.data.absolute()),
        "app_keys": dict(keys),
        "rest_port": rest_port,
        "stream_port": stream_port,
        "files_port": files_port,
        "listing_appears_at": LISTING_APPEARS_AT,
        "drops": list(DROPS),
        "session_timeout_s": SESSION_TIMEOUT_S,
        **({"venues": BOTH_VENUES} if demo.nxt else {}),
        **({"market_stops": BREAKER_STOPS} if demo.breaker else {}),
    }
    return {
        "run": {
            "data": str(folder / "data"),
            "runtime": str(folder / "run"),
            "trading_days": str(shipped_file("trading_days.toml")),
            "sessions": str(SHIPPED),
            "provider_pool": str(folder / _POOL),
            "symbol_selection": str(folder / _SELECTION),
            "universe": str(folder / "universe"),
        },
        "store": {"url": demo.database or f"sqlite:///{folder / 'data' / 'observer.db'}"},
        DEFAULT_BROKER: {
            "rest_url": f"http://127.0.0.1:{rest_port}",
            "stream_url": f"ws://127.0.0.1:{stream_port}/tryitout",
            "files_url": f"http://127.0.0.1:{files_port}",
        },
        "schedule": WHOLE_DAY_SCHEDULE if demo.nxt else SCHEDULE,
        "etf": ETF_TIMES,
        **({"universe": {"venues": BOTH_VENUES}, "track_a": {"sessions": WHOLE_DAY}} if demo.nxt else {}),
        **({"metrics": {"port": demo.metrics_port}} if demo.metrics_port else {}),
        **({"web": {"port": demo.web_port}} if demo.web_port else {}),
        **({"track_b": _track_b(demo)} if demo.streams or demo.nxt else {}),
        "simulator": simulator,
    }


def _track_b(demo: DemoConfiguration) -> Mapping[str, object]:
    sessions = {"sessions": AUCTION_SESSIONS} if "expected_price" in demo.streams else {}
    if demo.nxt:
        sessions = {"sessions": WHOLE_DAY}
    return {"records": ["trades", *demo.streams], **sessions}


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; all are held at once, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
