"""A database with the current schema and no rows, copied: that is quicker than making it for every test."""

import functools
import tempfile
from pathlib import Path

from observer.store.engine import migrate


@functools.cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "observer.db"
        migrate(f"sqlite:///{path}")
        return path.read_bytes()


def prepared_database(path: Path) -> str:
    """The URL of a new one at this path."""
    path.write_bytes(_migrated())
    return f"sqlite:///{path}"
