"""`python -m tests.bench lake`: how fast a day is sealed and read, and its bytes, beside pyarrow and DuckDB by hand."""

from typing import Annotated

from observer.cli.context import JsonOption
from observer.cli.options import Option
from tests.bench.commands import FolderOption, RoundsOption, measure


def lake(
    trades: Annotated[int, Option(min=10_000, help="Trades of the sealed day.")] = 500_000,
    symbols: Annotated[int, Option(min=10, max=2_500, help="Symbols of the day.")] = 40,
    days: Annotated[int, Option(min=1, max=250, help="Days in the lake; earlier ones have a quarter.")] = 20,
    rounds: RoundsOption = 3,
    db: Annotated[str | None, Option(help="URL of a PostgreSQL database: seal from a new schema there, too.")] = None,
    peers: Annotated[bool, Option("--peers", help="Ask ArcticDB, too, if it is installed.")] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure sealing, bytes and questions of the lake. Compares with pyarrow and with DuckDB by hand.

    With 10,000,000 trades it takes half an hour and 10 GB of memory and of disk.
    """
    from tests.bench.lake import measure_lake, table

    measure(
        lambda workspace, report: measure_lake(workspace, trades, symbols, days, rounds, db, report, peers=peers),
        lambda result: iter(table(result)),
        folder,
        as_json=as_json,
    )
