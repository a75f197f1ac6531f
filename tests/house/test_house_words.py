"""The words of the code are the field's: no banned pattern stands in a docstring, a comment, a message, a name of a
function or class, or a document.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BANNED = re.compile(
    r"\b(tells?|told|telling|whoever|whom|nobody|somebody|anybody|wish|wishes|wished|witness|lanes?|couriers?|permits?"
    r"|holes?|verdicts?|deaf|misbehaviours?|places? (?:of|in) the stream"
    r"|(?:has|have|had|gets?|no|free|lost) (?:a )?places?"
    r"|comes? of it|came of it|what came of|of which|thought over|the books|by chance|front door)\b",
    re.IGNORECASE,
)
CODE = ("bus", "observer", "workers", "tests", "migrations")
DOCUMENTS = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "OPERATIONS.md", "SECURITY.md"),
    *("Makefile", "pyproject.toml", "supervisord.conf", "Containerfile", "config", "docs"),
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


def test_no_banned_word_is_in_a_file() -> None:
    suspects = [path for path in files() if path != Path(__file__) and may_have_one(path.read_text())]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {word}"
        for path in suspects
        for number, line in texts(path)
        for word in BANNED.findall(line)
    ]
    assert found == []


def may_have_one(content: str) -> bool:
    """Whether a banned word is anywhere in the file, also in code, which may use it: then it is parsed."""
    return bool(BANNED.search(content) or BANNED.search(content.replace("_", " ")))


def test_a_banned_word_is_found(tmp_path: Path) -> None:
    source = tmp_path / "code.py"
    source.write_text('"""Says what nobody asked."""\n\n\ndef told() -> None:  # a lane\n    pass\n')
    assert [word for _, line in texts(source) for word in BANNED.findall(line)] == ["nobody", "lane", "told"]
