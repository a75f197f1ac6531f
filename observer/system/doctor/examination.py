"""The whole examination: each subject's facts are gathered and judged by themselves, so that none hides another, and
none that hangs keeps the others.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from observer.archive.day import lost_files, sealed_days
from observer.archive.settings import LakeSettings
from observer.base.errors import DataFileError, StoreError
from observer.base.files import as_owner
from observer.base.instance import Instance
from observer.store.engine import parse_url
from observer.store.removal import SealedRows
from observer.system.doctor import installation, installation_facts, machine, machine_facts, stored
from observer.system.doctor.finding import Finding, critical
from observer.system.doctor.place import Place

_Facts = TypeVar("_Facts")
LIMIT_S: Final = 20.0
"""So long one subject may take: a mount whose server is off, or a database that hangs, never answers."""
_CONNECT_S: Final = 10  # two failed connections to a silent server leave room for nothing else


class Subject(Generic[_Facts]):
    """One subject: its facts, and what follows from them. Without facts (None) it does not apply here. `looks_at` names
    what it asks, without asking it; `limit_s` is its longest time, None for one that reads all rows.
    """

    def __init__(
        self,
        name: str,
        gather: Callable[[Place], _Facts | None],
        judge: Callable[[_Facts], Iterable[Finding]],
        looks_at: Callable[[Place], str] = lambda place: str(place.path),
        limit_s: float | None = LIMIT_S,
    ) -> None:
        self.name = name
        self._gather = gather
        self._judge = judge
        self._looks_at = looks_at
        self._limit_s = limit_s

    def findings(self, place: Place) -> Sequence[Finding]:
        """What is found; a check that fails itself, or does not end in its time, is a finding, too."""
        if self._limit_s is None:
            return self._found(place)
        found: list[Sequence[Finding]] = []
        # A daemon: nothing ends a thread that waits for a dead mount, and the program's end must not wait for it.
        working = threading.Thread(target=lambda: found.append(self._found(place)), daemon=True)
        working.start()
        working.join(self._limit_s)
        if found:
            return found[0]
        text = f"no answer within {self._limit_s:g} s: {self._looks_at(place)}"
        return [critical(self.name, text, "see whether its disk, mount or server answers: `ls`, `mount`, `dmesg`")]

    def _found(self, place: Place) -> Sequence[Finding]:
        try:
            facts = self._gather(place)
            return [] if facts is None else list(self._judge(facts))
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


def examine(place: Place, subjects: "Sequence[Subject[Any]] | None" = None) -> Sequence[Finding]:
    """What is found of these subjects, all by default."""
    return [finding for subject in subjects or SUBJECTS for finding in subject.findings(place)]


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
    return ", ".join(f"{purpose} {path}" for purpose, path in machine_facts.places_of(place).items())


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


def _sealed(place: Place) -> Callable[[], Sequence[SealedRows]]:
    """Gives the rows that the database need not have, as the lake's manifests say."""
    market = place.base.instance.market if place.base else Instance().market
    return lambda: [rows for day in sealed_days(_lake(place)) if day.market == market for rows in day.removable_rows()]


def _lost_files(place: Place) -> Sequence[str]:
    """What is to say of files of sealed days that are gone, or of a manifest that cannot be read."""
    lake = _lake(place)
    try:
        return [text for day in sealed_days(lake) for text in lost_files(lake, day)]
    except DataFileError as error:
        return [str(error)]


def _of_stored(gather: Callable[[stored.Stored], _Facts | None]) -> Callable[[Place], _Facts | None]:
    def facts(place: Place) -> _Facts | None:
        where = stored_of(place)
        return None if where is None else gather(where)

    return facts


def _counted(where: stored.Stored) -> stored.RowFacts | None:
    """The count of the rows, where it is wanted and the database can be read."""
    return stored.row_facts(where) if where.recount and stored.database_facts(where).is_readable else None


SUBJECTS: Final[Sequence[Subject[Any]]] = (
    Subject("configuration", installation_facts.configuration_facts, installation.judge_configuration),
    Subject("keys", installation_facts.key_facts, installation.judge_keys, _keys),
    Subject("runtime", installation_facts.runtime_facts, installation.judge_runtime, _runtime),
    Subject("database", _of_stored(stored.database_facts), stored.judge_database, _database),
    Subject("rows", _of_stored(_counted), stored.judge_rows, _database, limit_s=None),
    Subject("lake", _lost_files, stored.judge_lake, lambda place: str(_lake(place))),
    Subject("outboxes", _of_stored(stored.outbox_facts), stored.judge_outboxes, _places),
    Subject("backup", _of_stored(stored.backup_facts), stored.judge_backup, _places),
    Subject("second copy", installation_facts.second_copy_facts, installation.judge_second_copy, _second_copy),
    Subject("alerts", installation_facts.target_facts, installation.judge_targets),
    Subject("calendar", installation_facts.calendar_facts, installation.judge_calendar),
    Subject("clock", machine_facts.clock_facts, machine.judge_clock, _hosts),
    Subject("disk", machine_facts.disk_facts, machine.judge_disks, _places),
    Subject("file system", machine_facts.file_system_facts, machine.judge_file_systems, _places),
    Subject("ports", machine_facts.port_facts, machine.judge_ports),
    Subject("broker", machine_facts.host_facts, machine.judge_hosts, _hosts),
    Subject("limits", machine_facts.limit_facts, machine.judge_limits),
    Subject("versions", machine_facts.version_facts, machine.judge_versions),
    Subject("time zone", machine_facts.zone_facts, machine.judge_zone),
)  # fmt: skip
"""In the order in which a person can act on them."""
