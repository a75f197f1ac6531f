"""`observer db`: queries over a whole database."""

from typing import Annotated

from observer.cli.frame import Answer
from observer.cli.options import Option
from observer.store.digest import digest


def digest_command(
    db: Annotated[str, Option(help="Database URL (sqlite:///... or postgresql+psycopg://...).")],
) -> Answer:
    """Print a digest of each table's content.

    It depends neither on the order of the rows nor on the kind of the database.

    Two databases that hold the same events have the same digests: one that was captured from its beginning, say, and
    one that the capture was replayed into.
    """
    found = digest(db)
    lines = [f"{table.digest}  {table.rows:>12,}  {name}" for name, table in found.tables.items()]
    return Answer(found, "\n".join([*lines, f"{found.digest}  all together"]))
