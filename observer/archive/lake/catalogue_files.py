"""Deletes the files of an Iceberg table that no snapshot needs any more: else each sealing leaves some for ever.

A sealing writes a list of manifests for its snapshot, and manifests; from time to time it merges manifests into a new
one. A list stays while the table has its snapshot, and a week longer; a manifest stays while any list that stays
names it, and at least a week. So an engine that read a table's state at most a week ago still finds all files of it.
The files of the versions are not the catalogue's and are never deleted here.
"""

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pyiceberg.manifest import read_manifest_list
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from observer.base.units import NS_PER_DAY

logger = logging.getLogger(__name__)

KEPT_NS: Final = 7 * NS_PER_DAY
"""How long lists of snapshots stay that are gone, and every manifest: counted back from the file time of the newest
metadata.
"""
SCHEME: Final = "file://"
_LIST: Final = "snap-"
_SUFFIX: Final = ".avro"


def leaving(snapshots: Iterable[Snapshot], untidy: list[str]) -> list[Snapshot]:
    """Begin the week of grace of these snapshots' lists. Returns the snapshots whose week began; adds the other
    failures to `untidy`. Call before the commit that removes the snapshots from the table: a kill after that commit
    must not leave lists that look old.
    """
    begun: list[Snapshot] = []
    for each in snapshots:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.utime(each.manifest_list.removeprefix(SCHEME))
            begun.append(each)
        except OSError as error:
            untidy.append(f"a snapshot stays: {error}")
    return begun


def delete_unneeded(table: Table, untidy: list[str]) -> None:
    """Delete the lists and manifests that are not needed. What cannot be read or deleted is added to `untidy` and tried
    again at the next sealing: none fails for it. Lists go first: what a kill leaves is found at the next commit
    with an old list. The caller holds the lake's lock.
    """
    try:
        _delete_unneeded(table)
    except OSError as error:
        untidy.append(f"what is not needed stays: {error}")


def _delete_unneeded(table: Table) -> None:
    newest = Path(table.metadata_location.removeprefix(SCHEME))
    limit_ns = newest.stat().st_mtime_ns - KEPT_NS
    written = {each.path: each.stat().st_mtime_ns for each in os.scandir(newest.parent) if each.name.endswith(_SUFFIX)}
    kept = {each.manifest_list.removeprefix(SCHEME) for each in table.snapshots()}
    lists = {path for path in written if Path(path).name.startswith(_LIST)}
    gone = {path for path in lists - kept if written[path] < limit_ns}
    if not gone:
        return
    needed: set[str] = set()
    for path in lists - gone:
        needed |= _manifests_of(table, path, is_kept=path in kept)
    unneeded = {path for path in written.keys() - lists - needed if written[path] < limit_ns}
    for path in (*gone, *unneeded):
        Path(path).unlink(missing_ok=True)


def _manifests_of(table: Table, path: str, *, is_kept: bool) -> set[str]:
    """The manifests that a list names. Raises OSError when it cannot be read."""
    try:
        found = read_manifest_list(table.io.new_input(f"{SCHEME}{path}"))
        return {each.manifest_path.removeprefix(SCHEME) for each in found}
    except OSError:
        raise
    except Exception as error:  # of a library that has no common error
        if is_kept:
            raise OSError(f"{path} is damaged, and what it needs is not known: {error}") from error
        logger.warning("%s names no manifests, a killed sealing left it: %s", path, error)
        return set()
