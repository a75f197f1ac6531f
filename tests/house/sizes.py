"""`python -m tests.house.sizes`: how large each room is beside its budget of rooms.toml, in tokens.

A token is a name, a number, a string or a sign of the code: formatting changes nothing. Docstrings, comments and
imports do not count. `--write` lowers the budgets to what the rooms have.
"""

import ast
import io
import re
import sys
import tokenize
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
BUDGETS: Final = Path(__file__).with_name("rooms.toml")
_NOT_COUNTED: Final = {
    tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
}  # fmt: skip


def tokens(source: str) -> int:
    """The tokens of a module."""
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import() | ast.ImportFrom():
                skipped.update(range(node.lineno, (node.end_lineno or 0) + 1))
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if ast.get_docstring(node):
                first = node.body[0]
                skipped.update(range(first.lineno, (first.end_lineno or 0) + 1))
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(each.type not in _NOT_COUNTED and each.start[0] not in skipped for each in found)


def splats(source: str) -> int:
    """Calls with a tuple of values spread into them: `f(*(a, b))`."""
    return sum(
        isinstance(each, ast.Starred) and isinstance(each.value, ast.Tuple)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        for each in node.args
    )


def room_of(path: Path) -> str:
    """The room of a file, as rooms.toml names it: a folder of `observer`, or one of the others."""
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "observer" and len(parts) > 2 else parts[0]


def sizes() -> dict[str, int]:
    """The tokens of each room."""
    found: dict[str, int] = {}
    for folder in ("bus", "observer", "workers", "migrations", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            found[room_of(path)] = found.get(room_of(path), 0) + tokens(path.read_text())
    return found


def budgets() -> dict[str, dict[str, int]]:
    """For each room `tokens`, which it may have today, and `goal`."""
    rooms: dict[str, dict[str, int]] = tomllib.loads(BUDGETS.read_text())
    return rooms


def main() -> int:
    """Print the table; lower the budgets where asked."""
    found, allowed = sizes(), budgets()
    for room, size in sorted(found.items()):
        budget = allowed.get(room, {"tokens": 0, "goal": 0})
        sys.stdout.write(f"{room:12} {size:8,} of {budget['tokens']:8,}, goal {budget['goal']:8,}\n")
    source = sum(size for room, size in found.items() if room != "tests")
    sys.stdout.write(
        f"source {source:,}, goal {sum(each['goal'] for room, each in allowed.items() if room != 'tests'):,}\n"
    )
    if "--write" in sys.argv:
        text = BUDGETS.read_text()
        for room, size in found.items():
            if size < allowed[room]["tokens"]:
                text = re.sub(rf"(?m)^({room} = {{ tokens = )[\d_]+", rf"\g<1>{size:_}", text)
        BUDGETS.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
