"""`observer db`: questions about a whole database."""

import sys
from typing import Annotated

import msgspec
import typer

from observer.store.digest import digest

app = typer.Typer(help="The database as a whole.", no_args_is_help=True)


@app.callback()
def _database() -> None:
    """One command so far, and still a group: it is `observer db digest`."""


@app.command("digest")
def digest_command(
    db: Annotated[str, typer.Option(help="Database URL (sqlite:///... or postgresql+psycopg://...).")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Print a digest of each table's content, whatever the order of its rows and the kind of the database.

    Two databases that hold the same events have the same digests: one that was captured from its beginning, say, and
    one that the capture was replayed into.
    """
    found = digest(db)
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    for name, table in found.tables.items():
        sys.stdout.write(f"{table.digest}  {table.rows:>12,}  {name}\n")
    sys.stdout.write(f"{found.digest}  all together\n")
