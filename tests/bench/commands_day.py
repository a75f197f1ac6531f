"""`python -m tests.bench day`: a whole day of both venues, its processor time, memory and bytes."""

from typing import Annotated

from observer.cli.context import JsonOption
from observer.cli.options import Option
from tests.bench.commands import FolderOption, measure


def day(
    accounts: Annotated[int, Option(min=1, help="Accounts; each has its own slots.")] = 1,
    symbols: Annotated[int, Option(min=50, max=4000, help="Made-up symbols beside the well-known ones.")] = 500,
    speed: Annotated[float, Option(min=1, max=1000, help="Market seconds a second.")] = 200.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure processor, memory and bytes of a whole day of both venues. Runs every process until 20:11.

    With 10 accounts and 700 symbols there are lines for all 410 slots.
    """
    from tests.bench.day import measure_day, table

    measure(
        lambda workspace, report: measure_day(workspace, accounts, symbols, speed, report),
        table,
        folder,
        as_json=as_json,
    )
