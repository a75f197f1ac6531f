"""The confidence of a sector code, from examples in its own market and in others."""

from random import Random

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from tests.reference.sector_codes import (
    SURE_CODE,
    Example,
    cross_validate,
    judged_unseen,
    learn,
    wilson_lower,
)

ALL = ("US", "JP", "VN")


def examples(region, code, **sectors):
    """Examples of a code: the number of securities in each sector (`Health_Care=3`)."""
    return [Example(region, code, sector.replace("_", " ")) for sector, count in sectors.items() for _ in range(count)]


def meaning(seen, region="US", code="520"):
    return learn(seen, ALL)[region].meaning(code)


def test_a_code_means_the_sector_of_most_with_purity_and_count():
    found = meaning(examples("US", "520", Health_Care=9, Materials=1))
    assert (found.sector, found.purity, found.count) == ("Health Care", 0.9, 10)


def test_a_pure_code_of_many_securities_is_sure():
    assert meaning(examples("US", "610", Financials=100), code="610").is_sure


def test_a_pure_code_of_few_securities_is_not():
    assert not meaning(examples("US", "610", Financials=5), code="610").is_sure


def test_a_mixed_code_is_never_sure_however_many_securities_it_has():
    assert not meaning(examples("US", "230", Industrials=940, Energy=60), code="230").is_sure


def test_other_markets_make_a_code_of_few_securities_sure():
    few = examples("US", "610", Financials=8)
    assert not meaning(few, code="610").is_sure
    assert meaning(few + examples("JP", "610", Financials=50), code="610").is_sure


def test_other_markets_never_give_more_confidence_than_the_market_itself_can():
    own = examples("US", "610", Financials=60, Real_Estate=30)
    assert not meaning(own + examples("JP", "610", Financials=10_000), code="610").is_sure


def test_a_market_without_known_sectors_takes_the_meaning_from_other_markets():
    found = meaning(examples("US", "610", Financials=50), region="VN", code="610")
    assert (found.sector, found.count) == ("Financials", 0)
    assert found.is_sure


def test_an_unseen_market_is_tested_with_the_codes_of_the_other_markets_only():
    seen = examples("US", "610", Financials=60) + examples("JP", "610", Financials=47, Real_Estate=3)
    assert judged_unseen(seen, ALL) == {"US": (0, 0), "JP": (50, 47)}, "three of fifty are too many to be believed"


def test_a_code_that_means_something_else_in_other_markets_is_worth_nothing():
    seen = examples("US", "280", Consumer_Discretionary=40) + examples("JP", "280", Industrials=40)
    found = meaning(seen, code="280")
    assert (found.confidence, found.is_sure) == (0.0, False)


@pytest.mark.parametrize("code", ["", "000"])
def test_an_empty_code_has_no_meaning(code):
    assert meaning(examples("US", code, Energy=50), code=code) is None


def test_held_back_securities_are_tested_with_tables_learned_without_them():
    # one security per code: a held-back security's code has no other example, so the table claims nothing
    alone = [Example("US", f"{number:03}", "Energy") for number in range(1, 60)]
    table = cross_validate(alone, ALL, folds=5, rounds=1, shuffle=Random(1).shuffle)["US"]
    assert (table.examples, table.tried, table.claimed) == (59, 59, 0)


def test_cross_validation_counts_every_held_back_security_once_a_round():
    seen = examples("US", "610", Financials=99, Real_Estate=1)
    table = cross_validate(seen, ALL, folds=10, rounds=3, shuffle=Random(1).shuffle)["US"]
    assert (table.tried, table.claimed, table.right) == (300, 300, 297)
    assert (table.codes[0].claimed, table.codes[0].right) == (300, 297)


one_seen = st.builds(
    Example,
    st.sampled_from(ALL),
    st.sampled_from(["110", "230", "610"]),
    st.sampled_from(["Energy", "Materials", "Financials"]),
)
# Many of a kind: of a few securities no code is ever sure.
seen_somewhere = st.lists(st.tuples(one_seen, st.sampled_from([1, 3, 100, 300])), max_size=6).map(
    lambda kinds: [example for example, count in kinds for _ in range(count)]
)


def test_the_generated_examples_contain_sure_codes():
    def has_sure(seen):
        return any(each.is_sure for table in learn(seen, ALL).values() for each in table.codes)

    assert len(find(seen_somewhere, has_sure)) >= 100


@given(seen_somewhere)
def test_a_sure_code_has_the_required_confidence_and_purity(seen):
    for table in learn(seen, ALL).values():
        for each in table.codes:
            assert 0 <= each.confidence <= 1
            assert not each.is_sure or (each.confidence >= SURE_CODE and each.purity >= 0.95)


@given(seen_somewhere, st.randoms(use_true_random=False))
def test_the_order_of_the_securities_does_not_matter(seen, rng):
    shuffled = list(seen)
    rng.shuffle(shuffled)
    assert learn(seen, ALL) == learn(shuffled, ALL)


@given(seen_somewhere, st.integers(0, 5))
def test_the_figures_of_the_codes_add_up_to_those_of_the_market(seen, seed):
    for table in cross_validate(seen, ALL, folds=4, rounds=1, shuffle=Random(seed).shuffle).values():
        assert table.claimed == sum(each.claimed for each in table.codes)
        assert table.right == sum(each.right for each in table.codes)
        assert table.right <= table.claimed <= table.tried


@given(st.integers(0, 1_000), st.integers(0, 1_000))
def test_the_lower_end_lies_below_the_share_and_comes_nearer_with_more_securities(agreeing, others):
    seen = agreeing + others
    low = wilson_lower(agreeing, seen)
    assert 0 <= low <= (agreeing / seen if seen else 0) + 1e-12
    assert wilson_lower(10 * agreeing, 10 * seen) >= low - 1e-12
