"""What changed between two JSON values, for a reader that has the older one.

A change is `[value]`, which replaces, or an object of changes by the key of an object or the index of an array, whose
new indexes follow its last one. `page/feed.js` applies it.
"""

from collections.abc import Sequence
from typing import TypeAlias

Change: TypeAlias = "dict[str, Change] | list[object]"


def change_of(before: object, after: object) -> Change:
    """What makes `after` of `before`; an empty object where they are equal."""
    match before, after:
        case dict(), dict() if before.keys() == after.keys():
            return {key: change_of(before[key], value) for key, value in after.items() if before[key] != value}
        case list(), list() if len(before) <= len(after):
            return _of_items(before, after)
    return {} if before == after else [after]


def _of_items(before: Sequence[object], after: Sequence[object]) -> Change:
    pairs = enumerate(zip(before, after, strict=False))
    changes: dict[str, Change] = {str(index): change_of(old, new) for index, (old, new) in pairs if old != new}
    return changes | {str(index): [after[index]] for index in range(len(before), len(after))}
