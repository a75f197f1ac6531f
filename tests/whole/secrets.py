"""Searches a demo system's files for secrets: `python -m tests.whole.secrets FOLDER...`.

A folder holds one day: its observer.toml contains the simulator's seed and app keys, so the search knows every access
token and approval key that the simulator can issue, stored or not. It reads every file: logs, outboxes and other
journals, captures, raw captures, ledgers, backups, and each value of each database (a page of it can split a text).

Secrets belong in three places: the keys file, the token cache, and observer.toml's list of keys that the simulator
accepts. Prefixes count too: half of an app key in a log is a leak.

Prints a JSON object; exit status 0: at least one secret was searched for and none found; 1: otherwise.
"""

import argparse
import contextlib
import hashlib
import json
import re
import sqlite3
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ISSUED_MAX = 2_000  # tokens and approval keys of one simulator in one day
KEY_BEGINNING = 20
TOKEN_BEGINNING = 32
HEXADECIMAL = re.compile(rb"[0-9a-f]{%d,}" % TOKEN_BEGINNING)
SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Secrets:
    """Beginnings of what must be nowhere: keys as they are, and tokens, which are hexadecimal."""

    keys: frozenset[bytes]
    tokens: frozenset[bytes]

    def found_in(self, content: bytes) -> set[bytes]:
        """Which of them are in there."""
        found = {key for key in self.keys if key in content}
        for run in HEXADECIMAL.findall(content):
            for start in range(len(run) - TOKEN_BEGINNING + 1):
                if run[start : start + TOKEN_BEGINNING] in self.tokens:
                    found.add(run[start : start + TOKEN_BEGINNING])
        return found


def secrets_of(folder: Path) -> Secrets:
    """All secrets of this folder's simulator; states independently how the simulator makes a token."""
    simulator = tomllib.loads((folder / "observer.toml").read_text())["simulator"]
    app_keys: Mapping[str, str] = simulator["app_keys"]
    keys = {text[:KEY_BEGINNING].encode() for pair in app_keys.items() for text in pair}
    texts = (
        f"{simulator['seed']}/{kind}/{app_key}/{number}"
        for kind in ("token", "approval")
        for app_key in app_keys
        for number in range(1, ISSUED_MAX + 1)
    )
    tokens = {hashlib.sha256(text.encode()).hexdigest()[:TOKEN_BEGINNING].encode() for text in texts}
    return Secrets(frozenset(keys), frozenset(tokens))


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file with the content to search; without the parts where secrets belong."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == "keys.toml" or path.parent == folder / "run" / "tokens":
            continue
        content = path.read_bytes()
        if path == folder / "observer.toml":
            content = _without_app_keys(content)
        yield path, content
        if content.startswith(SQLITE):
            yield from ((path, value) for value in _values(path))


def _without_app_keys(content: bytes) -> bytes:
    document = tomllib.loads(content.decode())
    del document["simulator"]["app_keys"]
    return json.dumps(document).encode()


def _values(path: Path) -> Iterator[bytes]:
    """Every text and every blob of a database."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                yield b"\n".join(
                    value.encode() if isinstance(value, str) else value
                    for value in row
                    if isinstance(value, str | bytes)
                )


def search(folder: Path) -> dict[str, Any]:
    """The searched files, and those that contain a secret (never the secret itself)."""
    secrets = secrets_of(folder)
    leaks: dict[str, int] = {}
    files: set[Path] = set()
    size_bytes = 0
    for path, content in contents(folder):
        files.add(path)
        size_bytes += len(content)
        if found := secrets.found_in(content):
            name = path.relative_to(folder).as_posix()
            leaks[name] = max(leaks.get(name, 0), len(found))
    kinds = sorted({path.suffix or path.name for path in files})
    return {"files": len(files), "kinds": kinds, "bytes": size_bytes, "keys": len(secrets.keys), "leaks": leaks}


def main() -> int:
    """Search the folders, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="of practice systems: each has an observer.toml")
    reported = {str(folder): search(folder) for folder in parser.parse_args().folders}
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 1 if any(each["leaks"] or not each["files"] for each in reported.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
