"""The catalogue: each relation states its columns, and the page of the documents is made of it."""

from pathlib import Path

import pytest

from observer.research.catalogue import RELATIONS
from observer.research.reference import page
from observer.research.relation import columns_of

ALL = pytest.mark.parametrize("relation", RELATIONS.values(), ids=list(RELATIONS))


@ALL
def test_each_column_and_parameter_has_a_sentence(relation):
    assert relation.meaning.endswith(".")
    for each in (*columns_of(relation.row), *(columns_of(relation.options) if relation.options else ())):
        assert each.sentence.endswith("."), each.name


@ALL
def test_what_a_terminal_shows_are_columns(relation):
    assert {*relation.shown, *relation.counted} <= set(relation.row.__struct_fields__)


def test_the_page_of_the_documents_is_that_of_the_catalogue():
    assert (Path(__file__).parents[2] / "docs" / "relations.md").read_text() == page()
