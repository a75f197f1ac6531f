"""The whole examination: each subject's facts are gathered and judged by themselves, so that none hides another."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from observer.doctor import installation, installation_facts, machine, machine_facts, stored
from observer.doctor.finding import Finding, critical
from observer.doctor.place import Place
from observer.lake.layout import sealed_days
from observer.lake.settings import LakeSettings
from observer.store.instance import Instance
from observer.store.removal import SealedRows

_Facts = TypeVar("_Facts")


class Subject(Generic[_Facts]):
    """One subject: its facts, and what follows from them. Without facts (None) it does not apply here."""

    def __init__(
        self, name: str, gather: Callable[[Place], _Facts | None], judge: Callable[[_Facts], Iterable[Finding]]
    ) -> None:
        self.name = name
        self._gather = gather
        self._judge = judge

    def findings(self, place: Place) -> Sequence[Finding]:
        """What is found; a check that fails itself is a finding, too."""
        try:
            facts = self._gather(place)
            return [] if facts is None else list(self._judge(facts))
        except Exception as error:  # noqa: BLE001 - whatever one check meets, the others say what they see
            text = f"this check failed itself: {type(error).__name__}: {error}"
            return [critical(self.name, text, "report it with `observer --version`, and look at what it names")]


def examine(
    place: Place, subjects: "Sequence[Subject[Any]] | None" = None, begins: Callable[[str], object] = str
) -> Sequence[Finding]:
    """What is found of these subjects, all by default; `begins` hears the name of each before its examination."""
    found: list[Finding] = []
    for subject in SUBJECTS if subjects is None else subjects:
        begins(subject.name)
        found += subject.findings(place)
    return found


def stored_of(place: Place) -> stored.Stored | None:
    """Where the data of this configuration are."""
    if place.base is None:
        return None
    run = place.base.run
    return stored.Stored(
        url=place.base.store.url,
        outboxes=Path(run.runtime).absolute() / "outbox",
        backups=place.backup.folder_of(run),
        instance=place.base.instance,
        recount=place.recount,
        sealed=_sealed(place),
    )


def _sealed(place: Place) -> Callable[[], Sequence[SealedRows]]:
    """Gives the rows that the database need not have, as the lake's manifests say."""
    data = place.base.run.data if place.base else ""
    market = place.base.instance.market if place.base else Instance().market
    folder = ((place.settings.lake if place.settings else None) or LakeSettings()).folder_in(data)
    return lambda: [rows for day in sealed_days(folder) if day.market == market for rows in day.removable_rows()]


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
    Subject("keys", installation_facts.key_facts, installation.judge_keys),
    Subject("runtime", installation_facts.runtime_facts, installation.judge_runtime),
    Subject("database", _of_stored(stored.database_facts), stored.judge_database),
    Subject("rows", _of_stored(_counted), stored.judge_rows),
    Subject("outboxes", _of_stored(stored.outbox_facts), stored.judge_outboxes),
    Subject("backup", _of_stored(stored.backup_facts), stored.judge_backup),
    Subject("second copy", installation_facts.second_copy_facts, installation.judge_second_copy),
    Subject("alerts", installation_facts.target_facts, installation.judge_targets),
    Subject("calendar", installation_facts.calendar_facts, installation.judge_calendar),
    Subject("clock", machine_facts.clock_facts, machine.judge_clock),
    Subject("disk", machine_facts.disk_facts, machine.judge_disks),
    Subject("file system", machine_facts.file_system_facts, machine.judge_file_systems),
    Subject("ports", machine_facts.port_facts, machine.judge_ports),
    Subject("broker", machine_facts.host_facts, machine.judge_hosts),
    Subject("limits", machine_facts.limit_facts, machine.judge_limits),
    Subject("versions", machine_facts.version_facts, machine.judge_versions),
    Subject("time zone", machine_facts.zone_facts, machine.judge_zone),
)  # fmt: skip
"""In the order in which a person can act on them."""
