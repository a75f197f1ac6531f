"""The table of process states, row by row, and every pair that it does not have."""

import itertools

import pytest

from observer.supervisor.states import SETTLED, TRANSITIONS, Happening, ImpossibleTransitionError, State, next_state

ABSENT = [pair for pair in itertools.product(State, Happening) if pair not in TRANSITIONS]


@pytest.mark.parametrize(("pair", "expected"), TRANSITIONS.items(), ids=str)
def test_every_row_leads_where_it_says(pair: tuple[State, Happening], expected: State) -> None:
    assert next_state(*pair) is expected


@pytest.mark.parametrize(("state", "happening"), ABSENT)
def test_whatever_is_not_in_the_table_is_an_error(state: State, happening: Happening) -> None:
    with pytest.raises(ImpossibleTransitionError, match=state.value):
        next_state(state, happening)


def test_every_state_can_be_reached_from_the_first() -> None:
    reached = {State.STOPPED}
    for _ in State:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached == set(State)


def test_every_state_leads_back_to_a_start() -> None:
    for state in State:
        reached = {state}
        for _ in State:
            reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
        assert State.STARTING in reached


def test_a_process_is_running_only_after_it_was_ready() -> None:
    into_running = {happening for (_, happening), after in TRANSITIONS.items() if after is State.RUNNING}
    assert into_running == {Happening.READY}


def test_a_settled_process_has_nothing_under_way() -> None:
    assert set(State) - SETTLED == {State.STARTING, State.STOPPING, State.BACKOFF}
