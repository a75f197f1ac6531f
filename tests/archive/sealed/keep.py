"""Seals a small day with the code that runs, and keeps it: `python -m tests.archive.sealed.keep`.

`version-N` is the lake of the code whose `bus.events.SCHEMA_VERSION` was N, without what follows from its manifest.
Keep one before a migration adds a column to a sealed kind; never write an older one again.
"""

import shutil
import tempfile
import threading
from pathlib import Path

from bus.events import SCHEMA_VERSION, Event
from observer.archive.sealing import seal_days
from tests.archive.stored import DAY, MARKET, make_stored, of_every_kind

FOLDER = Path(__file__).parent
KEPT = ("trades", "expected_prices", "market_states")


def events() -> list[Event]:
    """The day's events, one of each kind that is kept."""
    return of_every_kind(DAY, "005930", 1, KEPT)


def keep() -> None:
    """Write the lake of the present version; fails where it is already."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder, "lake")
        list(seal_days(lake, make_stored(Path(folder), *events()), MARKET, [DAY], lambda: 1, threading.Event()))
        for part in ("_versions", "_days"):
            shutil.copytree(lake / part, FOLDER / f"version-{SCHEMA_VERSION}" / part)


if __name__ == "__main__":
    keep()
