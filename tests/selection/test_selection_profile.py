"""How much is usually traded by a time of day."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import SharesAdjusted, VolumePoints
from observer.selection.profile import (
    EarlierDays,
    MeanVolume,
    Profile,
    mean_volumes,
    profiles_of,
    volume_by,
)
from observer.selection.triggers import ProfileSettings

SECOND_NS = 1_000_000_000
SETTINGS = ProfileSettings(days_min=3)


def row(at_s, volume, *, symbol="A", days=3):
    return MeanVolume(symbol, int(at_s // 600), at_s, volume, days)


def test_between_two_points_the_volume_grows_evenly_and_after_the_last_it_stays():
    profile = profiles_of([row(602, 100.0), row(1_202, 300.0)], SETTINGS)["A"]
    by = [volume_by(profile, at_s) for at_s in (602, 752, 902, 1_202, 1_203, 86_399)]
    assert by == pytest.approx([100.0, 150.0, 200.0, 300.0, 300.0, 300.0])


def test_the_volume_before_the_first_point_is_unknown():
    profile = profiles_of([row(602, 100.0), row(1_202, 300.0)], SETTINGS)["A"]
    assert volume_by(profile, 601.999) is None


def test_a_symbol_seen_on_too_few_days_has_no_profile():
    assert profiles_of([row(602, 100.0, days=2)], SETTINGS) == {}


def test_a_bucket_with_too_few_days_is_interpolated():
    rows = [row(600, 100.0), row(1_200, 900.0, days=2), row(1_800, 300.0)]
    assert volume_by(profiles_of(rows, SETTINGS)["A"], 1_200) == pytest.approx(200.0)


def test_a_mean_that_falls_as_days_are_missing_does_not_take_volume_back():
    rows = [row(600, 100.0), row(1_200, 80.0), row(1_800, 300.0)]
    assert profiles_of(rows, SETTINGS)["A"] == Profile((600.0, 1_200.0, 1_800.0), (100.0, 100.0, 300.0))


def test_every_symbol_has_its_own_profile():
    profiles = profiles_of([row(600, 1.0), row(600, 2.0, symbol="B"), row(1_200, 3.0, symbol="B")], SETTINGS)
    assert {symbol: profile.volumes for symbol, profile in profiles.items()} == {"A": (1.0,), "B": (2.0, 3.0)}


def test_times_of_day_are_seconds_after_midnight():
    assert EarlierDays(midnight_ns=5 * SECOND_NS).time_of_day_s(12 * SECOND_NS + 500_000_000) == 7.5


def test_means_are_over_the_sessions_of_a_bucket_in_the_order_of_buckets():
    seen = [
        ("A", "2026-11-17", VolumePoints((1,), (610.0,), (300.0,))),
        ("A", "2026-11-16", VolumePoints((1, 2), (602.0, 1_203.0), (100.0, 900.0))),
    ]
    assert mean_volumes(seen, {}) == [MeanVolume("A", 1, 606.0, 200.0, 2), MeanVolume("A", 2, 1_203.0, 900.0, 1)]


def test_sessions_with_the_same_buckets_have_the_means_of_each():
    days = [VolumePoints((1, 2), (600.0 + day, 1_200.0), (100.0 * day, 300.0)) for day in (1, 2, 3)]
    assert mean_volumes([("B", f"2026-11-{day}", each) for day, each in enumerate(days, 16)], {}) == [
        MeanVolume("B", 1, 602.0, 200.0, 3),
        MeanVolume("B", 2, 1_200.0, 300.0, 3),
    ]


def test_volumes_before_a_split_count_in_the_shares_after_it():
    volumes = {"2026-11-16": 100.0, "2026-11-17": 700.0}
    seen = [("A", day, VolumePoints((1,), (602.0,), (volume,))) for day, volume in volumes.items()]
    split = SharesAdjusted("kis", "A", "2026-11-17", "2026-11-18", 2_000.0, 10_000.0)
    [mean] = mean_volumes(seen, {"A": [split], "B": [split]})
    assert mean.volume == pytest.approx((5 * 100.0 + 700.0) / 2)


POINTS = st.dictionaries(st.integers(0, 143), st.tuples(st.floats(0, 599.9), st.floats(0, 1e9)), min_size=1)


@given(POINTS, st.lists(st.floats(0, 86_400)))
def test_a_profile_never_falls(points, at_s):
    rows = [row(bucket * 600 + into_s, volume) for bucket, (into_s, volume) in sorted(points.items())]
    profile = profiles_of(rows, SETTINGS)["A"]
    by = [volume for second in sorted(at_s) if (volume := volume_by(profile, second)) is not None]
    assert all(earlier <= later * (1 + 1e-12) for earlier, later in itertools.pairwise(by))


@given(POINTS, st.floats(1.0, 1e6), st.floats(0, 86_400))
def test_the_profile_of_an_evenly_traded_day_is_linear_between_its_points(points, shares_per_s, at_s):
    times_s = [bucket * 600 + into_s for bucket, (into_s, _) in sorted(points.items())]
    profile = profiles_of([row(each, each * shares_per_s) for each in times_s], SETTINGS)["A"]
    if times_s[0] <= at_s <= times_s[-1]:
        assert volume_by(profile, at_s) == pytest.approx(at_s * shares_per_s)
