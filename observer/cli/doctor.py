"""`observer doctor`: the whole examination of a system, its machine and its data."""

import sys
from collections.abc import Sequence
from typing import Annotated, Final

from click.exceptions import Exit
from rich.console import Console

from observer.base.clock import RealClock
from observer.cli.context import ConfigOption, JsonOption, examined_configuration, print_json
from observer.cli.options import Option
from observer.cli.steps import steps
from observer.cli.tables import Table, show_text
from observer.system.doctor.examination import CHECKS
from observer.system.doctor.finding import Finding
from observer.system.doctor.place import place_of

_LEVEL_WIDTH: Final = len("critical")
_CHECK_WIDTH: Final = max(len(check.name) for check in CHECKS)


def doctor(
    recount: Annotated[bool, Option("--recount", help="Count all rows, too: reads the whole database.")] = False,
    offline: Annotated[bool, Option("--offline", help="Make no connection to the broker's hosts.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine a system: configuration, machine, data. Reads files and the database, beside a running system too.

    Connects to the broker's hosts, and asks its REST host for the time; --offline leaves that out. Every line that is
    not ok names its remedy. Exit status 1 when one is critical.
    """
    place = place_of(examined_configuration(config), RealClock().now_ns(), is_offline=offline, recount=recount)
    findings: list[Finding] = []
    if not as_json:
        show_text(f"System of {place.path}")
    for check in CHECKS:
        with steps(Console(stderr=True)) as step:  # ends before its findings are shown: it takes over the terminal
            step(f"checking: {check.name}")
            found = check.findings(place)
        findings += found
        if not as_json:
            _show_at_once(found)
    if as_json:
        print_json(findings)
    if any(finding.level == "critical" for finding in findings):
        raise Exit(1)


def _show_at_once(findings: Sequence[Finding]) -> None:
    """Print the findings of one subject; the next one may hang."""
    for finding in findings:
        show_text(f"{finding.level:<{_LEVEL_WIDTH}}  {finding.check:<{_CHECK_WIDTH}}  {finding.text}")
        if finding.remedy:
            show_text(f"{' ' * (_LEVEL_WIDTH + _CHECK_WIDTH + 4)}{finding.remedy}")
    sys.stdout.flush()


def findings_table(findings: Sequence[Finding], title: str) -> Table:
    """The findings as a table."""
    rows = [(finding.level, finding.check, finding.text, finding.remedy) for finding in findings]
    return Table(("level", "check", "finding", "remedy"), rows, title, folded=("finding", "remedy"))
