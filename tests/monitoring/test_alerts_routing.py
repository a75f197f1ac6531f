"""What a target gets: each alert once, its end once, nothing lost by quiet hours, limits or a target that refuses."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.commands import OpenAlert
from observer.base.local_time import local_ns
from observer.base.settings_errors import decode_toml, wrong_settings
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.decisions import SENT_MAX
from observer.monitoring.alerts.routing import (
    CRITICAL_RETRY_NS,
    FIRST_RETRY_NS,
    GATHER_NS,
    HOUR_NS,
    LINES_MAX,
    LONGEST_RETRY_NS,
    TRACKED_MAX,
    Message,
    TargetState,
    after_delivery,
    after_failure,
    after_look,
    due_message,
)
from observer.monitoring.alerts.settings import AlertSettings, AlertTarget, read_alerts, variable_of

NOON_NS = local_ns(date(2026, 11, 18), 12)
SETTINGS = AlertSettings(calm_s=60.0, messages_per_hour=20)
ALL = AlertTarget()
CRITICAL = AlertTarget(severity="critical")
NIGHT = AlertTarget(quiet_from="22:00", quiet_until="07:00")


def alert(identity="queue", severity="warning", *, silenced=None, process="track-b"):
    return OpenAlert(identity, severity, NOON_NS, f"text of {identity}", process=process, silenced_until_ns=silenced)


class Channel:
    """A target's state through looks and deliveries; machine time and market time pass together."""

    def __init__(self, target=ALL, settings=SETTINGS, market_ns=NOON_NS):
        self.target, self.settings = target, settings
        self.state = TargetState()
        self.now_ns, self.market_ns = 10**18, market_ns
        self.received: list[Message] = []

    def pass_s(self, seconds):
        self.now_ns += round(seconds * NS_PER_S)
        self.market_ns += round(seconds * NS_PER_S)

    def look(self, *alerts):
        times = {"now_ns": self.now_ns, "market_ns": self.market_ns}
        self.state = after_look(self.state, alerts, self.target, self.settings, **times)
        return due_message(self.state, self.target, self.settings, system="main@here", **times)

    def deliver(self, *alerts, after_s=3.0):
        """Look twice, `after_s` apart, and deliver what is due then."""
        self.look(*alerts)
        self.pass_s(after_s)
        if (message := self.look(*alerts)) is not None:
            self.state = after_delivery(self.state, message, self.now_ns)
            self.received.append(message)
        return message

    def fail(self, *alerts):
        assert self.look(*alerts) is not None
        self.state = after_failure(self.state, self.now_ns)


def test_an_alert_is_sent_once_and_its_end_once():
    channel = Channel()
    raised = channel.deliver(alert())
    assert raised is not None
    assert raised.title == "Observer main@here: 1 new warning"
    assert raised.body == "WARNING track-b: queue: text of queue (since 11-18 12:00:00)"
    assert channel.deliver(alert()) is None, "while it lasts"
    assert channel.deliver() is None, "it may come back"
    resolved = channel.deliver(after_s=60)
    assert resolved is not None
    assert (resolved.title, resolved.severity) == ("Observer main@here: 1 resolved", "info")
    assert resolved.body == "resolved track-b: queue (open 11-18 12:00:00 to 12:00:06)".replace("to ", "to 11-18 ")
    assert channel.state.tracked == ()


def test_alerts_of_one_cause_share_a_message_with_the_most_urgent_first():
    channel = Channel()
    assert channel.look(alert("queue")) is None, "others may follow"
    message = channel.deliver(alert("queue"), alert("disk_full", "critical"))
    assert message is not None
    assert message.severity == "critical"
    assert message.title == "Observer main@here: 1 new critical, 1 new warning"
    assert [line.split(":")[1].strip() for line in message.body.splitlines()] == ["disk_full", "queue"]


def test_an_alert_that_comes_back_before_it_is_calm_is_the_same_alert():
    channel = Channel()
    channel.deliver(alert())
    for _ in range(20):
        assert channel.deliver() is None
        assert channel.deliver(alert()) is None
    assert channel.deliver(after_s=61) is not None


