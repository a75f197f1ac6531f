"""What a supervised process's change of state means for the alerts."""

from typing import Final

from observer.monitoring.alerts.process import Alerts

_ENDED: Final = "ended:"
_GIVEN_UP: Final = "given_up:"
_HEAVY: Final = "heavy:"
PREFIXES: Final = (_ENDED, _GIVEN_UP, _HEAVY)
"""Of the identities of these alerts; the process's name follows."""


def report_process(alerts: Alerts, name: str, previous: str, current: str, reason: str, complaint: str | None) -> None:
    """Begin and end the alerts of one process, whose states are those of `ProcessStatus`. `complaint` is the error with
    which it ended, if it left one. A change from RUNNING to RUNNING says that the process was too heavy, one from
    STARTING to STARTING that it is late.
    """
    ended, given_up, heavy = f"{_ENDED}{name}", f"{_GIVEN_UP}{name}", f"{_HEAVY}{name}"
    if previous == current == "RUNNING":
        alerts.report(heavy, "critical", f"{name} {reason}: see what sends it so much (its log)")
        return
    text = f"{name} is {current}: {reason}"
    alerts.resolve(heavy, text)
    match current:
        case "RUNNING":
            alerts.settle(given_up, text)
            alerts.settle(ended, text)
        case "STOPPED":
            alerts.resolve(given_up, text)
            alerts.resolve(ended, text)
        case "FATAL":
            alerts.report(given_up, "critical", f"{name} is given up: {reason}")
            alerts.resolve(ended, text)
        case "LOOPING":
            alerts.report(given_up, "critical", f"{name} ends again and again: {complaint or reason}")
        case "BACKOFF" if complaint:
            alerts.report(given_up, "critical", f"{name} cannot work: {complaint}")
        case "BACKOFF":
            alerts.report(ended, "warning", f"{name} ended: {reason}")
        case "STARTING" if previous == current:
            alerts.report(ended, "warning", f"{name} is late: {reason}")
