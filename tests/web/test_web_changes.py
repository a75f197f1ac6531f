"""Changes between two JSON values: applied to the older one they give the newer one, and they are small."""

from hypothesis import given
from hypothesis import strategies as st

from observer.web.changes import change_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "0"]), inner, max_size=3),
    max_leaves=12,
)


def changed(value, change):
    """As the page does it (page/feed.js)."""
    if isinstance(change, list):
        return change[0]
    copy = value.copy() if isinstance(value, list | dict) else value
    for key, part in change.items():
        if isinstance(copy, dict):
            copy[key] = changed(copy[key], part)
        elif int(key) == len(copy):
            copy.append(changed(None, part))
        else:
            copy[int(key)] = changed(copy[int(key)], part)
    return copy


@given(VALUES, VALUES)
def test_a_change_applied_to_the_older_value_gives_the_newer_one(before, after):
    assert changed(before, change_of(before, after)) == after
    assert change_of(after, after) == {}


def test_only_what_differs_is_in_a_change():
    before = {"known": 1, "rows": [{"a": 1, "b": None}, {"a": 2, "b": [3]}], "same": {"x": [1, 2]}}
    after = {"known": 2, "rows": [{"a": 1, "b": None}, {"a": 2, "b": [3, 4]}, {"a": 5}], "same": {"x": [1, 2]}}
    assert change_of(before, after) == {"known": [2], "rows": {"1": {"b": {"1": [4]}}, "2": [{"a": 5}]}}
    assert change_of([1, 2, 3], [1, 2]) == [[1, 2]], "a shorter array replaces"
    assert change_of({"a": 1}, {"b": 1}) == [{"b": 1}], "other keys replace"
    assert change_of(None, 0) == [0]