def test_an_alert_that_comes_back_after_its_end_was_sent_is_sent_again():
    channel = Channel()
    for _ in range(2):
        assert channel.deliver(alert()) is not None
        assert channel.deliver(after_s=61) is not None


def test_an_alert_that_becomes_critical_is_sent_again_and_one_that_becomes_milder_is_not():
    channel = Channel()
    channel.deliver(alert())
    worse = channel.deliver(alert(severity="critical"))
    assert worse is not None
    assert worse.body.startswith("CRITICAL")
    assert channel.deliver(alert()) is None


def test_a_target_gets_its_severity_and_above():
    channel = Channel(CRITICAL)
    assert channel.deliver(alert()) is None
    assert channel.deliver(alert(), alert("disk_full", "critical")) is not None
    assert channel.deliver(alert(), alert("disk_full", "warning")) is None, "milder, not over"
    assert channel.deliver(alert(), after_s=61) is not None, "over"
    assert [line.alert.identity for message in channel.received for line in message.lines] == ["disk_full", "disk_full"]


def test_a_target_without_resolved_messages_gets_none_and_gets_the_next_alert():
    channel = Channel(AlertTarget(resolved=False))
    assert channel.deliver(alert()) is not None
    assert channel.deliver(after_s=61) is None
    channel.look()
    assert channel.state.tracked == ()
    assert channel.deliver(alert()) is not None


def test_a_silenced_alert_is_not_sent_until_its_silence_ends():
    channel = Channel()
    assert channel.deliver(alert(silenced=NOON_NS + HOUR_NS)) is None
    assert channel.deliver(alert()) is not None
    assert channel.deliver(alert(silenced=NOON_NS + HOUR_NS), after_s=61) is None, "silenced is not over"


def test_an_alert_without_room_in_a_full_heartbeat_is_not_over():
    channel = Channel()
    channel.deliver(alert("old"))
    full = [alert(f"{number}") for number in range(SENT_MAX)]
    channel.deliver(*full)
    assert all(line.change == "raised" for message in channel.received for line in message.lines)


# --- quiet hours -------------------------------------------------------------------------------------------


def test_in_quiet_hours_only_critical_alerts_are_sent_and_the_others_afterwards():
    channel = Channel(NIGHT, market_ns=local_ns(date(2026, 11, 18), 23))
    assert channel.deliver(alert(), alert("gone")) is None
    assert channel.deliver(alert(), alert("gone"), alert("disk_full", "critical")) is not None
    assert channel.deliver(alert(), alert("disk_full", "critical")) is None
    channel.pass_s(8 * 3600)
    morning = channel.deliver(alert(), alert("disk_full", "critical"))
    assert morning is not None
    assert [(line.change, line.alert.identity) for line in morning.lines] == [("raised", "queue"), ("over", "gone")]
    assert "past warning track-b: gone: text of gone (open 11-18 12:00:00 to 11-18 23:00:06)" in morning.body


def test_the_end_of_a_critical_alert_passes_quiet_hours():
    channel = Channel(NIGHT, market_ns=local_ns(date(2026, 11, 18), 23))
    channel.deliver(alert("disk_full", "critical"))
    channel.deliver()
    assert channel.deliver(after_s=61) is not None


@pytest.mark.parametrize(
    ("quiet_from", "quiet_until", "local_time", "is_quiet"),
    [
        ("22:00", "07:00", "21:59", False),
        ("22:00", "07:00", "22:00", True),
        ("22:00", "07:00", "06:59", True),
        ("22:00", "07:00", "07:00", False),
        ("12:00", "13:00", "12:30", True),
        ("12:00", "13:00", "13:00", False),
        ("", "", "03:00", False),
    ],
)
def test_quiet_hours_begin_and_end_at_their_minutes(quiet_from, quiet_until, local_time, is_quiet):
    assert AlertTarget(quiet_from=quiet_from, quiet_until=quiet_until).is_quiet(local_time) is is_quiet


