"""The failures that the soak run detects."""

from tests.chaos.soak import Growth, Limits, Sample, complaints, growth

LIMITS = Limits(memory_mb=8, descriptors=2)
WHOLE = {"whole": True}


def day_of(memory_mb_a_check, descriptors_a_check=0.0, checks=100):
    """A process that warms up by 30 MB in the first third, and grows steadily on top of it."""
    return [
        Sample(
            float(check),
            50 + 30 * min(1.0, check / 33) + memory_mb_a_check * check,
            20 + int(descriptors_a_check * check),
        )
        for check in range(checks)
    ]


def complained(samples):
    found = growth(samples)
    assert found is not None
    return complaints(0, WHOLE, {"p": found}, LIMITS)


def test_warming_up_is_no_leak():
    assert complained(day_of(0.0)) == []


def test_memory_that_rises_to_the_end_is_a_leak():
    assert complained(day_of(0.2)) == ["p grew by 9.8 MB in the second half of the day"]


def test_descriptors_that_are_kept_are_a_leak():
    assert complained(day_of(0.0, 0.2)) == ["p kept 7 descriptors"]


def test_a_short_life_yields_no_growth_and_a_day_of_short_lives_is_a_complaint():
    assert growth(day_of(1.0, checks=20)) is None
    assert complaints(0, WHOLE, {}, LIMITS) == ["the day was too short to judge its memory: choose a lower --speed"]


def test_a_failed_day_and_a_wrong_count_are_complaints():
    fine = {"p": Growth(50.0, 0.0, 0)}
    assert complaints(1, WHOLE, fine, LIMITS) == ["the day ended with status 1"]
    assert complaints(0, {"whole": False, "faults": {"lost": 1}}, fine, LIMITS) == [
        "stored is not what was published: {'lost': 1}"
    ]
