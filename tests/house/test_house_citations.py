"""A text cites only what a reader of the repository can open."""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).relative_to(ROOT).as_posix()
PAGE = re.compile(r"(?<![\w./{*-])((?:[\w-]+/)*[\w-]+\.md)\b(?:#([\w-]+))?")
SOURCE = re.compile(r"(?<![\w./-])(?:bus|observer|workers|migrations|tests)/[a-z\d_/]+\.py\b")
OUTSIDE = re.compile(r"[Rr]equirement\W+00\d|[Ss]ections? \d")
ELSEWHERE = {
    "Data/equity/readme.md": "a page of LEAN, whose format research/lean.py writes",
    "shipped/OPERATIONS.md": "a link inside the package to OPERATIONS.md",
    "observer/x.py": "a file that a test makes up",
}
# Material beside the repository, which these tests read where it is, and say so where it is not.
BESIDE = {("tests/brokers/test_providers_kis_contract.py", "kis-api.md"), ("tests/realdata/records.py", "kis-api.md")}


@cache
def texts():
    listed = ["git", "ls-files", "-co", "--exclude-standard", "*.py", "*.md", "*.toml", "*.yml", "Makefile"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [name for name in names.splitlines() if (ROOT / name).is_file()]
    return {name: (ROOT / name).read_text() for name in files}


def headings(page):
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def absent(tree):
    """Each citation of a page, a heading or a source that the tree does not have, with the text that has it."""
    pages = {path: name for name in tree for path in (name, Path(name).name) if name.endswith(".md")}
    found = [
        f"{name}: {page}"
        for name, text in tree.items()
        if name != HERE and ".md" in text
        for page, heading in PAGE.findall(text)
        if not (page in ELSEWHERE or (name, page) in BESIDE)
        if page not in pages or (heading and heading not in headings(tree[pages[page]]))
    ]
    sources = [f"{name}: {source}" for name, text in tree.items() for source in SOURCE.findall(text) if name != HERE]
    return found + [each for each in sources if each.partition(": ")[2] not in {*tree, *ELSEWHERE}]


def test_every_page_heading_and_source_that_a_text_cites_is_in_the_repository():
    assert absent(texts()) == []


def test_a_page_a_heading_and_a_source_that_do_not_exist_are_seen():
    text = "docs/a.md#one-line, docs/a.md#two, b.md, bus/c.py, bus/d.py"
    tree = {"docs/a.md": "## One line", "bus/c.py": "", "observer/e.py": text}
    assert absent(tree) == ["observer/e.py: docs/a.md", "observer/e.py: b.md", "observer/e.py: bus/d.py"]


def test_no_text_cites_a_number_of_a_document_outside():
    cited = [f"{name}: {found}" for name, text in texts().items() for found in OUTSIDE.findall(text)]
    assert cited == []