@pytest.mark.parametrize("times", [{"quiet_from": "22:00"}, {"quiet_from": "07:00", "quiet_until": "07:00"}])
def test_half_of_quiet_hours_is_refused(times):
    with pytest.raises(ValueError, match="quiet_from"):
        AlertTarget(**times)


# --- limits and failures -----------------------------------------------------------------------------------


def test_beyond_the_limit_changes_wait_for_the_next_message_and_critical_ones_have_a_quarter_for_themselves():
    channel = Channel(settings=AlertSettings(messages_per_hour=4, calm_s=0))
    opened: list[OpenAlert] = []
    for number in range(10):
        opened.append(alert(f"{number}"))
        channel.deliver(*opened)
    assert len(channel.received) == 3
    opened.append(alert("disk_full", "critical"))
    both = channel.deliver(*opened)
    assert both is not None
    assert len(both.lines) == 8, "the seven that waited, too"
    opened.append(alert("token:main", "critical"))
    assert channel.deliver(*opened) is None
    channel.pass_s(3600)
    assert channel.deliver(*opened) is not None


def test_a_failed_delivery_is_tried_again_after_longer_and_longer_waits():
    channel = Channel()
    channel.look(alert())
    channel.pass_s(3)
    waits = []
    for _ in range(12):
        channel.fail(alert())
        waits.append(channel.state.next_attempt_ns - channel.now_ns)
        channel.now_ns = channel.state.next_attempt_ns - 1
        assert channel.look(alert()) is None
        channel.now_ns += 1
    assert waits[:3] == [FIRST_RETRY_NS, 2 * FIRST_RETRY_NS, 4 * FIRST_RETRY_NS]
    assert max(waits) == LONGEST_RETRY_NS
    assert channel.deliver(alert()) is not None
    assert (channel.state.failures, channel.state.next_attempt_ns) == (0, 0)


def test_a_target_that_does_not_know_a_critical_alert_is_tried_each_minute():
    channel = Channel()
    channel.look(alert())
    channel.pass_s(3)
    for _ in range(12):
        channel.fail(alert())
        channel.now_ns = channel.state.next_attempt_ns
    channel.fail(alert())
    opened = alert(), alert("disk_full", "critical")
    channel.look(*opened)
    assert channel.state.next_attempt_ns == channel.now_ns + CRITICAL_RETRY_NS
    channel.pass_s(59)
    assert channel.look(*opened) is None
    channel.pass_s(1)
    channel.fail(*opened)
    assert channel.state.next_attempt_ns == channel.now_ns + CRITICAL_RETRY_NS


def test_what_began_and_ended_while_a_target_refused_is_sent_afterwards():
    channel = Channel()
    channel.look(alert())
    channel.pass_s(3)
    channel.fail(alert())
    channel.look()
    message = channel.deliver(after_s=61)
    assert message is not None
    assert message.title == "Observer main@here: 1 past"


def test_a_clock_that_is_set_back_delays_no_message_for_long():
    channel = Channel()
    channel.look(alert())
    channel.pass_s(3)
    channel.fail(alert())
    channel.now_ns -= 10 * HOUR_NS
    channel.look(alert())
    channel.pass_s(LONGEST_RETRY_NS / NS_PER_S)
    assert channel.look(alert()) is not None


def test_the_list_of_a_target_that_accepts_nothing_is_bounded_and_says_so():
    channel = Channel()
    for number in range(TRACKED_MAX + 10):
        channel.look(alert(f"{number}"))
    assert len(channel.state.tracked) == TRACKED_MAX
    message = channel.deliver(alert("last"))
    assert message is not None
    lines = message.body.splitlines()
    assert len(lines) == LINES_MAX + 2
    assert lines[-2:] == [
        f"and {TRACKED_MAX - LINES_MAX} more: observer show alerts",
        "11 alerts had no room here: observer show alerts",
    ]


STEPS = st.lists(
    st.tuples(st.sets(st.sampled_from("abcd")), st.floats(0.5, 4000), st.booleans()), min_size=1, max_size=40
)


