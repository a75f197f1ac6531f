"""A day on which a PostgreSQL server is put back twice to an earlier base backup while all processes run:
`python -m tests.chaos.put_back_day --speed 240 --symbols 100`.

The base backup is made at 10:30. At 11:00 and at 14:00 the server is stopped, its data folder is replaced by that
backup, and it is started again. No command of Observer follows: the producers deliver again by themselves. A second day
with the same seed and the same pins on an undisturbed server is the comparison (tests/chaos/compared_days.py).

Prints one JSON object. Exit status 0: nothing lost, the same trades, no process was started again, and status and
alerts showed each outage and that the database went back.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bus.commands import Status, StatusReply
from observer.monitoring.alerts.process import DATABASE_UNAVAILABLE, DATABASE_WENT_BACK
from tests.chaos.compared_days import Report, are_sound, asked, command, compared, live, run_as_program
from tests.conformance.private_server import PrivateServer, private_server
from tests.store.raw import query
from tests.whole.staged import StagedDay

BACKUP_S = 10 * 3600 + 30 * 60
PUT_BACK_S = (11 * 3600, 14 * 3600)
RUN_ON_S = 120  # market seconds of an outage that status shows


def put_back(day: StagedDay, server: PrivateServer, backup: Path, at_s: float) -> Mapping[str, Any]:
    """Put the server back to the backup under the running system; what status and alerts showed."""
    spare = backup.with_name("spare")
    shutil.copytree(backup, spare)
    day.until_second(at_s)
    stored = events_of(day)
    server.stop()
    day.system.until(lambda: times_open(day, DATABASE_UNAVAILABLE), "status shows the outage")
    day.until_second(day.second() + RUN_ON_S)
    outage = shown(day)
    server.replace(spare)
    day.system.until(lambda: epochs_of(day) > 1, "the writer has noticed that the database went back")
    day.system.until(lambda: not times_open(day, DATABASE_UNAVAILABLE), "status shows the end of the outage")
    return {
        "events_before": stored,
        "outage": outage,
        "afterwards": shown(day),
    }


def shown(day: StagedDay) -> Report:
    """What the commands for people show: identities of the listed alerts, and the exit status of `observer status`."""
    status = command(day, "status")
    listed = json.loads(command(day, "alerts", "--json").stdout)["alerts"]
    return {"status_exit": status.returncode, "alerts": [row["identity"] for row in listed], "status": status.stdout}


def status_of(day: StagedDay) -> StatusReply:
    """The system's status."""
    reply = asked(day, Status())
    assert isinstance(reply, StatusReply), reply
    return reply


def times_open(day: StagedDay, identity: str) -> int:
    """How often the open alerts of this identity were reported; 0 where none is open."""
    return sum(alert.count for alert in status_of(day).alerts if alert.identity == identity)


def epochs_of(day: StagedDay) -> int:
    """The database's epochs; the backup has the first one alone."""
    [[epochs]] = day.system.ask("SELECT count(*) FROM database_epochs")
    return int(epochs)


def events_of(day: StagedDay) -> int:
    """Events that the marks of the database say are stored."""
    [[events]] = day.system.ask("SELECT coalesce(sum(high_water_mark), 0)::bigint FROM streams")
    return int(events)


def disturbed(day: StagedDay, server: PrivateServer, moments: Sequence[float]) -> Report:
    """Make the backup, and put the server back to it at each moment."""
    day.until_second(BACKUP_S)
    backup = server.base_backup()
    backed_up = events_of(day)  # at most so many are in it
    return {"events_backed_up": backed_up, "events": [put_back(day, server, backup, at_s) for at_s in moments]}


def one_day(moments: Sequence[float], *, speed: float, symbols: int, seed: int, folder: Path | None) -> Report:
    """A day on a server of its own that is put back at these moments; its report, with the stored alerts and epochs."""
    with private_server() as server:
        reported = live(
            lambda day: disturbed(day, server, moments),
            speed=speed,
            symbols=symbols,
            seed=seed,
            folder=folder,
            database=server.url,
        )
        return reported | {
            "alerts": query(server.url, "SELECT identity, count(*) FROM alerts GROUP BY 1 ORDER BY 1"),
            "epochs": query(server.url, "SELECT reason FROM database_epochs ORDER BY id"),
        }


def run(*, speed: float, symbols: int, seed: int, folder: Path | None = None) -> Report:
    """Both days; their comparison."""
    folders = [None, None] if folder is None else [folder / "put_back", folder / "undisturbed"]
    put_back_day, undisturbed = [
        one_day(moments, speed=speed, symbols=symbols, seed=seed, folder=each)
        for moments, each in zip((PUT_BACK_S, ()), folders, strict=True)
    ]
    return {**compared(put_back_day, undisturbed), "put_back": put_back_day, "undisturbed": undisturbed}


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether both days pass without the restart of a process, and the outages of the disturbed one were shown."""
    days = (reported["put_back"], reported["undisturbed"])
    events = reported["put_back"]["events"]
    return (
        are_sound(days, reported)
        and all(day["every_process_lived"] and not any(day["restarts"].values()) for day in days)
        and len(events) == len(PUT_BACK_S)
        and all(reported["put_back"]["events_backed_up"] < event["events_before"] for event in events)
        and all(map(_was_shown, events))
        and dict(reported["put_back"]["alerts"]).get(DATABASE_WENT_BACK, 0) >= len(PUT_BACK_S)
    )


def _was_shown(event: Mapping[str, Any]) -> bool:
    outage, afterwards = event["outage"], event["afterwards"]
    return (
        DATABASE_UNAVAILABLE in outage["alerts"]
        and DATABASE_UNAVAILABLE not in afterwards["alerts"]
        and outage["status_exit"] == 1
    )


if __name__ == "__main__":
    sys.exit(run_as_program(__doc__, run, is_sound, speed=240, symbols=100))
