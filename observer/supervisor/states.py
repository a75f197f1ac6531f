"""The state table of a supervised process: (state, transition) -> state. Any other transition is a programming error.

Pure: the table and its look-up, nothing else.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final


class ProcessState(StrEnum):
    """The state of a process, in supervisord's words, and EXITED."""

    STOPPED = "STOPPED"
    """Not running: not started yet, or stopped by a command."""
    STARTING = "STARTING"
    """Being started; not ready."""
    RUNNING = "RUNNING"
    """Ready."""
    STOPPING = "STOPPING"
    """Ending, by request or by itself; some of its processes may still live."""
    BACKOFF = "BACKOFF"
    """Ended without a request; a restart follows after a delay."""
    EXITED = "EXITED"
    """Its work is done and its policy asks for no restart."""
    FATAL = "FATAL"
    """Given up: it ended too often, or failed under a policy without restarts."""
    LOOPING = "LOOPING"
    """It ended too often and is essential: it is never given up, and a restart follows after a long delay."""


class Transition(StrEnum):
    """The transitions of a process."""

    START = "start"
    """A start was requested, or its delay is over."""
    READY = "ready"
    """It reported that it is ready."""
    STOP = "stop"
    """A stop was requested."""
    HUNG = "hung"
    """It did not become ready, or its heartbeat is stale: it is being ended."""
    HEAVY = "heavy"
    """It exceeds its memory limit: it is being ended for a restart."""
    LEAVE = "leave"
    """It reported that it ends by itself."""
    GONE = "gone"
    """All its processes are gone after a requested stop."""
    ENDED = "ended"
    """All its processes are gone without a request; a restart follows."""
    LOOPED = "looped"
    """All its processes are gone without a request, too often; a restart follows late."""
    FINISHED = "finished"
    """All its processes are gone and its work is done."""
    GAVE_UP = "gave_up"
    """All its processes are gone; no restart follows."""


SETTLED: Final = frozenset(
    {ProcessState.STOPPED, ProcessState.RUNNING, ProcessState.EXITED, ProcessState.FATAL, ProcessState.LOOPING}
)
"""States that last until a new event, or for a long delay: a start need not wait for them to change."""

_DOWN: Final = ("STOPPED", "EXITED", "FATAL", "BACKOFF", "LOOPING")
_ALIVE: Final = ("STARTING", "RUNNING")
_ROWS: Final[Sequence[tuple[Transition, Sequence[str], ProcessState]]] = (
    (Transition.START, _DOWN, ProcessState.STARTING),
    (Transition.READY, ("STARTING",), ProcessState.RUNNING),
    (Transition.STOP, ("BACKOFF", "LOOPING", "FATAL"), ProcessState.STOPPED),
    (Transition.STOP, _ALIVE, ProcessState.STOPPING),
    (Transition.HUNG, _ALIVE, ProcessState.STOPPING),
    (Transition.HEAVY, ("RUNNING",), ProcessState.STOPPING),
    (Transition.LEAVE, _ALIVE, ProcessState.STOPPING),
    (Transition.GONE, ("STOPPING",), ProcessState.STOPPED),
    (Transition.ENDED, (*_ALIVE, "STOPPING"), ProcessState.BACKOFF),
    (Transition.LOOPED, (*_ALIVE, "STOPPING"), ProcessState.LOOPING),
    (Transition.FINISHED, (*_ALIVE, "STOPPING"), ProcessState.EXITED),
    (Transition.GAVE_UP, (*_ALIVE, "STOPPING"), ProcessState.FATAL),
)
TRANSITIONS: Final[Mapping[tuple[ProcessState, Transition], ProcessState]] = {
    (ProcessState(state), transition): after for transition, states, after in _ROWS for state in states
}


class ImpossibleTransitionError(AssertionError):
    """A programming error: the state does not allow this transition."""


def next_state(state: ProcessState, transition: Transition) -> ProcessState:
    """The state after the transition.

    Raises:
        ImpossibleTransitionError: the table has no such row.
    """
    try:
        return TRANSITIONS[state, transition]
    except KeyError:
        raise ImpossibleTransitionError(f"{transition.value!r} cannot happen to a process that is {state}") from None
