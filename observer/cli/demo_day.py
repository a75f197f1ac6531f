"""The demo's day: one folder with its configuration, keys and clock, made anew for each run."""

import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Final

import msgspec
import tomli_w

from observer.clock import NS_PER_S, ScaledClock, kst_ns
from observer.config import Settings, load_settings
from observer.errors import ConfigError
from observer.supervisor.instance import InstanceLock

DAY: Final = date(2026, 11, 18)  # an ordinary Wednesday, the day before the exam day
BEGINS: Final = (7, 59)  # the clock stands here while the processes start, so that 08:00 happens to all of them
ENDS: Final = (15, 40)
BOOT_S: Final = 6.0  # machine seconds for starting everything on two slow cores

# Reference jobs and the backup lie inside the hours that the demo shows; everything else happens at its usual time.
SCHEDULE: Final = {"universe": "08:05", "master_files": "08:30", "backup": "15:35"}
LISTING_APPEARS_AT: Final = "08:20"
DROPS: Final = (
    {"at": "10:42:00", "closed_for_s": 5.0},
    {"at": "13:17:30", "closed_for_s": 20.0},
)


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person can choose: market seconds a second, made-up symbols, database URL (empty: a file in the folder),
    seed, folder of real samples (None: made-up listings), whether to keep everything, and the folder.
    """

    speed: float
    symbols: int
    database: str
    seed: int
    data: Path | None
    keep: bool
    folder: Path


class DemoDay(msgspec.Struct, frozen=True):
    """A prepared demo: its configuration and what is in it, its clock, its begin and end (UTC ns of market time)."""

    configuration: Path
    settings: Settings
    clock: ScaledClock
    begins_ns: int
    ends_ns: int


def prepare(options: DemoOptions) -> DemoDay:
    """Empty the folder and fill it for a new day.

    Raises:
        ConfigError: the folder holds something else, or the samples are not there.
        AlreadyRunningError: a demo is running in it.
    """
    if options.data is not None and not options.data.is_dir():
        raise ConfigError(f"{options.data} is not a folder of samples")
    _empty(options.folder)
    configuration = options.folder / "observer.toml"
    configuration.write_text(tomli_w.dumps(_document(options, _keys_file(options.folder))))
    begins_ns, ends_ns = kst_ns(DAY, *BEGINS), kst_ns(DAY, *ENDS)
    clock = ScaledClock(begins_ns, time.monotonic_ns() + round(BOOT_S * NS_PER_S), options.speed)
    return DemoDay(configuration, load_settings(configuration), clock, begins_ns, ends_ns)


def tidy(options: DemoOptions) -> None:
    """Leave the database and the files that people read; sockets, outboxes, keys and logs go."""
    shutil.rmtree(options.folder / "run", ignore_errors=True)
    shutil.rmtree(options.folder / "data" / "logs", ignore_errors=True)
    (options.folder / "keys.toml").unlink(missing_ok=True)


def _empty(folder: Path) -> None:
    """Remove an earlier demo, and nothing that is not one."""
    runtime = folder / "run"
    if runtime.exists():
        InstanceLock(runtime).release()  # raises when a demo runs here
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "observer.toml").exists():
            raise ConfigError(f"{folder} holds something that is not an earlier demo: choose another --folder")
        shutil.rmtree(folder)
    (folder / "data").mkdir(parents=True)


def _keys_file(folder: Path) -> Mapping[str, str]:
    """Keys of the simulated broker, new ones each time, in a file as a user's would be."""
    keys = {"app_key": f"PS{secrets.token_hex(17)}", "app_secret": secrets.token_urlsafe(135)}
    path = folder / "keys.toml"
    path.touch(mode=0o600)
    path.write_text(tomli_w.dumps({"main": keys}))
    return keys


def _document(options: DemoOptions, keys: Mapping[str, str]) -> dict[str, object]:
    folder = options.folder.absolute()
    rest_port, stream_port, files_port = _free_ports(3)
    simulator = {
        "seed": options.seed,
        "session_date": DAY.isoformat(),
        "symbols": options.symbols,
        "data": "" if options.data is None else str(options.data.absolute()),
        "app_keys": {keys["app_key"]: keys["app_secret"]},
        "rest_port": rest_port,
        "stream_port": stream_port,
        "files_port": files_port,
        "listing_appears_at": LISTING_APPEARS_AT,
        "drops": list(DROPS),
    }
    return {
        "run": {"data": str(folder / "data"), "runtime": str(folder / "run"), "trading_days": str(_trading_days())},
        "store": {"url": options.database or f"sqlite:///{folder / 'data' / 'observer.db'}"},
        "account": {"name": "main", "keys_file": str(folder / "keys.toml")},
        "kis": {
            "rest_url": f"http://127.0.0.1:{rest_port}",
            "stream_url": f"ws://127.0.0.1:{stream_port}/tryitout",
            "files_url": f"http://127.0.0.1:{files_port}",
        },
        "schedule": SCHEDULE,
        "simulator": simulator,
    }


def _trading_days() -> Path:
    """The reviewed overlay that lies beside the packages."""
    return Path(__file__).parents[2] / "config" / "trading_days.toml"


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; all are held at once, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
