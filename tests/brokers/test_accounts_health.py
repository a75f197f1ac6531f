"""Account health: one failure keeps it healthy, two in a row make it unhealthy, one success restores it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observer.brokers.accounts.health import (
    FAILURES_TO_FALL,
    REPORTED_AT_LEAST_EVERY_NS,
    SILENT_STREAM_NS,
    Check,
    Health,
    HealthDecision,
    Reported,
    believed,
    is_alert_of_account,
    is_alert_of_stream,
    is_news,
    judge,
    streams_up,
)
from observer.brokers.accounts.health_file import HealthFile

MINUTE_NS = 60 * 10**9
GOOD = Check(token_valid=True, rest_answers=True, stream_connected=True)
NO_TOKEN = Check(token_valid=False, rest_answers=True, stream_connected=True)
NO_ANSWER = Check(token_valid=True, rest_answers=False, stream_connected=True)
NO_STREAM = Check(token_valid=True, rest_answers=True, stream_connected=False)
STREAM_UNKNOWN = Check(token_valid=True, rest_answers=True, stream_connected=None)
checks = st.builds(
    Check, token_valid=st.booleans(), rest_answers=st.booleans(), stream_connected=st.none() | st.booleans()
)


def after(*found):
    health = None
    for number, check in enumerate(found, start=1):
        health = judge(health, check, number * MINUTE_NS)
    assert health is not None
    return health


@given(st.lists(checks, min_size=1, max_size=30))
@example([NO_TOKEN, NO_ANSWER])
@example([NO_STREAM, NO_STREAM])
@example([NO_STREAM, NO_STREAM, STREAM_UNKNOWN])
def test_an_account_is_fit_for_what_one_of_its_last_two_checks_passed(found):
    """Calls and stream apart: the stream is fit unless it was seen down, and both together are healthy."""
    last, health = found[-FAILURES_TO_FALL:], after(*found)
    calls = [check.token_valid and check.rest_answers for check in last]
    stream = [check.stream_connected is not False for check in last]
    expected = [any(passed) or len(passed) < FAILURES_TO_FALL for passed in (calls, stream)]
    assert [health.calls.fit, health.stream.fit] == expected
    assert health.healthy is all(expected)


@pytest.mark.parametrize(
    ("due_for_ns", "up"),
    [
        (-1, {}),
        (SILENT_STREAM_NS - 1, {"told": True, "lost": False}),
        (SILENT_STREAM_NS, {"told": True, "lost": False, "silent": False}),
    ],
)
def test_a_stream_without_a_report_counts_as_down_once_the_report_is_long_overdue(due_for_ns, up):
    assert streams_up({"told": True, "lost": False}, ["told", "lost", "silent"], due_for_ns) == up


@pytest.mark.parametrize(
    ("age_minutes", "is_believed"), [(0, True), (9, True), (10, False), (600, False), (-9, True), (-600, False)]
)
def test_a_health_report_that_is_old_or_of_another_clock_is_ignored(age_minutes, is_believed):
    health = Health(checked_ns=1_000 * MINUTE_NS)
    now_ns = (1_000 + age_minutes) * MINUTE_NS
    assert believed(health, 60.0, now_ns) == (health if is_believed else None)
    assert believed(None, 60.0, now_ns) is None


@given(st.lists(st.sampled_from(["stream lost", "check"]), min_size=1, max_size=12))
def test_an_outage_of_the_network_is_one_alert_of_the_account_or_of_its_stream_whichever_sees_it_first(seen):
    health, is_stream_lost, alerts = None, False, set()
    for what in [*seen, "stream lost", *["check"] * FAILURES_TO_FALL]:
        if what == "stream lost":
            is_stream_lost = True
            if "stream" in alerts or is_alert_of_stream(health):
                alerts.add("stream")
        else:
            check = Check(token_valid=True, rest_answers=False, stream_connected=not is_stream_lost)
            health = judge(health, check, 0)
            if is_alert_of_account(health, is_stream_lost=is_stream_lost, is_open="account" in alerts):
                alerts.add("account")
    assert len(alerts) == 1


def test_a_check_is_reported_when_it_is_the_first_when_something_changed_and_every_ten_minutes():
    reported = Reported(GOOD, True, 0)
    assert is_news(None, GOOD, True, 0)
    assert not is_news(reported, GOOD, True, REPORTED_AT_LEAST_EVERY_NS - 1)
    assert is_news(reported, GOOD, True, REPORTED_AT_LEAST_EVERY_NS)
    assert is_news(reported, NO_STREAM, True, 1)
    assert is_news(reported, GOOD, False, 1)


@given(st.lists(checks, max_size=40))
def test_the_last_reported_health_equals_the_current_health(found):
    reported, health = None, None
    for minute, check in enumerate(found):
        health = judge(health, check, minute * MINUTE_NS)
        if is_news(reported, check, health.healthy, minute * MINUTE_NS):
            reported = Reported(check, health.healthy, minute * MINUTE_NS)
        assert (reported.check, reported.healthy) == (check, health.healthy)
        assert minute * MINUTE_NS - reported.reported_ns < REPORTED_AT_LEAST_EVERY_NS


def test_a_process_reads_the_health_that_another_process_writes(tmp_path):
    writer, reader = HealthFile(tmp_path, "main"), HealthFile(tmp_path, "main")
    assert reader.read() is None
    for health in (Health(checked_ns=1), Health(checked_ns=2, calls=HealthDecision(False, 2))):
        writer.write(health)
        assert reader.read() == health
    (tmp_path / "main.health").unlink()
    assert reader.read() is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"checked_ns": "soon"}', b"[]"])
def test_an_unreadable_health_file_yields_no_health(tmp_path, content):
    (tmp_path / "main.health").write_bytes(content)
    assert HealthFile(tmp_path, "main").read() is None
