"""docs/research.md: each example gives what the page shows."""

from tests.research.documented import configured, run_page
from tests.research.stored import make_store


def test_the_examples_of_the_page_give_their_output(tmp_path, monkeypatch):
    make_store(tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    with configured():
        found = run_page()
    assert found.failed == 0
    assert found.attempted > 20
