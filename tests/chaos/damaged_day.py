"""A day on which a page of the database is overwritten at 10:00 while all processes run:
`python -m tests.chaos.damaged_day --speed 120 --symbols 100 [--database sqlite|postgresql]`.

A package is made at 09:40. Who names the damage, and when, is read from the status; what nobody meets by 13:00, the
check before a package names. Then `observer backup restore --yes`, which the alert names, ends it. A second day with
the same seed, the same pins and no damage is the comparison (tests/chaos/compared_days.py).

Prints one JSON object. Exit status 0: named as one alert, nothing lost, the same trades.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bus.commands import OpenAlert, Status, StatusReply
from observer.monitoring.alerts.process import DATABASE_DAMAGED
from observer.store.write_ahead_log import fold_log
from tests.chaos.compared_days import Report, are_sound, asked, command, compared, live
from tests.conformance.private_server import private_server
from tests.store.damaged import damage_page, pages_of
from tests.store.raw import query
from tests.whole.staged import StagedDay

PACKAGE_S = 9 * 3600 + 40 * 60
DAMAGED_S = 10 * 3600
CHECKED_S = 13 * 3600
WHOLE_S = 14 * 3600 + 30 * 60
_POLL_S = 20  # market seconds
_SERVER_PAGE_BYTES = 8192

Damage = Callable[[StagedDay], str]
"""Overwrites a page; says which."""


def in_file(day: StagedDay) -> str:
    """A page in the middle of SQLite's file."""
    fold_log(day.system.url, 5.0)
    page = pages_of(day.database) // 2
    damage_page(day.database, page)
    return f"page {page} of {day.database.name}"


@contextlib.contextmanager
def on_server() -> Iterator[tuple[str, Damage]]:
    """A server, and a page of its trades that is overwritten while it restarts: else it has the page in its memory."""
    with private_server() as server:

        def damage(_: StagedDay) -> str:
            [[path]] = query(server.url, "SELECT pg_relation_filepath('trade_rows')")
            server.stop(in_order=True)  # a recovery would mend the page from the log
            with (server.data / str(path)).open("r+b") as file:
                file.seek(_SERVER_PAGE_BYTES)
                file.write(b"\xff" * _SERVER_PAGE_BYTES)
            server.start()
            return f"page 1 of trade_rows ({path})"

        yield server.url, damage


@contextlib.contextmanager
def in_folder() -> Iterator[tuple[str, Damage]]:
    yield "", in_file


def named(day: StagedDay) -> OpenAlert | None:
    reply = asked(day, Status())
    assert isinstance(reply, StatusReply), reply
    found = [alert for alert in reply.alerts if alert.identity == DATABASE_DAMAGED]
    assert len(found) <= 1, found
    return found[0] if found else None


def disturbed(day: StagedDay, damage: Damage | None) -> Report:
    """Make the package, damage the page, wait for its name, and do what that says; what was seen."""
    day.until_second(PACKAGE_S)
    packaged = command(day, "backup", "now")
    if damage is None:
        return {"package_exit": packaged.returncode}
    day.until_second(DAMAGED_S)
    where, alert, by = damage(day), None, "a process that met it"
    while alert is None and day.second() < CHECKED_S:
        day.until_second(day.second() + _POLL_S)
        alert = named(day)
    if alert is None:
        by = "the check before a package"
        command(day, "backup", "now")
        alert = named(day)
    named_s = day.second()
    status = command(day, "status")
    restored = command(day, "backup", "restore", "--yes")
    day.until_second(max(WHOLE_S, day.second() + 120))
    return {
        "package_exit": packaged.returncode,
        "damaged": where,
        "named_after_s": named_s - DAMAGED_S,
        "named_by": f"{by}: {alert.process}: {alert.text}" if alert else "",
        "status_exit": status.returncode,
        "alerts": [line for line in status.stdout.splitlines() if line.startswith(("critical", "warning"))],
        "restore_exit": restored.returncode,
        "restore_said": (restored.stdout + restored.stderr).splitlines()[-6:],
        "still_named": named(day) is not None,
        "check": command(day, "db", "check", "--recount").stdout.splitlines(),
    }


def run(database: str, *, speed: float, symbols: int, seed: int, folder: Path | None = None) -> Report:
    """Both days; their comparison."""
    days = []
    for name in ("damaged", "undisturbed"):
        with on_server() if database == "postgresql" else in_folder() as (url, damage):
            act = partial(disturbed, damage=damage if name == "damaged" else None)
            place = folder / name if folder else None
            days.append(live(act, speed=speed, symbols=symbols, seed=seed, folder=place, database=url))
    damaged, undisturbed = days
    return {**compared(damaged, undisturbed), "damaged": damaged, "undisturbed": undisturbed}


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether both days pass, and the damage was one alert with a remedy that ended it. The restart of a server has
    alerts of its own.
    """
    day = reported["damaged"]
    return (
        are_sound((day, reported["undisturbed"]), reported)
        and "`observer backup restore --yes`" in day["named_by"]
        and (day["status_exit"], day["restore_exit"], day["still_named"]) == (1, 0, False)
        and len([line for line in day["alerts"] if "damaged" in line or "backup" in line]) == 1
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--speed", type=float, default=120, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep everything in it")
    reported = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(reported, indent=2, default=str) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
