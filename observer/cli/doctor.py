"""`observer doctor`: checks of the stored data against what was published."""

from pathlib import Path
from typing import Annotated

from click.exceptions import Exit

from observer.base_settings import endpoints_of
from observer.cli.context import ConfigOption, JsonOption, configuration_path, full_settings, print_json
from observer.cli.options import Option
from observer.cli.removed import rows_of_lake
from observer.cli.tables import Table, show
from observer.host.doctor import examine


def doctor(
    config: ConfigOption = None,
    recount: Annotated[bool, Option("--recount", help="Count all rows, too: reads the whole database.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the stored data against what was published. Reads files and the database, beside a running system too.

    Exit status 0 when nothing is lost; 1 when something is, or when the database cannot be read.
    """
    path = configuration_path(config)
    settings = full_settings(config)
    outboxes = endpoints_of(settings.run).runtime_directory / "outbox"
    folder = settings.backup.folder_of(settings.run)
    sealed = rows_of_lake(settings)
    findings = examine(settings.store.url, Path(outboxes), folder, recount=recount, sealed=sealed)
    if as_json:
        print_json(findings)
    else:
        rows = [(finding.check, finding.level, finding.text) for finding in findings]
        show(Table(("check", "result", "finding"), rows, f"System of {path}", folded=("finding",)))
    if any(finding.level == "critical" for finding in findings):
        raise Exit(1)
