"""`observer db`: queries over a whole database."""

import sys
from typing import Annotated

from observer.cli.context import JsonOption, print_json
from observer.cli.options import Option
from observer.store.digest import digest


def digest_command(
    db: Annotated[str, Option(help="Database URL (sqlite:///... or postgresql+psycopg://...).")],
    as_json: JsonOption = False,
) -> None:
    """Print a digest of each table's content.

    It depends neither on the order of the rows nor on the kind of the database.

    Two databases that hold the same events have the same digests: one that was captured from its beginning, say, and
    one that the capture was replayed into.
    """
    found = digest(db)
    if as_json:
        print_json(found)
        return
    for name, table in found.tables.items():
        sys.stdout.write(f"{table.digest}  {table.rows:>12,}  {name}\n")
    sys.stdout.write(f"{found.digest}  all together\n")
