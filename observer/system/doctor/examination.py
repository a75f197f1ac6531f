"""The whole examination: each check looks and judges by itself, so that none hides another, and none that hangs keeps
the others.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.copies import BACKUP, LAKE
from observer.archive.copying import copy_of_lake
from observer.archive.day import sealed_days
from observer.archive.settings import LakeSettings
from observer.archive.verification import false_manifest
from observer.base.errors import DataFileError, StoreError
from observer.base.files import as_owner
from observer.base.instance import Instance
from observer.store.engine import parse_url
from observer.store.removal import SealedRows
from observer.system.doctor import installation, machine, stored
from observer.system.doctor.finding import Finding, critical
from observer.system.doctor.place import Place

LIMIT_S: Final = 20.0
"""So long one subject may take: a mount whose server is off, or a database that hangs, never answers."""
_CONNECT_S: Final = 10  # two failed connections to a silent server leave room for nothing else


class Check(msgspec.Struct, frozen=True):
    """One check. What does not apply at a place has no finding. `looks_at` names what it asks, without asking it;
    `limit_s` is its longest time, None for one that reads all rows.
    """

    name: str
    look: Callable[[Place], Iterable[Finding]]
    looks_at: Callable[[Place], str] = lambda place: str(place.path)
    limit_s: float | None = LIMIT_S

    def findings(self, place: Place) -> Sequence[Finding]:
        """What is found; a check that fails itself, or does not end in its time, is a finding, too."""
        if self.limit_s is None:
            return self._found(place)
        found: list[Sequence[Finding]] = []
        # A daemon: nothing ends a thread that waits for a dead mount, and the program's end must not wait for it.
        working = threading.Thread(target=lambda: found.append(self._found(place)), daemon=True)
        working.start()
        working.join(self.limit_s)
        if found:
            return found[0]
        text = f"no answer within {self.limit_s:g} s: {self.looks_at(place)}"
        return [critical(self.name, text, "see whether its disk, mount or server answers: `ls`, `mount`, `dmesg`")]

    def _found(self, place: Place) -> Sequence[Finding]:
        try:
            return list(self.look(place))
        except PermissionError as error:
            text = f"{error.filename or place.path}: {error.strerror}"
            return [critical(self.name, text, _owners_command(place.path))]
        except Exception as error:  # noqa: BLE001 - whatever one check meets, the others say what they see
            text = f"this check failed itself: {type(error).__name__}: {error}"
            return [critical(self.name, text, "report it with `observer --version`, and look at what it names")]


def _owners_command(path: Path) -> str:
    try:
        return as_owner(path.stat().st_uid)
    except OSError:
        return "run this command as the system's user, `sudo -u NAME ...`"


def examine(place: Place, checks: Sequence[Check] | None = None) -> Sequence[Finding]:
    """What is found by these checks, all by default."""
    return [finding for check in checks or CHECKS for finding in check.findings(place)]


def stored_of(place: Place) -> stored.Stored | None:
    """Where the data of this configuration are."""
    if place.base is None:
        return None
    run = place.base.run
    return stored.Stored(
        url=_impatient(place.base.store.url),
        outboxes=Path(run.runtime).absolute() / "outbox",
        backups=place.backup.folder_of(run),
        instance=place.base.instance,
        recount=place.recount,
        sealed=_sealed(place),
    )


def _impatient(url: str) -> str:
    """The address, with a limit for the time of a connection; a configured one stays."""
    try:
        parsed = parse_url(url)
    except StoreError:  # the check of the database states it
        return url
    if parsed.get_backend_name() == "sqlite" or "connect_timeout" in parsed.query:
        return url
    impatient = parsed.update_query_dict({"connect_timeout": str(_CONNECT_S)})
    return impatient.render_as_string(hide_password=False)


def _places(place: Place) -> str:
    """What the system writes."""
    return ", ".join(f"{purpose} {path}" for purpose, path in machine.places_of(place).items())


def _database(place: Place) -> str:
    return str(parse_url(place.base.store.url)) if place.base else str(place.path)


def _second_copy(place: Place) -> str:
    return f"backup.copy_to = {place.backup.copy_to}"


def _keys(place: Place) -> str:
    accounts = place.settings.pool.accounts if place.settings else ()
    return ", ".join(str(account.keys_file) for account in accounts if account.keys_file) or str(place.path)


def _runtime(place: Place) -> str:
    return place.base.run.runtime if place.base else str(place.path)


def _hosts(place: Place) -> str:
    return "the broker's hosts, and the resolver of their names" if place.settings else str(place.path)


def _lake(place: Place) -> Path:
    data = place.base.run.data if place.base else ""
    return ((place.settings.lake if place.settings else None) or LakeSettings()).folder_in(data)


def _copies(place: Place) -> Iterable[Finding]:
    if (where := stored_of(place)) is None or where.instance is None:
        return ()
    settings = place.settings.lake if place.settings else None
    others = {BACKUP: str(where.backups), "copy_to": place.backup.copy_to}
    copies = {name: copy_of_lake(Path(path), where.instance).folder for name, path in others.items() if path}
    return stored.copies(where, {LAKE: _lake(place), **copies}, has_target=bool(settings and settings.target))


def _where_copies_are(place: Place) -> str:
    return f"{_lake(place)}, {_places(place)}, {_second_copy(place)}"


def _sealed(place: Place) -> Callable[[], Sequence[SealedRows]]:
    """Gives the rows that the database need not have, as the lake's manifests say."""
    market = place.base.instance.market if place.base else Instance().market

    def sealed() -> Sequence[SealedRows]:
        days = [day for day in sealed_days(_lake(place)) if day.market == market]
        for day in days:
            if day.removed and (false := false_manifest(_lake(place), day)):
                raise DataFileError(false[0])
        return [rows for day in days for rows in day.removable_rows()]

    return sealed


def _of_stored(look: Callable[[stored.Stored], Iterable[Finding]]) -> Callable[[Place], Iterable[Finding]]:
    def findings(place: Place) -> Iterable[Finding]:
        where = stored_of(place)
        return () if where is None else look(where)

    return findings


def _integrity(where: stored.Stored) -> Iterable[Finding]:
    """With a recount, which reads all of it, too."""
    return stored.integrity(where, threading.Event()) if where.recount and stored.is_readable(where.url) else ()


CHECKS: Final = (
    Check("configuration", installation.configuration),
    Check("keys", installation.keys, _keys),
    Check("runtime", installation.runtime, _runtime),
    Check("database", _of_stored(stored.database), _database),
    Check("integrity", _of_stored(_integrity), _database, limit_s=None),
    Check("rows", _of_stored(stored.rows), _database, limit_s=None),
    Check("lake", lambda place: stored.lake(_lake(place), recount=place.recount), lambda place: str(_lake(place))),
    Check("copies", _copies, _where_copies_are),
    Check("outboxes", _of_stored(stored.outboxes), _places),
    Check("backup", _of_stored(stored.backup), _places),
    Check("second copy", installation.second_copy, _second_copy),
    Check("alerts", installation.alerts),
    Check("calendar", installation.calendar),
    Check("clock", machine.clock, _hosts),
    Check("disk", machine.disks, _places),
    Check("file system", machine.file_systems, _places),
    Check("ports", machine.ports),
    Check("broker", machine.hosts, _hosts),
    Check("limits", machine.limits),
    Check("versions", machine.versions),
    Check("time zone", machine.time_zone),
)
"""In the order in which a person can act on them."""
