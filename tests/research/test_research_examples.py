"""docs/examples.md: each line runs, also over the small store, and each picture of the page is made."""

import doctest
import re
from typing import Any

import pytest

from tests.research.documented import BLOCK, EXAMPLES, configured, output_of
from tests.research.stored import make_store


@pytest.mark.slow
def test_each_example_runs_and_makes_its_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    for name in ("demo", "month"):
        (tmp_path / name).mkdir()
        make_store(tmp_path / name)
    page, names = EXAMPLES.read_text(), dict[str, Any]()
    blocks = [doctest.DocTestParser().get_examples(block) for block in BLOCK.findall(page)]
    assert len(blocks) == 6
    with configured():
        for each in (each for block in blocks for each in block):
            found = output_of(each.source, names)
            assert "Traceback" not in found, found
            assert bool(found) == bool(each.want), f"{each.source} shows something where the page shows nothing"
    pictures = re.findall(r"\]\(examples/(\w+\.png)\)", page)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(pictures)
    for picture in pictures:
        assert (EXAMPLES.with_suffix("") / picture).read_bytes().startswith(b"\x89PNG"), (
            f"{picture} is not beside the page"
        )
