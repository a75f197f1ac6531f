"""How much is usually traded by a time of day."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.selection.profile import BUCKETS, BucketVolume, moment_of, profiles_of, volume_by
from observer.selection.settings import ProfileSettings

SECOND_NS = 1_000_000_000
SETTINGS = ProfileSettings(days_min=3)


def row(bucket: int, volume: float, *, symbol: str = "A", days: int = 3) -> BucketVolume:
    return BucketVolume(symbol, bucket, volume, days)


def test_between_two_buckets_the_volume_grows_evenly() -> None:
    profile = profiles_of([row(1, 100.0), row(2, 300.0)], SETTINGS)["A"]
    by = [volume_by(profile, moment_of(at_s * SECOND_NS, 0)) for at_s in (0, 600, 900, 1_200, 1_500, 86_399)]
    assert by == pytest.approx([0.0, 0.0, 50.0, 100.0, 200.0, 300.0])


def test_a_symbol_seen_on_too_few_days_has_no_profile() -> None:
    assert profiles_of([row(1, 100.0, days=2)], SETTINGS) == {}


def test_a_bucket_that_nobody_saw_repeats_the_one_before_it() -> None:
    profile = profiles_of([row(1, 100.0), row(4, 300.0)], SETTINGS)["A"]
    assert list(profile[:6]) == [0.0, 100.0, 100.0, 100.0, 300.0, 300.0]


@given(st.dictionaries(st.integers(0, BUCKETS - 1), st.floats(0, 1e9), min_size=1), st.lists(st.integers(0, 86_400)))
def test_a_profile_never_falls(volumes: dict[int, float], at_s: list[int]) -> None:
    profile = profiles_of([row(bucket, volumes[bucket]) for bucket in sorted(volumes)], SETTINGS)["A"]
    assert len(profile) == BUCKETS
    by = [volume_by(profile, moment_of(second * SECOND_NS, 0)) for second in sorted(at_s)]
    assert all(earlier <= later * (1 + 1e-12) for earlier, later in itertools.pairwise(by))
