"""A day on which the database file is deleted twice and restored while all processes run:
`python -m tests.chaos.deleted_day --speed 120 --symbols 200`.

A package is made at 10:30. The file is deleted at 11:00 and at 14:00; `observer backup restore` puts the package back
some market minutes later. A second day with the same seed, the same pins and no deletion is the comparison
(tests/chaos/compared_days.py).

Prints one JSON object. Exit status 0: nothing lost, the same trades, the status showed both outages.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.compared_days import Report, are_sound, command, compared, live, run_as_program
from tests.whole.staged import StagedDay

BACKUP_S = 10 * 3600 + 30 * 60
DELETIONS_S = (11 * 3600, 14 * 3600)
GONE_FOR_S = 300


def delete_and_restore(day: StagedDay, at_s: float) -> Mapping[str, Any]:
    """Delete the database under the running system, and restore it later; what the commands said."""
    day.until_second(at_s)
    for path in day.database.parent.glob(f"{day.database.name}*"):
        if path.name in (day.database.name, f"{day.database.name}-wal", f"{day.database.name}-shm"):
            path.unlink()
    day.until_second(at_s + GONE_FOR_S)
    status = command(day, "status")
    restored = command(day, "backup", "restore", "--yes")
    return {
        "status_exit": status.returncode,
        "status_last_lines": status.stdout.splitlines()[-3:],
        "restore_exit": restored.returncode,
        "restore_said": (restored.stdout + restored.stderr).splitlines()[-6:],
    }


def disturbed(day: StagedDay, moments: Sequence[float]) -> Report:
    """Make a package, and delete and restore the database at each moment."""
    day.until_second(BACKUP_S)
    packaged = command(day, "backup", "now")
    events = [delete_and_restore(day, at_s) for at_s in moments]
    return {"package_exit": packaged.returncode, "events": events}


def run(*, speed: float, symbols: int, seed: int, folder: Path | None = None) -> Report:
    """Both days; their comparison."""
    folders = [None, None] if folder is None else [folder / "deleted", folder / "undisturbed"]
    deleted, undisturbed = [
        live(partial(disturbed, moments=moments), speed=speed, symbols=symbols, seed=seed, folder=each)
        for moments, each in zip((DELETIONS_S, ()), folders, strict=True)
    ]
    return {**compared(deleted, undisturbed), "deleted": deleted, "undisturbed": undisturbed}


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether both days pass."""
    return are_sound((reported["deleted"], reported["undisturbed"]), reported) and all(
        event["restore_exit"] == 0 and event["status_exit"] == 1 for event in reported["deleted"]["events"]
    )


if __name__ == "__main__":
    sys.exit(run_as_program(__doc__, run, is_sound, speed=120, symbols=200))
