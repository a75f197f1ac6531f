"""The checklist: slots, database, token, stream, calendar."""

import pytest

from bus.commands import OpenAlert, ProcessStatus, Sample, StatusReply
from observer.monitoring.metrics.readiness import DayState, Owners, readiness

OWNERS = Owners(database="core-writer", tokens="accounts", slots="track-b", database_alerts=["database_unavailable"])
NOW_NS = 10**18
STREAMING = DayState(is_known=True, connects=True, streams=True)
NIGHT = DayState(is_known=True)
TOKEN = Sample("observer_token_expires_timestamp_seconds", ("main",), NOW_NS / 1e9 + 3600)
SLOTS = (Sample("observer_slots", ("main", "streaming"), 40), Sample("observer_slots", ("main", "free"), 1))
CONNECTED = Sample("observer_stream_connected", ("main",), 1)
SECOND = Sample(CONNECTED.metric, ("second",), 1)


def checklist(
    *,
    day=STREAMING,
    stopped="",
    alert="",
    tokens=(TOKEN,),
    slots=SLOTS,
    streams=(CONNECTED, SECOND),
):
    """The checklist of a system that is ready, but for what the arguments change."""
    processes = [
        ProcessStatus(name, "BACKOFF" if name == stopped else "RUNNING", heartbeat_age_s=0.5)
        for name in ("core-writer", "accounts", "track-b")
    ]
    alerts = (
        [OpenAlert(identity=alert, severity="critical", since_ns=1, text="", process="core-writer")] if alert else []
    )
    status = StatusReply(processes, "FULL_OPERATION", NOW_NS, 1, 60.0, alerts=alerts)
    return readiness(status, {"accounts": tokens, "track-b": slots, "": streams}, day, OWNERS, ["main", "second"])


def failing(found):
    assert found.ready == all(check.ready for check in found.checks)
    return [check.name for check in found.checks if not check.ready]


def test_a_system_at_work_is_ready_and_each_line_has_its_age():
    found = checklist()
    assert failing(found) == []
    assert [check.name for check in found.checks] == ["slots", "database", "token", "stream", "calendar"]
    assert [check.age_s for check in found.checks] == [0.5, 0.5, 0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        ({"stopped": "core-writer"}, ["database"]),
        ({"alert": "database_unavailable"}, ["database"]),
        ({"stopped": "accounts"}, ["token"]),
        ({"tokens": ()}, ["token"]),
        ({"tokens": (Sample(TOKEN.metric, ("main",), NOW_NS / 1e9 - 1), TOKEN)}, []),  # the later figure counts
        ({"tokens": (TOKEN, Sample(TOKEN.metric, ("other",), NOW_NS / 1e9 - 1))}, ["token"]),
        ({"stopped": "track-b"}, ["slots", "stream"]),
        ({"slots": ()}, ["slots"]),
        ({"streams": ()}, ["stream"]),
        ({"streams": (CONNECTED,)}, ["stream"]),
        ({"streams": (Sample(CONNECTED.metric, ("main",), 0), SECOND)}, ["stream"]),
        ({"streams": (Sample(CONNECTED.metric, ("dismissed",), 0), CONNECTED, SECOND)}, []),
        ({"streams": (Sample(CONNECTED.metric, ("dismissed",), 1),)}, ["stream"]),
        ({"day": DayState(is_known=False)}, ["calendar"]),
    ],
    ids=str,
)
def test_what_fails_is_named(changed, lines):
    assert failing(checklist(**changed)) == lines


def test_at_night_neither_stream_nor_slots_are_due():
    assert failing(checklist(day=NIGHT, slots=(), streams=())) == []
