"""Writes the rows of a statement on stdin as Arrow's stream to stdout, read from SQLite by ADBC (`store.columns`)."""

import sys
from typing import Final

import adbc_driver_sqlite
import adbc_driver_sqlite.dbapi
import pyarrow as pa

_ROWS_AT_ONCE: Final = 16_384


def main() -> None:
    """Read the database that the first argument addresses."""
    options = {adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value: str(_ROWS_AT_ONCE)}
    with (
        adbc_driver_sqlite.dbapi.connect(sys.argv[1]) as connection,
        connection.cursor(adbc_stmt_kwargs=options) as cursor,
    ):
        cursor.execute(sys.stdin.read())
        with cursor.fetch_record_batch() as rows, pa.ipc.new_stream(sys.stdout.buffer, rows.schema) as written:
            for batch in rows:
                written.write_batch(batch)


if __name__ == "__main__":
    main()
