"""The nightly verification: which files of a lake are read again, each within 30 days, and what is wrong."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.archive.day import Version, lost_text, readable_days
from observer.archive.target import go_on
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
    """The night's share: a 25th of all bytes, those first that were checked longest ago, and what is overdue. What was
    found wrong is read beside it, and keeps no other file from its turn. Pure.
    """
    share, taken_bytes = sum(each.size_bytes for each in files) / _NIGHTS, 0
    overdue_s, found = now_s - EACH_WITHIN_DAYS * _DAY_S, []
    for each in sorted(files, key=lambda file: (file.checked_s, file.name)):
        if taken_bytes >= share and not 0 < each.checked_s <= overdue_s:
            break
        found.append(each)
        if each.checked_s >= 0:
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
    checked = whole_files(lake).checked({name: each[2] for name, each in stated.items()})
    return [LakeFile(name, each[2].size_bytes, checked[name]) for name, each in stated.items()], stated


def _is_apart(own: Path, glob: Path) -> bool:
    try:
        return not own.samefile(glob)
    except OSError:
        return False


def scrub(lake: Path, now_s: int, stop: threading.Event, copies: Iterable[Path] = ()) -> Scrubbed:
    """Read the night's files of the lake and of each copy; readers know the results (`observer.archive.whole`).

    Raises:
        StoppedError: `stop` was set.
    """
    from observer.archive.verification import states_version  # it loads pyarrow

    wrong = list(readable_days(lake)[1].values())
    chosen, of_files = list[LakeFile](), list[LakeFile]()
    for folder in (lake, *copies):
        text = lost_text if folder == lake else _copy_text
        files, stated = lake_files(folder)
        of_files += files
        for file in files_to_check(files, now_s):
            go_on(stop)
            chosen.append(file)
            kind, day, version = stated[file.name]
            found = whole_files(folder).verify(file.name, version)
            if not found and not states_version(folder / file.name, version):
                found = "states other rows than its manifest"
            if found:
                wrong.append(text(str(folder / file.name), kind, day, found))
    read_bytes, of_bytes = (sum(each.size_bytes for each in some) for some in (chosen, of_files))
    return Scrubbed(len(chosen), read_bytes, len(of_files), of_bytes, wrong)


def _copy_text(path: str, kind: str, day: str, what: str) -> str:
    return f"{path} {what}, a copy of the {kind} of {day}: `observer backup now` copies it anew"


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
    """By path the files that any process found damaged, and are, with the remedy. Only these are read again."""
    _, stated = lake_files(lake)
    found = whole_files(lake).known_wrong({name: each[2] for name, each in stated.items()})
    return {(path := str(lake / name)): lost_text(path, *stated[name][:2], wrong) for name, wrong in found.items()}


def said(wrong: Sequence[str], count_max: int) -> str:
    """So many of the texts, and how many more there are."""
    more = [f"and {len(wrong) - count_max} more"] if len(wrong) > count_max else []
    return "; ".join([*wrong[:count_max], *more])
