"""Sectors: their names, the other vocabularies' words for them, and which of two answers is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import DataFileError
from observer.reference.sectors.model import (
    SECTOR_NAMES,
    SURE,
    VOCABULARIES,
    Finding,
    Security,
    better,
    sector_in,
    vocabulary_of,
)

APPLE = Security("US", "NASD", "AAPL", "APPLE INC")


def finding(sector="Energy", confidence=1.0, source="sector_code"):
    return Finding(APPLE, source, sector, confidence, "said")


def test_there_are_the_eleven_sectors_of_gics_with_their_codes_and_korean_names():
    assert [name.gics_code for name in SECTOR_NAMES.values()] == list(range(10, 61, 5))
    assert len({name.korean for name in SECTOR_NAMES.values()}) == 11


@pytest.mark.parametrize(
    ("vocabulary", "word", "sector"),
    [
        ("gics", "Consumer Staples", "Consumer Staples"),
        ("nasdaq", "Finance", "Financials"),
        ("nasdaq", "Technology", "Information Technology"),
        ("nasdaq", "Telecommunications", "Communication Services"),
        ("nasdaq", "Basic Materials", "Materials"),
        ("nasdaq", "Miscellaneous", None),
        ("yahoo", "Basic Materials", "Materials"),
        ("yahoo", "Consumer Cyclical", "Consumer Discretionary"),
        ("yahoo", "Consumer Defensive", "Consumer Staples"),
        ("yahoo", "Financial Services", "Financials"),
        ("yahoo", "Healthcare", "Health Care"),
        ("yahoo", "Technology", "Information Technology"),
    ],
)
def test_each_vocabulary_has_its_own_words(vocabulary, word, sector):
    assert sector_in(vocabulary, word) == sector


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_vocabulary_reaches_all_eleven_sectors(vocabulary):
    assert {sector for sector in VOCABULARIES[vocabulary].values() if sector} == set(SECTOR_NAMES)


def test_a_word_of_another_vocabulary_is_refused():
    with pytest.raises(DataFileError, match="Healthcare"):
        sector_in("nasdaq", "Healthcare")


@pytest.mark.parametrize(
    ("words", "vocabulary"),
    [
        ({"Energy", "Health Care", "Financials"}, "gics"),
        ({"Finance", "Miscellaneous"}, "nasdaq"),
        ({"Healthcare", "Technology"}, "yahoo"),
        ({"Energy"}, "gics"),
    ],
)
def test_a_vocabulary_is_recognised_by_its_words(words, vocabulary):
    assert vocabulary_of(words) == vocabulary


def test_words_of_no_single_vocabulary_are_refused():
    with pytest.raises(DataFileError, match="Telecommunications"):
        vocabulary_of({"Healthcare", "Telecommunications"})


def test_an_answer_is_sure_from_the_limit_on_and_only_with_a_sector():
    assert finding(confidence=SURE).is_sure
    assert not finding(confidence=SURE - 0.001).is_sure
    assert not finding(sector=None, confidence=1.0).is_sure


@given(st.lists(st.tuples(st.sampled_from(["Energy", "Utilities", None]), st.floats(0, 1)), min_size=1))
def test_the_best_of_several_answers_has_a_sector_if_any_has_and_the_highest_confidence(answers):
    kept = None
    for sector, confidence in answers:
        kept = better(kept, finding(sector, confidence))
    with_sector = [confidence for sector, confidence in answers if sector]
    assert (kept.sector is not None) == bool(with_sector)
    if with_sector:
        assert kept.confidence == max(with_sector)
