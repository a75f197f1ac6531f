"""A supervised process that ends, is given up or is too heavy is an alert until it runs or is stopped."""

import itertools

import pytest

from observer.base.clock import ManualClock
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.alerts.supervised import report_process

ENDED, GIVEN_UP = ("ended:etf", "warning"), ("given_up:etf", "critical")
GIVEN_UP_STATES = ("RUNNING", "BACKOFF", "STARTING", "FATAL")
LOOP = ("STARTING", "RUNNING", "BACKOFF", "STARTING")


@pytest.fixture
def alerts():
    return Alerts(ManualClock(0), "supervisor", lambda *_: None)


def after(alerts, *states, complaint=None):
    """The open alerts after these changes of one process."""
    for previous, current in itertools.pairwise(states):
        report_process(alerts, "etf", previous, current, "exit 1", complaint)
    return [(alert.identity, alert.severity) for alert in alerts.open]


async def after_calm(alerts):
    await alerts._clock.advance(30)
    alerts.tick()
    return after(alerts)


@pytest.mark.parametrize(
    ("states", "opened"),
    [
        (("RUNNING", "BACKOFF", "STARTING"), [ENDED]),
        (("STARTING", "STARTING"), [ENDED]),
        (GIVEN_UP_STATES, [GIVEN_UP]),
        (("RUNNING", "BACKOFF", "STARTING", "LOOPING"), [GIVEN_UP, ENDED]),
        ((*GIVEN_UP_STATES, "STOPPED"), []),
        (("RUNNING", "BACKOFF", "STOPPED"), []),
        (("RUNNING", "RUNNING"), [("heavy:etf", "critical")]),
        (("RUNNING", "RUNNING", "STOPPING"), []),
    ],
)
def test_the_alerts_of_a_process_follow_from_its_changes(alerts, states, opened):
    assert after(alerts, *states) == opened


@pytest.mark.parametrize("states", [("RUNNING", "BACKOFF", "STARTING"), GIVEN_UP_STATES])
async def test_an_alert_of_a_process_ends_when_it_has_run_for_a_while(alerts, states):
    opened = after(alerts, *states)
    assert after(alerts, states[-1], "STARTING", "RUNNING") == opened, "it may end again"
    assert await after_calm(alerts) == []


def test_a_crash_loop_after_a_start_by_order_counts_on(alerts):
    after(alerts, *LOOP, "FATAL", *LOOP, "FATAL")
    [alert] = alerts.open
    assert (alert.identity, alert.count) == ("given_up:etf", 2)


def test_a_process_that_left_its_error_cannot_work(alerts):
    assert after(alerts, "RUNNING", "BACKOFF", complaint="its schema is 9999") == [GIVEN_UP]
    assert alerts.open[0].text == "etf cannot work: its schema is 9999"
