"""A day as files: its relations as Parquet or CSV with times in ISO 8601, or what other programs load."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, get_args

import polars as pl

from observer.base.errors import ConfigError, DataFileError
from observer.base.files import replacing
from observer.base.text import csv_cell

Format = Literal["parquet", "csv", "nautilus", "lean"]
_MOMENT: Final = "%Y-%m-%dT%H:%M:%S%.f%:z"
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def require_format(form: str) -> None:
    """Check the name of a format.

    Raises:
        ConfigError: there is no such format.
    """
    if form not in FORMATS:
        raise ConfigError(f"{form!r} is no format of an export: give one of {', '.join(FORMATS)}")


@contextmanager
def exporting_to(folder: Path) -> Iterator[None]:
    """Makes the folder; each file in it is replaced in one step.

    Raises:
        DataFileError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataFileError(f"cannot write to {folder}: {error.strerror or error}") from error


def write_relations(relations: Mapping[str, pl.LazyFrame], folder: Path, form: str) -> Sequence[Path]:
    """Write each relation to a file of its name in the folder, and return the files."""
    written = []
    for name, relation in relations.items():
        path = folder / f"{name}.{form}"
        write_frame(relation.collect(), path, form)
        written.append(path)
    return written


def write_frame(frame: pl.DataFrame, path: Path, form: str) -> None:
    """Replace the file by the rows of a frame."""
    with replacing(path) as file:
        if form == "csv":
            file.write(csv_of(frame).encode())
        else:
            frame.write_parquet(file, compression="zstd")


def csv_of(frame: pl.DataFrame) -> str:
    """The rows as CSV with a line of names; a spreadsheet takes no text of it for a formula."""
    for name, dtype in frame.schema.items():
        if dtype == pl.String:
            texts = frame[name].drop_nulls().unique().to_list()
            changed = {text: cell for text in texts if (cell := csv_cell(text)) != text}
            frame = frame.with_columns(pl.col(name).replace(changed)) if changed else frame
    return frame.write_csv(datetime_format=_MOMENT)


def json_of(frame: pl.DataFrame) -> str:
    """The rows as a list of objects; moments with their offset from UTC, and nanoseconds where they have any."""
    moments = [name for name, dtype in frame.schema.items() if dtype == pl.Datetime]
    return frame.with_columns(frame[name].dt.strftime(_MOMENT) for name in moments).write_json()
