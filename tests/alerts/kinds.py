"""The kinds of alerts that the code raises, found in its syntax: the part of each identity before its object.

An identity is the first argument of a method of `Alerts`. It is a text, an f-string, a constant of a module, or a name
that its function or its class gives a value; what is none of these is in `HELPERS`.
"""

import ast
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
RAISING: Final = ("report", "happened", "reported", "report_from_thread", "happened_from_thread")
# Functions that raise an alert whose identity is an argument of theirs: module, function, position.
HELPERS: Final = {
    ("observer/streaming/earlier.py", "state_failure"): 1,
    ("observer/streaming/unreadable.py", "_report"): 0,
    ("observer/streaming/attention.py", "_failed"): 0,
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("observer", "workers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RAISING:
            if "alerts" in ast.unparse(node.func.value).lower() and node.args:
                yield node


if __name__ == "__main__":
    for name, tree in modules():
        for call in calls(tree):
            print(
                f"{name}:{call.lineno}: {ast.unparse(call.args[0])}, {ast.unparse(call.args[1]) if len(call.args) > 1 else ''}"
            )
