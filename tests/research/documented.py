"""The examples of README.md, docs/research.md and docs/examples.md: how they are run, and their output of now.

`python -m tests.research.documented` writes the output of the examples into the first two, from the small store;
`python -m tests.research.documented FOLDER` into docs/examples.md with its pictures, from FOLDER/demo and FOLDER/month.
"""

import doctest
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from observer.base.errors import ObserverError
from tests.research.stored import make_store

PAGE = Path(__file__).parents[2] / "docs" / "research.md"
README = PAGE.parents[1] / "README.md"
EXAMPLES = PAGE.with_name("examples.md")
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def configured() -> pl.Config:
    """The form of tables on the page."""
    return pl.Config(tbl_formatting="ASCII_MARKDOWN", tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True,
                     tbl_width_chars=200, tbl_cols=20, tbl_rows=20)  # fmt: skip


def run_page(page: Path = PAGE) -> doctest.TestResults:
    """Run a page's examples in a working folder that has the small store as `demo`."""
    text = "\n".join(BLOCK.findall(page.read_text()))
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    return doctest.DocTestRunner().run(test)


def write_page(page: Path = PAGE) -> None:
    """Put the examples' output of now behind them."""
    names: dict[str, Any] = {}

    def written(block: re.Match[str]) -> str:
        examples = doctest.DocTestParser().get_examples(block[1])
        return "```python\n" + "".join(f">>> {each.source}{output_of(each.source, names)}" for each in examples) + "```"

    page.write_text(BLOCK.sub(written, page.read_text()))


def output_of(source: str, names: dict[str, Any]) -> str:
    """What Python shows for a line."""
    try:
        code = compile(source, "example", "eval")
    except SyntaxError:
        exec(source, names)
        return ""
    try:
        value = eval(code, names)
    except ObserverError as error:
        kind = type(error)
        return f"Traceback (most recent call last):\n{kind.__module__}.{kind.__qualname__}: {error}\n"
    return "" if value is None else f"{value!r}\n"


def write_examples(folder: Path) -> None:
    """Put output and pictures of now into docs/examples.md, from the stores in a folder."""
    os.chdir(folder)
    os.environ["MPLBACKEND"] = "agg"
    write_page(EXAMPLES)
    for picture in folder.glob("*.png"):
        shutil.move(picture, EXAMPLES.with_suffix("") / picture.name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, configured():
        if sys.argv[1:]:
            write_examples(Path(sys.argv[1]).absolute())
        else:
            make_store(Path(place) / "demo")
            os.chdir(place)
            write_page()
            write_page(README)