@given(STEPS, st.sampled_from([ALL, NIGHT, CRITICAL]))
def test_every_alert_is_sent_and_ended_and_no_hour_has_more_messages_than_allowed(steps, target):
    settings = AlertSettings(messages_per_hour=4, calm_s=60)
    channel, seen, sent_ns = Channel(target, settings), set(), []
    severities = {"a": "critical", "b": "critical", "c": "warning", "d": "warning"}

    def step(names, *, accepts):
        alerts = [alert(name, severities[name]) for name in sorted(names)]
        seen.update(name for name in names if target is not CRITICAL or severities[name] == "critical")
        if (message := channel.look(*alerts)) is None:
            return
        if not accepts:
            channel.state = after_failure(channel.state, channel.now_ns)
            return
        sent_ns.append(channel.now_ns)
        channel.received.append(message)
        channel.state = after_delivery(channel.state, message, channel.now_ns)
        if target.is_quiet(f"{(channel.market_ns // HOUR_NS + 9) % 24:02}:00"):
            assert all(line.alert.severity == "critical" for line in message.lines)

    for names, seconds, accepts in steps:
        step(names, accepts=accepts)
        channel.pass_s(seconds)
    for _ in range(40):  # all is calm, and the target accepts
        step(set(), accepts=True)
        channel.pass_s(1800)
    assert channel.state.tracked == ()
    reported = {line.alert.identity for message in channel.received for line in message.lines}
    assert reported == seen
    for at_ns in sent_ns:
        assert sum(at_ns - HOUR_NS < other <= at_ns for other in sent_ns) <= 4
    for name in seen:  # each raise has one end before the next
        changes = [line.change for message in channel.received for line in message.lines if line.alert.identity == name]
        opened = False
        for change in changes:
            assert opened is (change == "resolved")
            opened = change == "raised"
        assert not opened


def test_a_target_s_variable_is_its_name_in_capitals():
    assert variable_of("my-phone") == "OBSERVER_ALERTS_MY_PHONE"


def test_alerts_wait_for_others_no_longer_than_stated():
    channel = Channel()
    channel.look(alert())
    channel.pass_s(GATHER_NS / NS_PER_S)
    assert channel.look(alert()) is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[alerts.targets.phone]\nurl = "json://x"\n', "x.toml:2: alerts.targets.phone.url: unknown key"),
        (
            '[alerts.targets.phone]\nseverity = "info"\n',
            'x.toml:2: alerts.targets.phone.severity = "info": unknown value',
        ),
        ('[alerts.targets.phone]\nquiet_from = "22:00"\n', "alerts.targets.phone.quiet_from: give quiet_from and"),
        ('[alerts.targets.phone]\nquiet_from = "25:00"\nquiet_until = "07:00"\n', "a local time, HH:MM"),
        ("[alerts.targets.Phone]\n", "x.toml:1: alerts.targets.Phone: a target's name has letters a-z"),
        (
            "[alerts.targets.a-b]\n[alerts.targets.a_b]\n",
            "x.toml:2: alerts.targets.a_b: a-b and a_b would share OBSERVER_ALERTS_A_B: rename one",
        ),
        ("[alerts]\ntargets = 3\n", "x.toml:2: alerts.targets = 3: must be"),
        ("[alerts.targets]\nphone = 3\n", "x.toml:2: alerts.targets.phone = 3: must be"),
        ("[alerts]\nmessages_per_hour = 1\n", "x.toml:2: alerts.messages_per_hour = 1: must be >= 2"),
        ("alerts = 3\n", "x.toml:1: alerts = 3: must be"),
    ],
)
def test_a_wrong_target_is_named_with_its_line_and_key(text, problem):
    file = decode_toml(text.encode(), "x.toml")
    settings, problems = read_alerts(file)
    assert settings is None
    assert problem in str(wrong_settings(file, problems))


def test_targets_are_read_by_their_names():
    text = '[alerts]\ncalm_s = 5.0\n[alerts.targets.phone]\nseverity = "critical"\n[alerts.targets.mail]\n'
    settings, _ = read_alerts(decode_toml(text.encode(), "x.toml"))
    assert settings == AlertSettings(calm_s=5.0, targets={"phone": CRITICAL, "mail": ALL})
