"""The demo's day: one folder with its configuration, keys and clock, made anew for each run."""

import math
import shutil
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from observer.base.clock import HeldClock
from observer.base.errors import ConfigError
from observer.base.files import PRIVATE_FILE
from observer.base.local_time import local_ns
from observer.base.shipped_files import shipped_file
from observer.calendar.day_file import CalendarFiles
from observer.calendar.session_file import SHIPPED, read_session_rules
from observer.calendar.sessions import sessions_on
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.demo.ledger import LEDGER, OFFERED
from observer.supervisor.instance import InstanceLock
from observer.system.config import Settings, load_settings
from observer.system.preflight import require_writable

ENDS: Final = (15, 40)
WHOLE_DAY_ENDS: Final = (20, 15)
MARKER: Final = ".observer-demo"  # this file alone says that the next demo may remove what the folder holds
OUTBOXES: Final = "outbox"  # in the runtime folder
BOOT_S_MAX: Final = 30.0  # machine seconds; then the day begins even if a process is not ready

# The universe takes machine time, which the speed turns into market time: master files, then a call for each symbol
# (6 ms measured alone on two cores, here with room for a busy machine). It must be there a minute before the open.
_LISTINGS_S: Final = 3.0
_SYMBOL_S: Final = 0.02
_OPENS_MINUTE: Final = 9 * 60
_WHOLE_DAY_OPENS_MINUTE: Final = 8 * 60
_READY_MINUTES: Final = 2  # before the open
_BEGINS_MINUTES: Final = 61  # before the open: the clock stands there while the processes start, and all see the hour
_UNIVERSE_AFTER_MINUTES: Final = 6  # the universe's time after the day's begin
_LINES_PER_SYMBOL: Final = 2.3  # with NXT: its eligibility, and the bars of a second line of the larger symbols
_REAL_SYMBOLS: Final = 4_400  # about as many as the real master files have


class DemoOptions(DemoConfiguration, frozen=True, kw_only=True):
    """The demo's options beside its configuration: market seconds a second, whether to keep everything, the folder."""

    speed: float
    keep: bool
    folder: Path


class DemoDay(msgspec.Struct, frozen=True):
    """A prepared demo: its configuration, its clock, its begin and end (UTC ns of market time)."""

    configuration: Path
    settings: Settings
    clock: HeldClock
    begins_ns: int
    ends_ns: int


def prepare(options: DemoOptions) -> DemoDay:
    """Empty the folder and fill it for a new day.

    Raises:
        ConfigError: the folder holds something else, the samples are not there, or the day is no trading day.
        AlreadyRunningError: a demo is running in it.
        OSError: the database's file can be neither made nor written; the folder is as it was.
    """
    if options.data is not None and not options.data.is_dir():
        raise ConfigError(f"{options.data} is not a folder of samples")
    if options.day != DAY:
        _require_trading(options.day)
    if options.database.startswith("sqlite:///"):
        require_writable(Path(options.database.partition(":///")[2].partition("?")[0]), "--db")
    _empty(options.folder)
    count = options.symbols if options.data is None else _REAL_SYMBOLS
    begins = begins_at(options.speed, count, nxt=options.nxt)
    demo = msgspec.structs.replace(options, universe_at=universe_at(begins))
    configuration = write_demo_configuration(options.folder, demo)
    begins_ns, ends_ns = (
        local_ns(options.day, *begins),
        local_ns(options.day, *(WHOLE_DAY_ENDS if options.nxt else ENDS)),
    )
    clock = HeldClock(begins_ns, options.folder / "data" / "clock", options.speed)
    return DemoDay(configuration, load_settings(configuration), clock, begins_ns, ends_ns)


def begins_at(speed: float, symbols: int, *, nxt: bool = False) -> tuple[int, int]:
    """Hour and minute at which the day begins: an hour and a minute before the open (of NXT, if that is collected), or
    earlier where a universe of so many symbols would not be ready before it at this speed. Midnight is the earliest.
    """
    opens = _WHOLE_DAY_OPENS_MINUTE if nxt else _OPENS_MINUTE
    symbol_s = _SYMBOL_S * (_LINES_PER_SYMBOL if nxt else 1.0)
    needed_minutes = math.ceil((_LISTINGS_S + symbol_s * symbols) * speed / 60)
    latest = opens - _READY_MINUTES - needed_minutes - _UNIVERSE_AFTER_MINUTES
    return divmod(max(0, min(opens - _BEGINS_MINUTES, latest)), 60)


def universe_at(begins: tuple[int, int]) -> str:
    """The universe's time (HH:MM) on a day that begins at this hour and minute."""
    hour, minute = divmod(begins[0] * 60 + begins[1] + _UNIVERSE_AFTER_MINUTES, 60)
    return f"{hour:02d}:{minute:02d}"


def tidy(options: DemoOptions) -> None:
    """Remove sockets, keys, logs and what the broker saw; keep the database, its configuration, the readable files, and
    the outboxes: events behind the day's package are in no other place from which a restore could bring them.
    """
    for path in (options.folder / "run").glob("*"):
        if path.is_dir() and path.name != OUTBOXES:
            shutil.rmtree(path, ignore_errors=True)
        elif not path.is_dir():
            path.unlink(missing_ok=True)
    shutil.rmtree(options.folder / "data" / "logs", ignore_errors=True)
    for name in ("keys.toml", f"data/{LEDGER}", f"data/{OFFERED}"):
        (options.folder / name).unlink(missing_ok=True)


def is_of_demo(folder: Path) -> bool:
    """Whether an earlier demo made this folder, so that the next one may remove what it holds."""
    return (folder / MARKER).is_file()


def _require_trading(day: date) -> None:
    from observer.calendar.packages import trading_days

    [found] = trading_days(CalendarFiles(shipped_file("trading_days.toml"), SHIPPED), day, day)
    if not found.trades or sessions_on(read_session_rules(SHIPPED), found).shift:
        raise ConfigError(f"{day} is no trading day of the usual hours: give another --date")


def _empty(folder: Path) -> None:
    """Remove an earlier demo, and nothing else. Its marker stays, so an interrupted removal can be repeated."""
    runtime = folder / "run"
    if runtime.exists() and is_of_demo(folder):
        InstanceLock(runtime).release()  # raises when a demo runs here
    if folder.exists():
        if any(folder.iterdir()) and not is_of_demo(folder):
            raise ConfigError(f"{folder} holds something that is not an earlier demo: choose another --folder")
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARKER:
                path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch(PRIVATE_FILE)
    (folder / "data").mkdir()
