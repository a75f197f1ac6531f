"""Writes `versions/0001_baseline.py` from `observer.store.tables`: `python -m migrations.baseline`, or `make baseline`.

While no version is released, the schema changes by running this again: databases of older code are deleted, not
upgraded. With the first release the file is frozen, this module goes, and each change is a migration of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Double, Index, Table, UniqueConstraint

from observer.store.schema import SCHEMA_REVISION
from observer.store.tables import METADATA

PATH: Final = Path(__file__).parent / "versions" / "0001_baseline.py"

_LINE_WIDTH_MAX: Final = 120
_HEADER: Final = f'''"""The schema before the first release; `make baseline` writes it from observer/store/tables.py."""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from observer.store.views import make_views

revision = "{SCHEMA_REVISION}"
down_revision = None
branch_labels = None
depends_on = None

_DOUBLE = sa.Double().with_variant(sa.REAL(), "sqlite")


def downgrade() -> None:
    raise CommandError("there is no schema before the baseline: restore the backup, or delete the database")


def upgrade() -> None:
'''
_FOOTER: Final = "    make_views(op.get_bind())\n"


def rendered() -> str:
    """The migration as Python text, formatted as ruff formats it: the tables sorted by name, then the views."""
    tables = (METADATA.tables[name] for name in sorted(METADATA.tables))
    return _HEADER + "".join(call for table in tables for call in _calls(table)) + _FOOTER


def _calls(table: Table) -> Iterator[str]:
    unique = sorted(
        (key for key in table.constraints if isinstance(key, UniqueConstraint)), key=lambda key: str(key.name)
    )
    keys = [
        f"sa.{type(key).__name__}({_names(key.columns)}, name={_quoted(key.name)})"
        for key in (table.primary_key, *unique)
    ]
    options = ["sqlite_with_rowid=False"] if table.dialect_options["sqlite"]["with_rowid"] is False else []
    yield _call("op.create_table", [_quoted(table.name), *map(_column, table.columns), *keys, *options])
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        yield _index(table, index)


def _column(column: Column[object]) -> str:
    kind = "_DOUBLE" if isinstance(column.type, Double) else f"sa.{type(column.type).__name__}"
    nullable = "" if column.nullable else ", nullable=False"
    return f"sa.Column({_quoted(column.name)}, {kind}{nullable})"


def _index(table: Table, index: Index) -> str:
    arguments = f"{_quoted(index.name)}, {_quoted(table.name)}, [{_names(index.columns)}]"
    line = f"    op.create_index({arguments})\n"
    return line if len(line.rstrip()) <= _LINE_WIDTH_MAX else f"    op.create_index(\n        {arguments}\n    )\n"


def _call(function: str, arguments: Sequence[str]) -> str:
    lines = "".join(f"        {argument},\n" for argument in arguments)
    return f"    {function}(\n{lines}    )\n"


def _names(columns: Iterable[Column[object]]) -> str:
    return ", ".join(_quoted(column.name) for column in columns)


def _quoted(name: object) -> str:
    return f'"{name}"'


if __name__ == "__main__":
    PATH.write_text(rendered(), encoding="utf-8")
