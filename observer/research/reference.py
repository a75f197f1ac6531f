"""`python -m observer.research.reference`: the page of the relations, docs/relations.md, from the catalogue."""

import sys
from collections.abc import Iterator
from typing import Any, get_args

from observer.research.catalogue import RELATIONS
from observer.research.relation import Column, Relation, columns_of

_DAYS = {
    "days": "the stored days",
    "history": "any days, also before the first stored session",
    "since": "all time, or from a day on",
    "now": "now, or at the end of a day",
}
_TYPES = {"str": "text", "datetime": "moment"}
_HEAD = """# Relations

Each relation is the same in all doors: `observer NAME [DAY] [SYMBOL]`, `store.relation("NAME", DAY)`, the table `NAME`
of `observer query`, `/api/NAME?day=DAY`. This page is made of the catalogue:
`python -m observer.research.reference > docs/relations.md`.
"""


def page() -> str:
    """The page."""
    return "\n".join([_HEAD, *(line for each in RELATIONS.values() for line in _section(each))])


def _section(relation: Relation) -> Iterator[str]:
    yield f"## {relation.name}\n"
    yield f"{relation.meaning} Days: {_DAYS[relation.span]}.\n"
    yield "| column | | |"
    yield "| --- | --- | --- |"
    yield from (f"| `{each.name}` | {_type(each)} | {each.sentence} |" for each in columns_of(relation.row))
    yield ""
    if relation.options is not None:
        yield "| parameter | | |"
        yield "| --- | --- | --- |"
        yield from (f"| `{each.name}` | {_type(each)} | {each.sentence} |" for each in columns_of(relation.options))
        yield ""


def _type(column: Column) -> str:
    kind: Any = column.type
    choices = ", ".join(map(str, get_args(kind)))
    name = choices or _TYPES.get(kind.__name__, kind.__name__)
    return f"{name} or null" if column.is_optional else name


if __name__ == "__main__":
    sys.stdout.write(page())
