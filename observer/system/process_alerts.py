"""What a process's change of state means for the alerts."""

from typing import Final

from observer.monitoring.alerts.process import Alerts
from observer.supervisor.states import ProcessState

_ENDED: Final = "ended:"
_GIVEN_UP: Final = "given_up:"
_HEAVY: Final = "heavy:"
PREFIXES: Final = (_ENDED, _GIVEN_UP, _HEAVY)
"""Of the identities of these alerts; the process's name follows."""


def report_process(
    alerts: Alerts, name: str, previous: ProcessState, current: ProcessState, reason: str, complaint: str | None
) -> None:
    """Begin and end the alerts of one process. `complaint` is the error with which it ended, if it left one. A change
    from RUNNING to RUNNING says that the process was too heavy, one from STARTING to STARTING that it is late.
    """
    ended, given_up, heavy = f"{_ENDED}{name}", f"{_GIVEN_UP}{name}", f"{_HEAVY}{name}"
    if previous is current is ProcessState.RUNNING:
        alerts.report(heavy, "critical", f"{name} {reason}: see what sends it so much (its log)")
        return
    text = f"{name} is {current}: {reason}"
    alerts.resolve(heavy, text)
    if current is ProcessState.FATAL:
        alerts.report(given_up, "critical", f"{name} is given up: {reason}")
    elif current is ProcessState.LOOPING:
        alerts.report(given_up, "critical", f"{name} ends again and again: {complaint or reason}")
    elif current is ProcessState.BACKOFF and complaint:
        alerts.report(given_up, "critical", f"{name} cannot work: {complaint}")
    elif current is ProcessState.BACKOFF:
        alerts.report(ended, "warning", f"{name} ended: {reason}")
    elif previous is current is ProcessState.STARTING:
        alerts.report(ended, "warning", f"{name} is late: {reason}")
    if current is ProcessState.RUNNING:
        alerts.settle(given_up, text)
        alerts.settle(ended, text)
    elif current is ProcessState.STOPPED:
        alerts.resolve(given_up, text)
        alerts.resolve(ended, text)
    elif current is ProcessState.FATAL:
        alerts.resolve(ended, text)
