"""Pages of a database's file that are overwritten, as a disk that rots does."""

from pathlib import Path

PAGE_BYTES = 4096


def pages_of(path: Path) -> int:
    return path.stat().st_size // PAGE_BYTES


def damage_page(path: Path, page: int) -> None:
    """Overwrite a page of an SQLite file; the first one has the number 1."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)


def damage_rows(path: Path, table: str) -> None:
    """Overwrite the first page of a table of an SQLite file, whose log is folded into it."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(page,)] = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,))
    damage_page(path, page)
