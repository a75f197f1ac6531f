"""The nightly verification: which files of the lake are read again, each within 30 days, and what is wrong."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.day import Version, lost_text, readable_days
from observer.archive.target import go_on
from observer.archive.verification import states_version
from observer.archive.whole import whole_files

EACH_WITHIN_DAYS: Final = 30
_NIGHTS: Final = 25  # in which the whole lake is read: some are spare, in which the machine is off
_DAY_S: Final = 86_400


class LakeFile(msgspec.Struct, frozen=True):
    """A file, by its name below the lake, and when it was last found whole, as `WholeFiles.checked` says."""

    name: str
    size_bytes: int
    checked_s: int


class Scrubbed(msgspec.Struct, frozen=True):
    """What a night read, of how much, and what is wrong."""

    files: int
    size_bytes: int
    of_files: int
    of_bytes: int
    problems: Sequence[str]


def files_to_check(files: Sequence[LakeFile], now_s: int) -> Sequence[LakeFile]:
    """The night's share: a 25th of all bytes, those first that were checked longest ago, and what is overdue. Pure."""
    share, taken_bytes = sum(each.size_bytes for each in files) / _NIGHTS, 0
    overdue_s, found = now_s - EACH_WITHIN_DAYS * _DAY_S, []
    for each in sorted(files, key=lambda file: (file.checked_s, file.name)):
        if taken_bytes >= share and not 0 < each.checked_s <= overdue_s:
            break
        found.append(each)
        taken_bytes += each.size_bytes
    return found


def lake_files(lake: Path) -> tuple[Sequence[LakeFile], Mapping[str, tuple[str, str, Version]]]:
    """The files that the readable manifests state, and by name their kind, day and version; the glob's file where it
    has bytes of its own.
    """
    stated = dict[str, tuple[str, str, Version]]()
    for day in readable_days(lake)[0]:
        for kind, version in day.versions:
            stated[own := day.name_of(kind, version)] = what = (kind, day.session_date, version)
            if version is day.newest(kind) and _is_apart(lake / own, lake / (glob := day.glob_name_of(kind))):
                stated[glob] = what
    checked = whole_files(lake).checked({name: version for name, (_, _, version) in stated.items()})
    return [LakeFile(name, each[2].size_bytes, checked[name]) for name, each in stated.items()], stated


def _is_apart(own: Path, glob: Path) -> bool:
    try:
        return not own.samefile(glob)
    except OSError:
        return False


def scrub(lake: Path, now_s: int, stop: threading.Event) -> Scrubbed:
    """Read the night's files; readers know the results (`observer.archive.whole`).

    Raises:
        StoppedError: `stop` was set.
    """
    files, stated = lake_files(lake)
    wrong = list(readable_days(lake)[1].values())
    chosen = files_to_check(files, now_s)
    for file in chosen:
        go_on(stop)
        kind, day, version = stated[file.name]
        found = whole_files(lake).verify(file.name, version)
        if not found and not states_version(lake / file.name, version):
            found = "states other rows than its manifest"
        if found:
            wrong.append(lost_text(str(lake / file.name), kind, day, found))
    read_bytes, of_bytes = (sum(each.size_bytes for each in some) for some in (chosen, files))
    return Scrubbed(len(chosen), read_bytes, len(files), of_bytes, wrong)


def scrub_text(lake: Path, now_s: int) -> str:
    """How long ago the lake's files were last found whole, in words; empty where there is none. No file is read."""
    files, _ = lake_files(lake)
    if not files:
        return ""
    read = [each.checked_s for each in files if each.checked_s > 0]
    damaged = sum(each.checked_s < 0 for each in files)
    unread = len(files) - len(read) - damaged
    others = "".join(f", {count:,} {what}" for count, what in ((unread, "not yet"), (damaged, "damaged")) if count)
    days = (now_s - min(read, default=now_s)) / _DAY_S
    return f"{len(read):,} of {len(files):,} files read within {days:.0f} days{others}"


def known_damage(lake: Path) -> Mapping[str, str]:
    """By path the files that were found damaged, and are, with the remedy. Only these are read again."""
    files, stated = lake_files(lake)
    found = ((each.name, *stated[each.name]) for each in files if each.checked_s < 0)
    return {
        (path := str(lake / name)): lost_text(path, kind, day, wrong)
        for name, kind, day, version in found
        if (wrong := whole_files(lake).wrong(name, version))
    }
