"""The words of the code are the field's: banned patterns per folder are counted, and a count may only fall.

`python -m tests.house.test_house_words` prints file:line of each, `... --count` the counts to put into words.json.
"""

import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COUNTS = Path(__file__).with_name("words.json")
ALLOWED: dict[str, int] = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
BANNED = re.compile(
    r"\b(tells?|told|telling|whoever|whom|nobody|somebody|anybody|wish|wishes|wished|witness|lanes?|couriers?|permits?"
    r"|holes?|verdicts?|deaf|misbehaviours?|places? (?:of|in) the stream"
    r"|(?:has|have|had|gets?|no|free|lost) (?:a )?places?"
    r"|comes? of it|came of it|what came of|of which|thought over|the books|by chance|front door)\b",
    re.IGNORECASE,
)
CODE = ("bus", "observer", "workers", "tests", "migrations")
DOCUMENTS = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("Makefile", "pyproject.toml", "supervisord.conf", "config"),
)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a document; of a program the lines of its comments and of its strings that are sentences."""
    content = path.read_text()
    if path.suffix != ".py":
        yield from enumerate(content.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and " " in token.string):
            yield from enumerate(token.string.splitlines(), token.start[0])
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name.replace("_", " ")


def files() -> Iterator[Path]:
    for name in (*CODE, *DOCUMENTS):
        path = ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (
            each for each in found if each.suffix in {".py", ".md", ".toml", ".conf", ".service"} or each == path
        )


def folder_of(path: Path) -> str:
    """The room: observer/selection, tests/gaps, bus; documents stand for themselves."""
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:2]) if parts[0] in {"observer", "tests"} and len(parts) > 2 else parts[0]


def findings() -> Iterator[tuple[Path, int, str]]:
    for path in files():
        if path.is_file() and path != Path(__file__):
            for number, line in texts(path):
                yield from ((path, number, found[0]) for found in BANNED.finditer(line))


@cache
def counts() -> dict[str, int]:
    return dict(sorted(Counter(folder_of(path) for path, _, _ in findings()).items()))


@pytest.mark.parametrize("folder", sorted({*counts(), *ALLOWED}))
def test_banned_words_do_not_increase(folder: str) -> None:
    allowed, found = ALLOWED.get(folder, 0), counts().get(folder, 0)
    assert found <= allowed, (
        f"{folder}: {found} banned words, {allowed} allowed: python -m tests.house.test_house_words"
    )


if __name__ == "__main__":
    if "--count" in sys.argv:
        print(json.dumps(counts(), indent=2))  # noqa: T201 - its output
    else:
        for path, number, word in findings():
            print(f"{path.relative_to(ROOT)}:{number}: {word}")  # noqa: T201 - its output
