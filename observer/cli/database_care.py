"""`observer db stats`, `check` and `upgrade`: size, integrity and schema of the configured database."""

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import msgspec
from click.exceptions import Exit
from rich.console import Console

from observer.archive.settings import load_backup_settings
from observer.base.clock import RealClock
from observer.base.errors import DatabaseInUseError, StoreError
from observer.base.remedies import REMEDIES
from observer.base.settings import load_base_settings
from observer.cli.context import ConfigOption, JsonOption, configuration_path, print_json
from observer.cli.doctor import show_findings
from observer.cli.options import Option
from observer.cli.steps import Step, steps
from observer.cli.tables import Table, show, show_text
from observer.store.integrity import schema_problems
from observer.store.sizes import DatabaseSize, SizeReader, TableSize
from observer.store.upgrade import Upgrade, planned_upgrade, upgrade
from observer.system.doctor.examination import stored_of
from observer.system.doctor.finding import Finding, critical, ok
from observer.system.doctor.place import place_of
from observer.system.doctor.stored import Stored, database, integrity, rows

_DAYS: Final = 5
_KINDS_NAMED: Final = 4


class _Stats(msgspec.Struct, frozen=True):
    """What `db stats --json` prints: the sizes, and the rows of the last days by table."""

    database: DatabaseSize
    days: Mapping[str, Mapping[str, int]]


