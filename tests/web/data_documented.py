"""The examples of docs/http.md: how they are run, and their output of now.

`python -m tests.web.data_documented` writes the output of the examples into the page, from the small store.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.research.stored import make_store
from tests.waiting import DEADLINE_S
from tests.web.data_app import data_app, served

PAGE: Final = Path(__file__).parents[2] / "docs" / "http.md"
ADDRESS: Final = "http://127.0.0.1:8765"
_BLOCK: Final = re.compile(r"```sh\n(\$ .*?)```", re.DOTALL)


def page_of_now(folder: Path) -> str:
    """The page with the output of each example as it is now; the examples run in the folder."""
    make_store(folder)
    with served(data_app(folder)) as address:

        def written(block: re.Match[str]) -> str:
            commands = (line for line in block[1].splitlines() if line.startswith("$ "))
            return "```sh\n" + "".join(_shown(commands, address, folder)) + "```"

        return _BLOCK.sub(written, PAGE.read_text())


def _shown(commands: Iterator[str], address: str, folder: Path) -> Iterator[str]:
    for line in commands:
        command = line.removeprefix("$ ").replace(ADDRESS, address)
        ran = subprocess.run(
            ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
        text = ran.stdout.replace("\r\n", "\n").replace(address, ADDRESS)
        yield f"{line}\n{text}" + ("" if not text or text.endswith("\n") else "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        PAGE.write_text(page_of_now(Path(place)))
