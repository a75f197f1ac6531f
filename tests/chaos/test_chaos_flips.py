"""No flipped bit of a sealed lake makes a wrong answer in silence; where files count as whole unread, they do."""

import pytest

from tests.chaos.flips import PLACES, READERS, Flips

pytestmark = pytest.mark.slow


def test_a_flip_in_each_place_gives_each_reader_the_true_answer_or_a_clear_error(tmp_path):
    tally = Flips(tmp_path, seed=1).run(3 * len(PLACES))
    assert tally.wrong == []
    assert sum(sum(found.values()) for found in tally.outcomes.values()) == 3 * len(PLACES) * len(READERS)
    assert tally.count("elsewhere") >= 1
    assert tally.count("error") >= 1


def test_the_program_sees_the_wrong_answers_of_damaged_files_that_count_as_whole(tmp_path):
    """A flip in a file of trades can break its structure instead: about half of them alter a value."""
    flips = Flips(tmp_path, seed=1, is_control=True)
    assert any(flips.run(1, ["trades"]).count("silent") for _ in range(30))
