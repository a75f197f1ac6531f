"""The examples of the properties: in the default profile the same whatever else is loaded, and enough of them."""

import importlib.util
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import CONSTANTS_CACHE, HypothesisProvider
from hypothesis.internal.constants_ast import Constants

from tests.properties import OF_LOADED_MODULES
from tests.reach import Reach


def drawn():
    """The examples of one property, in order."""
    found: list[object] = []
    CONSTANTS_CACHE.cache.clear()

    @settings(derandomize=True, max_examples=200)
    @given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.binary())))
    def search(values):
        found.append(values)

    search()
    return found


def loaded(path):
    """A module of ours with many constants."""
    path.write_text("\n".join(f"a{n} = {n * 7919}, 'text {n}', {n}.25, b'bytes {n}'" for n in range(100, 200)))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("constants", "is_same"), [(Constants(), True), (OF_LOADED_MODULES, False)])
def test_examples_are_the_same_whatever_modules_are_loaded_if_the_constants_of_those_are_left_out(
    tmp_path, monkeypatch, constants, *, is_same
):
    monkeypatch.setattr(HypothesisProvider, "_local_constants", constants)
    before = drawn()
    monkeypatch.setitem(sys.modules, "wares", loaded(tmp_path / "wares.py"))
    assert (drawn() == before) == is_same


def test_the_profile_that_repeats_its_examples_leaves_them_out():
    constants = vars(HypothesisProvider)["_local_constants"]
    assert (constants is not OF_LOADED_MODULES) == settings().derandomize


def test_a_property_that_reaches_less_than_stated_is_refused():
    reach = Reach()
    reach.count("often", 3)
    reach.judge({"often": 3})
    for floors in ({"often": 4}, {"often": 3, "never": 1}):
        with pytest.raises(AssertionError, match="reaches too little"):
            reach.judge(floors)
