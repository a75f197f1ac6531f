"""The states of a supervised process, as a table: (state, happening) -> state. What is not in it is our mistake.

Pure: the table and its look-up, nothing else.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a process is in its life; the words that supervisord's users know, and EXITED."""

    STOPPED = "STOPPED"
    """Not running, because nobody asked for it yet or somebody stopped it."""
    STARTING = "STARTING"
    """Being started; not ready."""
    RUNNING = "RUNNING"
    """Ready."""
    STOPPING = "STOPPING"
    """Asked to end, or ending by itself; something of it may still live."""
    BACKOFF = "BACKOFF"
    """Ended without being asked; it will be started again after a delay."""
    EXITED = "EXITED"
    """Its work is done and its policy lets it rest."""
    FATAL = "FATAL"
    """Given up: it ended too often, or badly and its policy is never to start again."""


class Happening(StrEnum):
    """What can happen to a process."""

    START = "start"
    """It was asked for, or its delay is over."""
    READY = "ready"
    """It can do its work."""
    STOP = "stop"
    """Somebody wants it stopped."""
    HUNG = "hung"
    """It did not become ready, or fell silent: it is being ended."""
    HEAVY = "heavy"
    """It uses more memory than it may: it is being ended, to be started again."""
    LEAVE = "leave"
    """It said that it is ending by itself."""
    GONE = "gone"
    """Nothing is left of what somebody wanted stopped."""
    ENDED = "ended"
    """Nothing is left of it, nobody asked for that, and it will be started again."""
    FINISHED = "finished"
    """Nothing is left of it and that was its purpose."""
    GAVE_UP = "gave_up"
    """Nothing is left of it and it will not be tried again."""


SETTLED: Final = frozenset({State.STOPPED, State.RUNNING, State.EXITED, State.FATAL})
"""Where a process stays until something new happens."""

TRANSITIONS: Final[Mapping[tuple[State, Happening], State]] = {
    (State.STOPPED, Happening.START): State.STARTING,
    (State.EXITED, Happening.START): State.STARTING,
    (State.FATAL, Happening.START): State.STARTING,
    (State.BACKOFF, Happening.START): State.STARTING,
    (State.STARTING, Happening.READY): State.RUNNING,
    (State.BACKOFF, Happening.STOP): State.STOPPED,
    (State.STARTING, Happening.STOP): State.STOPPING,
    (State.RUNNING, Happening.STOP): State.STOPPING,
    (State.STARTING, Happening.HUNG): State.STOPPING,
    (State.RUNNING, Happening.HUNG): State.STOPPING,
    (State.RUNNING, Happening.HEAVY): State.STOPPING,
    (State.STARTING, Happening.LEAVE): State.STOPPING,
    (State.RUNNING, Happening.LEAVE): State.STOPPING,
    (State.STOPPING, Happening.GONE): State.STOPPED,
    (State.STARTING, Happening.ENDED): State.BACKOFF,
    (State.RUNNING, Happening.ENDED): State.BACKOFF,
    (State.STOPPING, Happening.ENDED): State.BACKOFF,
    (State.STARTING, Happening.FINISHED): State.EXITED,
    (State.RUNNING, Happening.FINISHED): State.EXITED,
    (State.STOPPING, Happening.FINISHED): State.EXITED,
    (State.STARTING, Happening.GAVE_UP): State.FATAL,
    (State.RUNNING, Happening.GAVE_UP): State.FATAL,
    (State.STOPPING, Happening.GAVE_UP): State.FATAL,
}


class ImpossibleTransitionError(AssertionError):
    """Our own mistake: this cannot happen in this state."""


def next_state(state: State, happening: Happening) -> State:
    """Where the happening leads from the state.

    Raises:
        ImpossibleTransitionError: the table has no such row.
    """
    try:
        return TRANSITIONS[state, happening]
    except KeyError:
        raise ImpossibleTransitionError(f"{happening.value!r} cannot happen to a process that is {state}") from None
