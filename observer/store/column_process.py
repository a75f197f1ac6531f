"""Writes the rows of a statement on stdin as Arrow's stream to stdout, read from SQLite by ADBC (`store.columns`)."""

import sys
from typing import Final

import adbc_driver_sqlite
import pyarrow as pa

# Its DB-API would load pandas and polars: two seconds.
from adbc_driver_manager import AdbcConnection, AdbcStatement, Error

_ROWS_AT_ONCE: Final = 16_384


def main() -> None:
    """Read the database that the first argument addresses; an error is one line on stderr."""
    try:
        _copy()
    except (Error, OSError, pa.ArrowException) as error:
        sys.exit(str(error).partition("\n")[0])  # the statement stands behind it


def _copy() -> None:
    with (
        adbc_driver_sqlite.connect(sys.argv[1]) as database,
        AdbcConnection(database) as connection,
        AdbcStatement(connection) as statement,
    ):
        statement.set_options(**{adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value: str(_ROWS_AT_ONCE)})
        statement.set_sql_query(sys.stdin.read())
        found, _ = statement.execute_query()
        with (
            pa.RecordBatchReader.from_stream(found) as rows,
            pa.ipc.new_stream(sys.stdout.buffer, rows.schema) as written,
        ):
            for batch in rows:
                written.write_batch(batch)


if __name__ == "__main__":
    main()
