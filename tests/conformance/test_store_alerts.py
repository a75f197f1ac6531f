"""Stored alerts, on both databases: from the raising to the end, whatever lies between."""

from sqlalchemy import event

from bus.events import AlertRaised, AlertRepeated, AlertResolved
from observer.store.alerts import AlertReader

READER = AlertReader


def raised(at_ns, severity="warning", identity="queue", until_ns=None):
    return AlertRaised(at_ns, severity, "track-b", f"at {at_ns}", None, identity, until_ns)


def test_an_alert_is_one_story_over_restarts_of_its_process_until_it_is_resolved(store, reader):
    store(raised(10), AlertRepeated(70, "track-b", "queue", 5, "at 70"))
    [story] = reader.alerts()
    assert (story.since_ns, story.last_ns, story.count, story.text) == (10, 70, 5, "at 70")
    assert story.is_open(10**18)
    store(AlertResolved(90, "track-b", "queue", 7, "over"))
    [story] = reader.alerts()
    assert (story.resolved_ns, story.count, story.is_open(90)) == (90, 7, False)


def test_the_same_identity_raised_again_is_another_story_and_another_process_has_its_own(store, reader):
    store(raised(10), AlertResolved(20, "track-b", "queue", 1, "over"), raised(20))
    store(AlertRaised(15, "critical", "track-a", "mine", None, "queue"))
    assert [(story.source, story.since_ns, story.resolved_ns) for story in reader.alerts()] == [
        ("track-b", 10, 20),
        ("track-a", 15, None),
        ("track-b", 20, None),
    ]


def test_a_changed_severity_continues_the_story(store, reader):
    store(raised(10), raised(30, "critical"))
    [story] = reader.alerts()
    assert (story.since_ns, story.last_ns, story.severity, story.count) == (10, 30, "critical", 2)


def test_what_happened_is_over_at_its_time_and_another_day_s_is_another_story(store, reader):
    store(raised(10, until_ns=100), raised(110, until_ns=200))
    first, second = reader.alerts()
    assert (first.is_open(99), first.is_open(100)) == (True, False)
    assert (second.since_ns, second.is_open(199)) == (110, True)


def test_a_span_of_time_has_the_alerts_that_were_open_in_it(store, reader):
    store(raised(10, identity="a"), AlertResolved(20, "track-b", "a", 1, "over"))
    store(raised(15, identity="b"), raised(12, identity="c", until_ns=25), raised(40, identity="d"))
    assert [story.identity for story in reader.alerts(22, 30)] == ["c", "b"]
    assert [story.identity for story in reader.alerts(30, 50)] == ["b", "d"]
    assert [story.identity for story in reader.alerts(0, 12)] == ["a"]


def test_a_day_has_the_whole_story_of_an_alert_that_was_open_at_its_begin(store, reader):
    store(raised(10), AlertRepeated(60, "track-b", "queue", 4, "again"), raised(15, identity="disk"))
    store(AlertResolved(90, "track-b", "disk", 1, "over"), raised(150, identity="disk"))
    store(AlertResolved(170, "track-b", "queue", 4, "over"))
    found = [(each.identity, each.since_ns, each.count, each.resolved_ns) for each in reader.alerts(100, 200)]
    assert found == [("queue", 10, 5 - 1, 170), ("disk", 150, 1, None)]


def test_a_day_has_what_happened_before_it_and_counts_until_then(store, reader):
    store(raised(10, until_ns=100), raised(110, until_ns=200), raised(120, until_ns=300))
    assert [(each.since_ns, each.count) for each in reader.alerts(250)] == [(110, 2)]
    assert reader.alerts(400) == []
    assert [each.since_ns for each in reader.alerts()] == [10, 110]


def test_alerts_that_are_long_over_take_one_statement_each(store, reader):
    for number in range(20):
        store(raised(10, identity=f"{number}"), AlertResolved(20, "track-b", f"{number}", 1, "over"))
    statements: list[str] = []

    @event.listens_for(reader._engine, "before_cursor_execute")
    def _note(_connection, _cursor, statement, *_):
        statements.append(statement)

    assert reader.alerts(30, 40) == []
    assert sum("resolved_ns" in each for each in statements) == 20 + 1  # and one that finds no further identity
