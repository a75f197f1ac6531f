"""When a symbol is in the stream, and whose look at its trading counts for what."""

import pytest

from bus.events import SlotAssigned, SlotReleased
from observer.gaps.intervals import Interval, Look, Witness, intervals, utilization, witnessed

CLOSE_NS = 10_000
SYMBOL, OTHER = "005930", "000660"


def assigned(at_ns: int, slot: str = "a:01", symbol: str = SYMBOL, reason: str = "free_place") -> SlotAssigned:
    return SlotAssigned(slot, symbol, at_ns, "volume_surge", 1.0, reason, None)


def released(at_ns: int, slot: str = "a:01", symbol: str = SYMBOL, reason: str = "expired") -> SlotReleased:
    return SlotReleased(slot, symbol, at_ns, 1.0, reason)


def times(changes: list[SlotAssigned | SlotReleased], *, is_over: bool = False) -> dict[str, list[Interval]]:
    return intervals(changes, CLOSE_NS, is_over=is_over)


def test_a_symbol_that_keeps_its_place_is_streamed_until_the_close() -> None:
    assert times([assigned(5), assigned(7, reason="kept")]) == {SYMBOL: [Interval(5, CLOSE_NS)]}


def test_a_symbol_that_leaves_and_returns_has_two_intervals() -> None:
    found = times([assigned(5), released(8), assigned(20, "a:02")])
    assert found == {SYMBOL: [Interval(5, 8), Interval(20, CLOSE_NS)]}


def test_a_return_at_the_moment_of_the_release_is_no_move() -> None:
    assert times([assigned(5), released(8), assigned(8)])[SYMBOL] == [
        Interval(5, 8),
        Interval(8, CLOSE_NS),
    ]


def test_a_move_between_accounts_breaks_nothing() -> None:
    changes: list[SlotAssigned | SlotReleased] = [assigned(5), released(8, reason="moved")]
    changes += [assigned(8, "b:01", reason="moved"), released(9, "b:01")]
    assert times(changes) == {SYMBOL: [Interval(5, 9)]}


def test_a_move_that_takes_time_breaks_it() -> None:
    changes: list[SlotAssigned | SlotReleased] = [assigned(5), released(8, reason="moved")]
    changes += [assigned(12, "b:01", reason="moved")]
    assert times(changes) == {SYMBOL: [Interval(5, 8), Interval(12, CLOSE_NS)]}


def test_a_place_given_to_another_symbol_is_lost_to_its_holder() -> None:
    found = times([assigned(5), assigned(9, symbol=OTHER, reason="outranks")])
    assert found == {SYMBOL: [Interval(5, 9)], OTHER: [Interval(9, CLOSE_NS)]}


def test_a_release_from_a_place_of_another_symbol_changes_nothing() -> None:
    assert times([assigned(5), released(6, symbol=OTHER)]) == {SYMBOL: [Interval(5, CLOSE_NS)]}


def test_a_place_that_nobody_released_on_a_day_that_is_over_has_no_end() -> None:
    assert times([assigned(5)], is_over=True) == {SYMBOL: [Interval(5, CLOSE_NS, has_end=False)]}


def test_a_place_that_was_given_up_later_has_no_end_either() -> None:
    assert times([assigned(5), released(8, reason="unfinished")]) == {SYMBOL: [Interval(5, 8, has_end=False)]}


# --- what others saw of it ---

FROM_NS, TO_NS = 100, 200


@pytest.mark.parametrize(
    ("look", "seen"),
    [
        (Look(100, 5.0, 90), Witness(before=5.0)),
        (Look(150, 5.0, 149), Witness(first=5.0, last=5.0)),
        (Look(150, 5.0, 109), Witness(last=5.0)),  # asked for before the symbol was heard
        (Look(150, 5.0), Witness(last=5.0)),  # nobody knows when it was asked for
        (Look(200, 5.0, 199), Witness(first=5.0, last=5.0)),
        (Look(201, 5.0, 200), Witness(after=5.0)),
        (Look(201, 5.0, 199), Witness(after=9.0)),  # asked for within, received after: it tells of neither
        (Look(201, 5.0), Witness(after=9.0)),
    ],
)
def test_a_look_counts_where_it_errs_on_the_right_side(look: Look, seen: Witness) -> None:
    at_most = None if seen.after != 9.0 else 9.0
    found = witnessed(Interval(FROM_NS, TO_NS), [110], [look], at_most)
    assert found.witness == seen


def test_without_a_registration_in_it_an_interval_is_heard_from_its_start() -> None:
    look = Look(150, 5.0, 100)
    assert witnessed(Interval(FROM_NS, TO_NS), [90, 300], [look], None).witness.first == 5.0
    assert witnessed(Interval(FROM_NS, TO_NS), [110, 101, 90], [look], None).witness.first is None


def test_the_last_look_before_the_first_and_last_within_and_the_first_after_count() -> None:
    looks = [Look(at_ns, float(at_ns), at_ns) for at_ns in (250, 210, 190, 170, 150, 99, 50)]
    found = witnessed(Interval(FROM_NS, TO_NS), [], looks, 500.0)
    assert found.witness == Witness(before=99, first=150, last=190, after=210)
    assert witnessed(Interval(FROM_NS, TO_NS), [], [], 500.0).witness == Witness(after=500)


# --- how much the places were used ---


@pytest.mark.parametrize(
    ("taken", "places", "part"),
    [([(100, 200)], 1, 1.0), ([(0, 150), (190, 900)], 2, 0.3), ([], 2, 0.0), ([(300, 400)], 1, 0.0)],
)
def test_utilization_is_the_part_of_all_places_time(taken: list[tuple[int, int]], places: int, part: float) -> None:
    found = utilization([Interval(*each) for each in taken], Interval(100, 200), places)
    assert found == part


def test_utilization_of_no_time_is_not_known() -> None:
    assert utilization([], Interval(100, 100), 2) is None
