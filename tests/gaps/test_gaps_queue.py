"""Which gap is filled next: each once, the most urgent first, and none forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from observer.gaps.recovery import CROWDED_ABOVE, DEPTH_MAX, Attempt, RecoveryQueue, RecoverySettings
from tests.gaps.builders import detected
from tests.reach import reaches

SECOND_NS = 10**9


def gap(gap_id="g", duration_s=1.0, detected_ns=0):
    return detected(gap_id, 0, 9, detected_ns=detected_ns, to_ns=round(duration_s * SECOND_NS))


def queue_of(*gaps):
    queue = RecoveryQueue(RecoverySettings())
    queue.take_up(gaps)
    return queue


def taken(queue, now_ns=0):
    attempt = queue.take(now_ns)
    assert attempt is not None
    return attempt


def drained(queue):
    found = []
    while attempt := queue.take(0):
        found.append(attempt.gap.gap_id)
    return found


def test_the_queue_returns_the_most_urgent_gap_first():
    waiting = [gap("long", 90), gap("middle", 30), gap("late", 1, 9), gap("b", 1, 8), gap("a", 1, 8)]
    assert drained(queue_of(*waiting)) == ["a", "b", "late", "middle", "long"]


def test_a_failed_gap_waits_for_its_time_and_keeps_its_reason():
    queue = queue_of(gap())
    queue.put_back(taken(queue), "busy", 0)
    assert queue.take(SECOND_NS - 1) is None
    assert taken(queue, SECOND_NS) == Attempt(gap(), 1, SECOND_NS, "busy")


def test_a_closed_gap_that_a_database_which_went_back_gets_again_is_not_filled_again():
    queue = queue_of(gap("a"), gap("b"))
    queue.close(taken(queue))
    queue.forget_before("2026-11-18")
    queue.take_up([gap("a")])
    assert drained(queue) == ["b"]


def test_the_closed_gaps_of_days_that_are_filled_no_more_are_forgotten():
    queue = queue_of(gap())
    queue.close(taken(queue))
    queue.forget_before("2026-11-19")
    queue.take_up([gap()])
    assert drained(queue) == ["g"]


# --- repeated by an operator's order ---


def test_a_retry_of_a_gap_that_waits_after_a_failure_is_immediate():
    queue = queue_of(gap())
    queue.put_back(taken(queue), "busy", 0)
    assert queue.take_up_again(gap(), is_open=True)
    assert taken(queue) == Attempt(gap())


def test_a_retry_of_a_gap_closed_in_this_process_is_marked_as_repeated():
    queue = queue_of(gap())
    queue.close(taken(queue))
    assert not queue.take_up_again(gap(), is_open=True), "its outcome is not stored yet"
    assert queue.take_up_again(gap(), is_open=False)
    assert taken(queue) == Attempt(gap(), again=True)


def test_a_gap_in_progress_cannot_be_retried():
    queue = queue_of(gap())
    taken(queue)
    assert not queue.take_up_again(gap(), is_open=True)
    assert not queue.take_up_again(gap(), is_open=False)


# --- queue length ---


def test_a_queue_that_is_too_long_is_reported_once_and_its_end_once():
    queue = queue_of(*(gap(f"g{number}") for number in range(DEPTH_MAX - 1)))
    assert queue.crowding() is None
    queue.take_up([gap("one more")])
    assert [queue.crowding(), queue.crowding()] == ["begins", None]
    while len(queue) >= CROWDED_ABOVE:
        assert queue.crowding() is None
        queue.close(taken(queue))
    assert [queue.crowding(), queue.crowding()] == ["ends", None]


STEPS = st.lists(
    st.tuples(st.sampled_from(["take_up", "again", "fail", "close"]), st.integers(0, 5)), min_size=12, max_size=60
)


@reaches(closed=70, failed=30, repeated=9, left_at_the_end=12)
@given(STEPS)
def test_the_queue_never_forgets_a_gap_and_never_hands_one_out_twice(reach, steps):
    queue, reported, closed = RecoveryQueue(RecoverySettings()), set(), set()
    under_way: dict[str, Attempt] = {}
    for now, (step, number) in enumerate(steps):
        wanted = gap(f"g{number}")
        if step == "take_up":
            queue.take_up([wanted])
            reported.add(wanted.gap_id)
        elif step == "again" and wanted.gap_id in reported:
            if queue.take_up_again(wanted, is_open=wanted.gap_id not in closed):
                reach.count("repeated", wanted.gap_id in closed)
                closed.discard(wanted.gap_id)
        elif attempt := queue.take(now * 100 * SECOND_NS):
            assert attempt.gap.gap_id not in under_way
            if step == "fail":
                queue.put_back(attempt, "busy", now * 100 * SECOND_NS)
                reach.count("failed")
            else:
                queue.close(attempt)
                closed.add(attempt.gap.gap_id)
                reach.count("closed")
    waiting = reported - closed
    reach.count("left_at_the_end", len(waiting))
    found = set()
    while attempt := queue.take(10**6 * SECOND_NS):
        found.add(attempt.gap.gap_id)
    assert found == waiting
    assert len(queue) == 0
