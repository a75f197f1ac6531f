"""`observer doctor`: the whole examination of a system, its machine and its data."""

from collections.abc import Sequence
from typing import Annotated

from click.exceptions import Exit
from rich.console import Console

from observer.cli.context import ConfigOption, JsonOption, examined_configuration, print_json
from observer.cli.options import Option
from observer.cli.steps import steps
from observer.cli.tables import Table, show
from observer.clock import RealClock
from observer.doctor.examination import examine
from observer.doctor.finding import Finding
from observer.doctor.place import place_of


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
    with steps(Console(stderr=True)) as step:
        findings = examine(place, begins=lambda name: step(f"checking: {name}"))
    if as_json:
        print_json(findings)
    else:
        show_findings(findings, f"System of {place.path}")
    if any(finding.level == "critical" for finding in findings):
        raise Exit(1)


def show_findings(findings: Sequence[Finding], title: str) -> None:
    """Print the findings as a table."""
    rows = [(finding.level, finding.check, finding.text, finding.remedy) for finding in findings]
    show(Table(("level", "check", "finding", "remedy"), rows, title, folded=("finding", "remedy")))
