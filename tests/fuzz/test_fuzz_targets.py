"""Each decoder of outside bytes returns a value or its own error: for its corpus, and for mutations of it.

`make fuzz` runs the same targets millions of times, guided by coverage.
"""

import logging
from random import Random

import pytest

from tests.fuzz.mutation import mutated
from tests.fuzz.target import finding_of, limited_memory
from tests.fuzz.targets import ALL

MUTATED = 200
FURTHER_BYTES = 512 * 1024 * 1024


@pytest.fixture(autouse=True)
def no_logging():
    """What a test logs goes to its report, which cannot hold every name of a file."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("target", ALL, ids=[target.name for target in ALL])
def test_the_corpus_and_its_mutations_give_values_or_errors(target):
    seeds, rng = target.seeds(), Random(target.name)
    contents = [*seeds, *(mutated(seeds, rng, target.length_max) for _ in range(MUTATED))]
    with limited_memory(FURTHER_BYTES):
        findings = {found.place: found for content in contents if (found := finding_of(target, content))}
    assert not findings, "\n".join(f"{each.place}: {each.text} of {each.content[:300]!r}" for each in findings.values())
