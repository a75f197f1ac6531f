"""The table of process states, row by row, and every pair that it does not have."""

import itertools

import pytest

from observer.supervisor.states import (
    SETTLED,
    TRANSITIONS,
    ImpossibleTransitionError,
    ProcessState,
    Transition,
    next_state,
)

ABSENT = [pair for pair in itertools.product(ProcessState, Transition) if pair not in TRANSITIONS]


@pytest.mark.parametrize(("pair", "expected"), TRANSITIONS.items(), ids=str)
def test_every_transition_of_the_table_leads_to_its_state(pair, expected):
    assert next_state(*pair) is expected


@pytest.mark.parametrize(("state", "transition"), ABSENT)
def test_a_transition_outside_the_table_is_an_error(state, transition):
    with pytest.raises(ImpossibleTransitionError, match=state.value):
        next_state(state, transition)


def test_every_state_can_be_reached_from_the_first():
    reached = {ProcessState.STOPPED}
    for _ in ProcessState:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached == set(ProcessState)


def test_every_state_leads_back_to_a_start():
    for state in ProcessState:
        reached = {state}
        for _ in ProcessState:
            reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
        assert ProcessState.STARTING in reached


def test_a_process_is_running_only_after_it_was_ready():
    into_running = {transition for (_, transition), after in TRANSITIONS.items() if after is ProcessState.RUNNING}
    assert into_running == {Transition.READY}


def test_a_settled_process_has_nothing_under_way():
    assert set(ProcessState) - SETTLED == {ProcessState.STARTING, ProcessState.STOPPING, ProcessState.BACKOFF}
