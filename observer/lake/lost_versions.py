"""Versions whose files are gone or damaged: what to say of them, and how one comes back from the file a glob finds.

The glob's file is a link to the newest version, or a copy of it. So a version that was deleted alone, or that a partial
copy of the folder lacks, is still there under the other name.
"""

from pathlib import Path

from observer.errors import DataFileError
from observer.lake.digest import digest_of
from observer.lake.layout import SealedDay, Version, lost_text, path_of, version_path
from observer.lake.parquet import file_schema, metadata_of, read_file


def is_version(path: Path, kind: str, version: Version) -> bool:
    """Whether the file is there and is exactly this version, by its rows and its metadata; it is read whole."""
    try:
        is_rows = digest_of(read_file(path), file_schema(kind).names) == (version.rows, version.digest)
        return states_version(path, version) and is_rows
    except DataFileError:
        return False


def states_version(path: Path, version: Version) -> bool:
    """Whether the file is there and says in its metadata that it is this version; its rows are not read."""
    try:
        stated = metadata_of(path)
    except DataFileError:
        return False
    return (stated.get("version"), stated.get("digest")) == (str(version.version), version.digest)


def source_of(lake: Path, day: SealedDay, kind: str) -> Path:
    """A whole file of a kind's newest version: that of the version, or the glob's where the version's is gone or
    damaged. It is read where both are there and the glob's file says that it is this version, too.

    Raises:
        DataFileError: there is none; names the file, the day, the kind and the remedies.
    """
    newest = day.kinds[kind][-1]
    path = version_path(lake, kind, day.market, day.session_date, newest.version)
    glob = path_of(lake, kind, day.market, day.session_date)
    is_there = path.exists()
    if is_there and (not states_version(glob, newest) or is_version(path, kind, newest)):
        return path
    if is_version(glob, kind, newest):
        return glob
    raise DataFileError(lost_text(str(path), kind, day.session_date, "is damaged" if is_there else "is gone"))
