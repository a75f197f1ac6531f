"""README.md and docs/research.md: each example gives what the page shows."""

import pytest

from tests.research.documented import PAGE, README, configured, run_page
from tests.research.stored import make_store


@pytest.mark.parametrize(("page", "examples"), [(README, 5), (PAGE, 20)], ids=["README.md", "docs/research.md"])
def test_the_examples_of_a_page_give_their_output(tmp_path, monkeypatch, page, examples):
    make_store(tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    with configured():
        found = run_page(page)
    assert found.failed == 0
    assert found.attempted >= examples
