"""Two editions answer alike: every command, every HTTP answer and every method of `open_store`, over one stored day.

    OLD/.venv/bin/observer demo --nxt --accounts 2 --stream nav --keep --folder DAY         # once, by the old edition
    python -m tests.comparison.editions OLD/.venv/bin/python .venv/bin/python DAY OUT

Each edition gets a copy of the day at the same place, with the same port, and stands still at the same moment, so that
paths and ages agree; once hot, once sealed by the old edition. What they answer lies in OUT, a file an answer:
`--compare` compares it once more without asking. What may differ stands below, with its reason. A demo with `--db` of
PostgreSQL is copied there. Exit status 0: nothing else differs.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

CHILD: Final = Path(__file__).with_name("edition_child.py")
CONFIGURATION: Final = "observer.toml"
STATES: Final = ("hot", "sealed")
SHOWN_MAX: Final = 100  # letters of a value


class Renamed(NamedTuple):
    """An answer or, within the answers of this glob, a field that has another name now."""

    old: str
    new: str
    within: str = ""


class Accepted(NamedTuple):
    """A difference that may be: in the answers of this glob, at the paths that this expression finds."""

    answers: str
    path: str
    reason: str


class Rules(NamedTuple):
    """What may differ."""

    renamed: Sequence[Renamed] = ()
    accepted: Sequence[Accepted] = ()


class Difference(NamedTuple):
    """Where two answers differ, and the values; `reason` is why it may be, empty: it may not."""

    answer: str
    path: str
    old: Any
    new: Any
    reason: str = ""


RULES: Final = Rules()


def compared(old: Path, new: Path, rules: Rules) -> Mapping[str, Sequence[Difference]]:
    """The differences of each answer in two folders, by the answer's name."""
    names = {each.old: each.new for each in rules.renamed if not each.within}
    before = {names.get(each, each): path for each, path in _answers(old).items()}
    after = _answers(new)
    return {name: list(_of_answer(name, before.get(name), after.get(name), rules)) for name in sorted(before | after)}


def _answers(folder: Path) -> Mapping[str, Path]:
    return {str(path.relative_to(folder)).removesuffix(".json"): path for path in folder.rglob("*.json")}


def _of_answer(name: str, old: Path | None, new: Path | None, rules: Rules) -> Iterator[Difference]:
    fields = {each.old: each.new for each in rules.renamed if each.within and fnmatchcase(name, each.within)}
    before, after = (None if path is None else json.loads(path.read_bytes()) for path in (old, new))
    for path, was, now in _differences(_with_names(before, fields), after, "$"):
        may = (each for each in rules.accepted if fnmatchcase(name, each.answers) and re.search(each.path, path))
        found = next(may, None)
        yield Difference(name, path, was, now, "" if found is None else found.reason)


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {names.get(key, key): _with_names(each, names) for key, each in value.items()}
        case list():
            return [_with_names(each, names) for each in value]
    return value


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The paths of what differs, each with both values; of lists of unequal length first that."""
    match old, new:
        case dict(), dict():
            for key in sorted(old | new):
                yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}")
        case list(), list():
            if len(old) != len(new):
                yield f"{path}.length", len(old), len(new)
            for position, (was, now) in enumerate(zip(old, new, strict=False)):
                yield from _differences(was, now, f"{path}[{position}]")
        case _ if old != new or type(old) is not type(new):
            yield path, old, new


_ABSENT: Final = "(absent)"


def table(found: Mapping[str, Sequence[Difference]]) -> Iterator[str]:
    """The lines that say what the comparison found."""
    wrong = {name: [each for each in differences if not each.reason] for name, differences in found.items()}
    reasons = Counter(reason for each in found.values() for reason in {every.reason for every in each} - {""})
    same = sum(not each for each in found.values())
    differ = sum(map(bool, wrong.values()))
    yield f"{len(found)} answers: {same} the same, {len(found) - same - differ} differ as they may, {differ} differ"
    for reason, count in reasons.most_common():
        yield f"  may, in {count}: {reason}"
    for name, differences in wrong.items():
        for first in differences[:1]:
            old, new = (str(each)[:SHOWN_MAX] for each in (first.old, first.new))
            yield f"  DIFFERS {name} at {first.path} ({len(differences)} in all): {old} | {new}"


def ask(python: Path, day: Path, place: Path, out: Path, *, port: int, only: str) -> None:
    """Ask the edition of this Python about a copy of the day at `place`, and write its answers below `out`.

    Raises:
        ChildProcessError: it did not answer everything.
    """
    copy_day(day, place, port)
    run(python, "-P", CHILD, place, out, out.parents[1] / "subjects.json", port, only, within=place)


def copy_day(day: Path, place: Path, port: int = 0) -> None:
    """Copy the day, its database and its files of trading days, and have the copy's configuration name the copies."""

    def sockets(folder: str, names: Sequence[str]) -> Sequence[str]:
        return [name for name in names if not (Path(folder, name).is_dir() or Path(folder, name).is_file())]

    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(day, place, ignore=sockets)
    text = (place / CONFIGURATION).read_text()
    for shipped in set(re.findall(r'"([^"]+/shipped/[^"]+)"', text)):
        text = text.replace(shipped, str(shutil.copy(shipped, place)))
    if found := re.search(r'url = "(postgresql[^"]+/)([^"/?]+)', text):
        _copy_database(found[1], found[2], f"{found[2].removesuffix('_copy')}_copy")
        text = text.replace(found[0], f'url = "{found[1]}{found[2].removesuffix("_copy")}_copy')
    web = f"\n[web]\nport = {port}\n" if port and "\n[web]" not in text else ""
    for path in (place / CONFIGURATION, *place.glob("*.json")):
        path.write_text((text + web if path.suffix == ".toml" else path.read_text()).replace(str(day), str(place)))


