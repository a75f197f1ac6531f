"""What all children of one supervisor share, and the interface to which their changes go."""

import logging
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

import msgspec

from observer.supervisor.lifeline import Lifeline
from observer.supervisor.limits import Crossing
from observer.supervisor.mark import Containment
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.states import ProcessState
from observer.supervisor.zygote import Zygote

logger = logging.getLogger(__name__)

ZYGOTE: Final = "zygote"
ORPHAN: Final = "orphan"
SUPERVISOR: Final = "supervisor"


class SupervisorListener(Protocol):
    """Receives every change of a child and of the machine, in the event loop: its methods must return at once."""

    def on_change(self, name: str, previous: ProcessState, current: ProcessState, pid: int | None, reason: str) -> None:
        """`pid` is of the process concerned, None without one; `reason` is for people.

        Names that are no child's: ZYGOTE where a child had to start without it, ORPHAN for a process that outlived its
        supervisor, SUPERVISOR for failures of its own.
        """
        ...

    def on_crossing(self, crossing: Crossing) -> None:
        """A resource of the machine became scarce, or recovered."""
        ...


class Surroundings(msgspec.Struct, frozen=True):
    """Dependencies that all monitors share. `monotonic` gives machine seconds."""

    lifeline: Lifeline
    pid_registry: PidRegistry
    listener: SupervisorListener
    limits: RestartLimits
    monotonic: Callable[[], float]
    rng: Random
    containment: Containment
    zygote: Zygote | None = None


def report_change(
    listener: SupervisorListener,
    name: str,
    current: ProcessState,
    pid: int | None,
    reason: str,
    previous: ProcessState = ProcessState.RUNNING,
) -> None:
    """Pass a change on to the listener; its error is logged and ends no child."""
    try:
        listener.on_change(name, previous, current, pid, reason)
    except Exception:
        logger.exception("the listener failed on %s", name)
