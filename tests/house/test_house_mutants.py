"""The tests that judge the mutants of each file exist: `make mutation` is run too seldom to say that one is gone."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JUDGED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]["tests"]
OF_DATABASES = "postgresql"  # the name of a parameter, not of a test


def absent(root, words):
    """Which of these tests, and of the words of `-k`, are not in the folder of the repository."""
    named, _, keywords = " ".join(words).partition(" -k ")
    paths = [root / each.partition("::")[0] for each in named.split()]
    files = [file for path in paths for file in (path.rglob("test_*.py") if path.is_dir() else [path])]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    functions = re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE)
    for path, each in zip(paths, named.split(), strict=True):
        test = each.partition("::")[2]
        if not path.exists() or (test and test not in functions):
            yield each
    for word in re.findall(r"not (\w+)", keywords):
        if word != OF_DATABASES and not any(word in function for function in functions):
            yield word


@pytest.mark.parametrize("file", JUDGED)
def test_the_tests_of_a_file_with_mutants_exist(file):
    assert (ROOT / file).is_file()
    assert list(absent(ROOT, JUDGED[file])) == []


def test_a_test_or_a_word_that_is_gone_is_found(tmp_path):
    (tmp_path / "test_a.py").write_text("def test_one_is_quick(): ...\n\n\nasync def test_two(): ...\n")
    assert list(absent(tmp_path, ["test_a.py::test_two", "-k", "not quick and not postgresql"])) == []
    wrong = ["test_a.py::test_three", "test_b.py", "-k", "not slow"]
    assert list(absent(tmp_path, wrong)) == ["test_a.py::test_three", "test_b.py", "slow"]
