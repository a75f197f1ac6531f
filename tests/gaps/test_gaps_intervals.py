"""A symbol's slot intervals, and the bound that each volume observation gives."""

import pytest

from bus.events import SlotAssigned, SlotReleased, StreamedTime
from observer.gaps.intervals import Interval, ObservedVolumes, VolumeObservation, intervals, utilization, with_observed

CLOSE_NS = 10_000
SYMBOL, OTHER = "005930", "000660"


def assigned(at_ns, slot="a:01", symbol=SYMBOL, reason="free_slot"):
    return SlotAssigned(slot, symbol, at_ns, "volume_surge", 1.0, reason, None)


def released(at_ns, slot="a:01", symbol=SYMBOL, reason="expired"):
    return SlotReleased(slot, symbol, at_ns, 1.0, reason)


MOVED = released(8, reason="moved")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ([assigned(5), assigned(7, reason="kept")], {SYMBOL: [Interval(5, CLOSE_NS)]}),
        ([assigned(5), released(8), assigned(20, "a:02")], {SYMBOL: [Interval(5, 8), Interval(20, CLOSE_NS)]}),
        ([assigned(5), released(8), assigned(8)], {SYMBOL: [Interval(5, 8), Interval(8, CLOSE_NS)]}),
        ([assigned(5), MOVED, assigned(8, "b:01", reason="moved"), released(9, "b:01")], {SYMBOL: [Interval(5, 9)]}),
        (
            [assigned(5), MOVED, assigned(12, "b:01", reason="moved")],
            {SYMBOL: [Interval(5, 8), Interval(12, CLOSE_NS)]},
        ),
        (
            [assigned(5), assigned(9, symbol=OTHER, reason="outranks")],
            {SYMBOL: [Interval(5, 9)], OTHER: [Interval(9, CLOSE_NS)]},
        ),
        ([assigned(5), released(6, symbol=OTHER)], {SYMBOL: [Interval(5, CLOSE_NS)]}),
        ([assigned(5), released(8, reason="unfinished")], {SYMBOL: [Interval(5, 8, has_end=False)]}),
    ],
    ids=["kept", "returned", "returned at once", "moved", "moved later", "lost", "another's release", "unfinished"],
)
def test_the_intervals_of_a_symbol_follow_from_its_slots(changes, found):
    assert intervals(changes, CLOSE_NS, is_over=False) == found


def test_a_slot_without_a_release_on_a_past_day_has_no_end():
    assert intervals([assigned(5)], CLOSE_NS, is_over=True) == {SYMBOL: [Interval(5, CLOSE_NS, has_end=False)]}


# --- volume observations ---

FROM_NS, TO_NS = 100, 200


@pytest.mark.parametrize(
    ("observation", "seen"),
    [
        (VolumeObservation(100, 5.0, 90), ObservedVolumes(before=5.0)),
        (VolumeObservation(150, 5.0, 149), ObservedVolumes(first=5.0, last=5.0)),
        (VolumeObservation(150, 5.0, 109), ObservedVolumes(last=5.0)),  # requested before the symbol's first trade
        (VolumeObservation(150, 5.0), ObservedVolumes(last=5.0)),  # the time of the request is unknown
        (VolumeObservation(200, 5.0, 199), ObservedVolumes(first=5.0, last=5.0)),
        (VolumeObservation(201, 5.0, 200), ObservedVolumes(after=5.0)),
        (
            VolumeObservation(201, 5.0, 199),
            ObservedVolumes(after=9.0),
        ),  # requested within, received after: counts for neither
        (VolumeObservation(201, 5.0), ObservedVolumes(after=9.0)),
    ],
)
def test_a_volume_observation_counts_only_where_its_error_is_on_the_safe_side(observation, seen):
    at_most = None if seen.after != 9.0 else 9.0
    found = with_observed(Interval(FROM_NS, TO_NS), [110], [observation], at_most)
    assert found.observed == seen


def test_an_interval_without_a_subscription_in_it_receives_from_its_start():
    observation = VolumeObservation(150, 5.0, 100)
    assert with_observed(Interval(FROM_NS, TO_NS), [90, 300], [observation], None).observed.first == 5.0
    assert with_observed(Interval(FROM_NS, TO_NS), [110, 101, 90], [observation], None).observed.first is None


def test_the_observations_nearest_to_the_bounds_of_an_interval_count():
    observations = [VolumeObservation(at_ns, float(at_ns), at_ns) for at_ns in (250, 210, 190, 170, 150, 99, 50)]
    found = with_observed(Interval(FROM_NS, TO_NS), [], observations, 500.0)
    assert found.observed == ObservedVolumes(before=99, first=150, last=190, after=210)
    assert with_observed(Interval(FROM_NS, TO_NS), [], [], 500.0).observed == ObservedVolumes(after=500)


# --- slot utilisation ---


@pytest.mark.parametrize(
    ("taken", "slots", "part"),
    [([(100, 200)], 1, 1.0), ([(0, 150), (190, 900)], 2, 0.3), ([], 2, 0.0), ([(300, 400)], 1, 0.0)],
)
def test_utilization_is_the_used_share_of_all_slot_time(taken, slots, part):
    found = utilization([StreamedTime(*each) for each in taken], Interval(100, 200), slots)
    assert found == part
    assert utilization([], Interval(100, 100), slots) is None
