"""The state table of a supervised process: (state, transition) -> state. Any other transition is a programming error.

Pure: the table and its look-up, nothing else.
"""

from collections.abc import Mapping
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

TRANSITIONS: Final[Mapping[tuple[ProcessState, Transition], ProcessState]] = {
    (ProcessState.STOPPED, Transition.START): ProcessState.STARTING,
    (ProcessState.EXITED, Transition.START): ProcessState.STARTING,
    (ProcessState.FATAL, Transition.START): ProcessState.STARTING,
    (ProcessState.BACKOFF, Transition.START): ProcessState.STARTING,
    (ProcessState.LOOPING, Transition.START): ProcessState.STARTING,
    (ProcessState.STARTING, Transition.READY): ProcessState.RUNNING,
    (ProcessState.BACKOFF, Transition.STOP): ProcessState.STOPPED,
    (ProcessState.LOOPING, Transition.STOP): ProcessState.STOPPED,
    (ProcessState.FATAL, Transition.STOP): ProcessState.STOPPED,
    (ProcessState.STARTING, Transition.STOP): ProcessState.STOPPING,
    (ProcessState.RUNNING, Transition.STOP): ProcessState.STOPPING,
    (ProcessState.STARTING, Transition.HUNG): ProcessState.STOPPING,
    (ProcessState.RUNNING, Transition.HUNG): ProcessState.STOPPING,
    (ProcessState.RUNNING, Transition.HEAVY): ProcessState.STOPPING,
    (ProcessState.STARTING, Transition.LEAVE): ProcessState.STOPPING,
    (ProcessState.RUNNING, Transition.LEAVE): ProcessState.STOPPING,
    (ProcessState.STOPPING, Transition.GONE): ProcessState.STOPPED,
    (ProcessState.STARTING, Transition.ENDED): ProcessState.BACKOFF,
    (ProcessState.RUNNING, Transition.ENDED): ProcessState.BACKOFF,
    (ProcessState.STOPPING, Transition.ENDED): ProcessState.BACKOFF,
    (ProcessState.STARTING, Transition.LOOPED): ProcessState.LOOPING,
    (ProcessState.RUNNING, Transition.LOOPED): ProcessState.LOOPING,
    (ProcessState.STOPPING, Transition.LOOPED): ProcessState.LOOPING,
    (ProcessState.STARTING, Transition.FINISHED): ProcessState.EXITED,
    (ProcessState.RUNNING, Transition.FINISHED): ProcessState.EXITED,
    (ProcessState.STOPPING, Transition.FINISHED): ProcessState.EXITED,
    (ProcessState.STARTING, Transition.GAVE_UP): ProcessState.FATAL,
    (ProcessState.RUNNING, Transition.GAVE_UP): ProcessState.FATAL,
    (ProcessState.STOPPING, Transition.GAVE_UP): ProcessState.FATAL,
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
