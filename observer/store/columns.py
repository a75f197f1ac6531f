"""Rows of a SQLite database as columns, without an object for each value: read by ADBC, in a process of its own.

ADBC's driver has a SQLite of its own. Two copies of SQLite in one process drop each other's locks on a file
(https://www.sqlite.org/howtocorrupt.html, 2.2.1), so this process never opens a database by it. The other process ends
behind the last row, and when its pipe is closed.
"""

import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, Select

from observer.base.programs import program
from observer.store.arrow import compiled
from observer.store.engine import failure_of, read_only_address, sqlite_path

_DRIVER: Final = "adbc_driver_sqlite"
_PROGRAM: Final = "observer.store.column_process"


def can_read_columns() -> bool:
    """Whether ADBC's driver of SQLite is installed."""
    return find_spec(_DRIVER) is not None


def read_columns(
    connection: Connection, statement: Select[*tuple[Any, ...]], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Read a statement's rows with these columns, in no order. The rows are of the present moment, not of the
    connection's transaction: the statement names rows that do not change.

    Raises:
        StoreError: the rows cannot be read.
    """
    asked = compiled(connection, statement, literals=True).string
    # The driver takes a column's type from the first rows, which may all be NULL: so the first row has a value in each.
    typed = f"SELECT {', '.join(_value_of(field.type) for field in schema)} UNION ALL {asked}"
    path = sqlite_path(connection.engine.url).absolute()
    command = program(_PROGRAM, read_only_address(path))
    pipe = subprocess.PIPE
    # In a group of its own it gets no ctrl-C: this process decides when to stop.
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=pipe, stdout=pipe, stderr=pipe, process_group=0
    ) as child:
        try:
            assert child.stdin is not None
            child.stdin.write(typed.encode())
            child.stdin.close()
            with pa.ipc.open_stream(child.stdout) as rows:
                for number, batch in enumerate(rows):
                    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema).slice(0 if number else 1)
            if child.wait():  # a stream that was cut off ends without an error
                raise failure_of(f"{path}: {_said(child)}")
        except (OSError, pa.ArrowException) as error:
            raise failure_of(f"{path}: {_said(child) or error}") from error
        finally:
            child.kill()  # it has ended, unless the rows are not wanted any more


def _said(child: "subprocess.Popen[bytes]") -> str:
    """The last line of the child's error."""
    assert child.stderr is not None
    return child.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]


def _value_of(column: pa.DataType) -> str:
    if pa.types.is_string(column):
        return "''"
    return "0.0" if pa.types.is_floating(column) else "0"
