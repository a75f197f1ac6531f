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
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from tests.ports import own_port

CHILD: Final = Path(__file__).with_name("edition_child.py")
CONFIGURATION: Final = "observer.toml"
SEAL: Final = ("-m", "observer", "lake", "seal", "--all", "--config")
STATES: Final = ("hot", "sealed")
SHOWN_MAX: Final = 100  # letters of a value
_ABSENT: Final = "(absent)"


class Rules(NamedTuple):
    """What may differ: names of answers, old to new; names of fields in the answers of a glob; values in the answers of
    a glob at the paths that an expression finds, and why.
    """

    answers: Mapping[str, str] = {}
    fields: Sequence[tuple[str, Mapping[str, str]]] = ()
    values: Sequence[tuple[str, str, str]] = ()


class Difference(NamedTuple):
    """Where two answers differ, and how; `reason` is why they may, empty: they may not."""

    path: str
    old: Any
    new: Any
    reason: str = ""


_AGES: Final = "ages of a stopped system count to the end of what is stored"
_KEYS: Final = "keys since cfe9a6f1; 4 changes of subscriptions a minute"
RULES: Final = Rules(
    values=(
        ("*", r"\.(known_ms|now_ms|market_time)$", "the machine's clock"),
        ("*/cli/decisions verify*", r"^\$\.(status$|answer\.)", "a day decided by rules 4; this edition has rules 6"),
        ("*/cli/accounts", r"^\$\.said|\.(stream|token_age_s|token_expires_in_s)$", _AGES),
        ("*/cli/etf report", r"^\$\.said|\.age_hours$", _AGES),
        ("*/cli/config show*", r"\.backup\.day_files|\.kis\.rest\.(certificates|proxy|user_agent)", _KEYS),
        ("*/cli/config show*", r"\.changes_per_minute|\.simulator\.expected_prices|\.track_b\.watch_markets", _KEYS),
    )
)


def compared(old: Path, new: Path, rules: Rules) -> Mapping[str, Sequence[Difference]]:
    """The differences of each answer in two folders, by the answer's name in the new one."""
    before, after = _answers(old, rules.answers), _answers(new, {})
    found: dict[str, Sequence[Difference]] = {}
    for name in sorted(before | after):
        names = {key: now for glob, fields in rules.fields if fnmatchcase(name, glob) for key, now in fields.items()}
        values = [each.get(name, _ABSENT) for each in (before, after)]
        was, now = (json.loads(each.read_bytes()) if isinstance(each, Path) else each for each in values)
        reasons = [(path, reason) for glob, path, reason in rules.values if fnmatchcase(name, glob)]
        found[name] = [
            each._replace(reason=next((reason for path, reason in reasons if re.search(path, each.path)), ""))
            for each in _differences(was, now, "$", names)
        ]
    return found


def _answers(folder: Path, names: Mapping[str, str]) -> dict[str, Any]:
    paths = {str(path.relative_to(folder)).removesuffix(".json"): path for path in folder.rglob("*.json")}
    return {names.get(name, name): path for name, path in paths.items()}


def _differences(old: Any, new: Any, path: str, names: Mapping[str, str]) -> Iterator[Difference]:
    match old, new:
        case dict(), dict():
            old = {names.get(key, key): value for key, value in old.items()}
            for key in sorted(old | new):
                yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}", names)
        case list(), list():
            if len(old) != len(new):
                yield Difference(f"{path}.length", len(old), len(new))
            for position, (was, now) in enumerate(zip(old, new, strict=False)):
                yield from _differences(was, now, f"{path}[{position}]", names)
        case _ if old != new or type(old) is not type(new):
            yield Difference(path, old, new)


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
        text = text.replace(found[0], f"{found[0]}_{place.name}")
        _copy_database(found[1], found[2], f"{found[2]}_{place.name}")
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


def main(words: Sequence[str] | None = None) -> int:
    """Ask both editions and compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.comparison.editions", description=__doc__)
    for name in ("old", "new", "day", "out"):
        parser.add_argument(name, type=lambda text: Path(text).absolute())
    parser.add_argument("--only", default="*", metavar="GLOB", help="of the answers, such as store/*")
    parser.add_argument("--states", nargs="+", choices=STATES, default=STATES)
    parser.add_argument("--compare", action="store_true", help="the answers that are there")
    given = parser.parse_args(words)
    place, sealed, port = given.out / "copy", given.out / "day", own_port()
    if not given.compare:
        given.out.mkdir(parents=True, exist_ok=True)
        for state in given.states:
            day = given.day
            if state == "sealed":
                copy_day(given.day, sealed)
                run(given.old, *SEAL, sealed / CONFIGURATION, within=sealed)
                day = sealed
            for name, python in (("old", given.old), ("new", given.new)):
                answers = given.out / name / state
                if given.only == "*":
                    shutil.rmtree(answers, ignore_errors=True)
                copy_day(day, place, port)
                run(python, "-P", CHILD, place, answers, given.out / "subjects.json", port, given.only, within=place)
    found = compared(given.out / "old", given.out / "new", RULES)
    sys.stdout.writelines(f"{line}\n" for line in table(found))
    return int(any(not each.reason for differences in found.values() for each in differences))


if __name__ == "__main__":
    sys.exit(main())