def _copy_database(server: str, name: str, copy: str) -> None:
    import psycopg

    with psycopg.connect(f"{server.replace('+psycopg', '')}postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{copy}"')
        connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')


def run(python: Path, *words: object, within: Path) -> None:
    """Run a program of an edition, whose clock stands in the night after the day.

    Raises:
        ChildProcessError: it failed.
    """
    configuration = (within / CONFIGURATION).read_text()
    date = re.search(r'session_date = "([^"]+)"', configuration)
    assert date is not None, "a demo says its day"
    moment = datetime.fromisoformat(date[1]).replace(tzinfo=ZoneInfo("Asia/Seoul")) + timedelta(hours=25)
    clock = f"held:{int(moment.timestamp())}000000000:1.0:{within}/never"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run(
        [str(python), *map(str, words)], cwd=within, env={**kept, "OBSERVER_CLOCK": clock}, check=False
    )
    if ended.returncode:
        raise ChildProcessError(f"{python} {words}: exit status {ended.returncode}")


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def main(words: Sequence[str] | None = None) -> int:
    """Ask both editions and compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.comparison.editions", description=__doc__)
    for name in ("old", "new", "day", "out"):
        parser.add_argument(name, type=lambda text: Path(text).absolute())
    parser.add_argument("--only", default="*", metavar="GLOB", help="of the answers, such as store/*")
    parser.add_argument("--states", nargs="+", choices=STATES, default=STATES)
    parser.add_argument("--compare", action="store_true", help="the answers that are there")
    given = parser.parse_args(words)
    place, sealed, port = given.out / "copy", given.out / "day", free_port()
    if not given.compare:
        given.out.mkdir(parents=True, exist_ok=True)
        for state in given.states:
            day = given.day
            if state == "sealed":
                copy_day(given.day, sealed)
                run(
                    given.old,
                    "-m",
                    "observer",
                    "lake",
                    "seal",
                    "--all",
                    "--config",
                    sealed / CONFIGURATION,
                    within=sealed,
                )
                day = sealed
            for name, python in (("old", given.old), ("new", given.new)):
                shutil.rmtree(given.out / name / state, ignore_errors=True)
                ask(python, day, place, given.out / name / state, port=port, only=given.only)
    found = compared(given.out / "old", given.out / "new", RULES)
    sys.stdout.writelines(f"{line}\n" for line in table(found))
    return int(any(not each.reason for differences in found.values() for each in differences))


if __name__ == "__main__":
    sys.exit(main())