def stats(
    days: Annotated[int, Option(min=0, max=366, help="So many of the last sessions, with their rows.")] = _DAYS,
    every: Annotated[bool, Option("--all", help="Also tables without a row.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the size of the database and of its tables. Reads no table that grows, beside a running system too.

    Rows marked ~ are the estimate of the statistics, which are made each day; ? is not known yet. A large SQLite file
    has bytes in sum alone: only reading every page shows those of a table.
    """
    base = load_base_settings(configuration_path(config))
    with steps(Console(stderr=True)) as step, SizeReader(base.store.url) as reader:
        step("reading the sizes")
        size = reader.sizes()
        found = {}
        for day in reader.last_days(days):
            step(f"counting {day}")
            found[day] = reader.day_rows(day)
    if as_json:
        print_json(_Stats(size, found))
        return
    shown = [table for table in size.tables if every or table.rows != 0]
    rows = [(each.name, _rows_text(each), _bytes_text(each.size_bytes)) for each in shown]
    free = f", {_bytes_text(size.free_bytes)} of it free for new rows" if size.free_bytes else ""
    log = f", and {_bytes_text(size.log_bytes)} of SQLite's log" if size.log_bytes else ""
    show(Table(("table", "rows", "bytes"), rows, f"{_bytes_text(size.size_bytes)}{free}{log}", right=("rows", "bytes")))
    if found:
        lines = [(day, f"{sum(counts.values()):,}", _kinds_text(counts)) for day, counts in found.items()]
        sys.stdout.write("\n")
        show(Table(("day", "rows", "most of them"), lines, "Rows without trades", ("rows",), ("most of them",)))


def check(
    recount: Annotated[bool, Option("--recount", help="Also compare all rows with the event streams' marks.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that the database is whole and has the expected schema. Beside a running system, too; reads all of a file.

    Exit status 1 when something is wrong, 130 after ctrl-C. `observer doctor` examines everything else.
    """
    path = configuration_path(config)
    load_base_settings(path)  # refuses what is wrong in its sections; the others may be wrong
    stored = stored_of(place_of(path, RealClock().now_ns(), recount=recount))
    assert stored is not None, "its sections are right"
    with steps(Console(stderr=True)) as step, _stop_on_interrupt() as stop:
        findings = list(checked(stored, step, stop))
    if as_json:
        print_json(findings)
    else:
        show_findings(findings, f"Database of {path}")
    if any(finding.level == "critical" for finding in findings):
        raise Exit(1)


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Set by ctrl-C, which ends a query of SQLite with an error of its own: that is no finding."""
    stop = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, earlier)


def checked(stored: Stored, step: Step, stop: threading.Event) -> Iterator[Finding]:
    """What is found; a part that the database does not answer hides no other.

    Raises:
        StoppedError: `stop` was set.
    """
    step("asking the database")
    found = {finding.check: finding for finding in database(stored)}
    yield from found.values()
    if found["database"].level != "ok":
        return
    step("checking its integrity")
    yield from integrity(stored, stop)
    if "schema" not in found:
        step("comparing the schema")
        yield from _judged_schema(stored)
    if stored.recount and "schema" not in found:
        step("counting all rows")
        yield from rows(stored)


def _judged_schema(stored: Stored) -> Iterator[Finding]:
    try:
        problems = schema_problems(stored.url)
    except StoreError as error:
        yield critical("schema", str(error), REMEDIES["database damaged"])
        return
    for problem in problems:
        remedy = "undo what was changed by hand, or `observer backup restore --yes`"
        yield critical("schema", f"differs from this version's: {problem}", remedy)
    if not problems:
        yield ok("schema", "every table, column, index and view as this version expects")


def upgrade_command(
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would be done.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the database to the schema of this version. A copy is made first; a running system refuses it.

    To be run as the user that owns the database. `observer run` does the same at its start. The way back is printed.
    """
    path = configuration_path(config)
    base = load_base_settings(path)
    copies = load_backup_settings(path).folder_of(base.run)
    plan = planned_upgrade(base.store.url, base.instance, copies)
    if plan.steps and not dry_run:
        if plan.refused:
            raise DatabaseInUseError(plan.refused)
        with steps(Console(stderr=True)) as step:
            step(f"copying the database to {plan.copy}, then changing its schema")
            upgrade(base.store.url, base.instance, copies)
    if as_json:
        print_json(plan)
    else:
        show_text("\n".join(plan_lines(plan, is_done=not dry_run)))


def plan_lines(plan: Upgrade, *, is_done: bool) -> Iterator[str]:
    """What was done, or would be, and the way back."""
    if not plan.steps:
        yield f"{plan.database}: its schema is {plan.revision}, as this version needs it: nothing to do"
        return
    size = "" if plan.copy_bytes is None else f" ({_bytes_text(plan.copy_bytes)})"
    yield f"{plan.database}: schema {plan.revision} {'became' if is_done else 'would become'} {plan.target}"
    yield f"copy{'' if is_done else ', made first'}: {plan.copy}{size}"
    yield from (f"  {step.revision}: {step.text}" for step in plan.steps)
    if plan.refused:
        yield f"refused now: {plan.refused}"
    yield f"the way back: stop the system, take the earlier version, then {_way_back(plan)}"


def _way_back(plan: Upgrade) -> str:
    if plan.copy_bytes is None:
        return f"`observer backup restore --yes PACKAGE` with the package from before; {plan.copy} is one more dump"
    copy = Path(plan.copy)
    file = copy.with_name(copy.name.rpartition(".before-")[0])
    old, new, kept = (shlex.quote(str(each)) for each in (copy, file, file.with_name(f"{file.name}.newer")))
    logs = "".join(f" && {{ [ ! -e {new}{end} ] || mv {new}{end} {kept}{end}; }}" for end in ("-wal", "-shm"))
    return f"`mv {new} {kept}{logs} && mv {old} {new}` (what was written since then stays in {kept})"


# --- texts -----------------------------------------------------------------------------------------------------


def _rows_text(table: TableSize) -> str:
    if table.rows is None:
        return "?"
    return f"{table.rows:,}" if table.is_exact else f"~{table.rows:,}"


def _bytes_text(count: int | None) -> str:
    if count is None:
        return "?"
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def _kinds_text(counts: Mapping[str, int]) -> str:
    most: Sequence[tuple[str, int]] = sorted(counts.items(), key=lambda each: -each[1])[:_KINDS_NAMED]
    return ", ".join(f"{name} {rows:,}" for name, rows in most)
