"""`observer alerts` of a stopped system: open ones, all, those of a day; silences; and the lines of `status`."""

import json

import pytest
from click.testing import CliRunner

from bus.commands import OpenAlert
from bus.delivery import Delivered
from bus.events import AlertRaised, AlertRepeated, AlertResolved
from observer.base.errors import ConfigError
from observer.base.units import NS_PER_S
from observer.cli.alerts import AlertRow, seconds_of, show_alerts
from observer.cli.app import command_line
from observer.cli.status import alert_lines
from observer.store.writer import StoreWriter
from tests.store.migrated import make_database

DAY_NS = 86_400 * NS_PER_S
MORNING_NS = 1_795_000_000 * NS_PER_S  # 2026-11-18, Korean time
EVENTS = [
    AlertRaised(MORNING_NS, "critical", "track-a", "no universe", None, "no_universe"),
    AlertRaised(MORNING_NS + 1, "warning", "gap-recovery", "120 gaps wait", None, "queue"),
    AlertRepeated(MORNING_NS + 60 * NS_PER_S, "gap-recovery", "queue", 7, "140 gaps wait"),
    AlertResolved(MORNING_NS + 90 * NS_PER_S, "track-a", "no_universe", 2, "it is built"),
    AlertRaised(MORNING_NS + 2, "info", "supervisor", "8 processes run", None, "ready", MORNING_NS + DAY_NS),
    AlertRaised(MORNING_NS + 3 * DAY_NS, "critical", "core-writer", "backup failed", "backup", "backup"),
]


@pytest.fixture
def configuration(tmp_path):
    url = f"sqlite:///{tmp_path}/observer.db"
    make_database(url)
    writer = StoreWriter(url)
    writer.commit([Delivered("track-a", "5" * 32, 1, EVENTS)])
    writer.close()
    path = tmp_path / "observer.toml"
    path.write_text(f'[run]\nruntime = "{tmp_path}/run"\n[store]\nurl = "{url}"\n')
    return path


def ask(configuration, *arguments):
    return CliRunner().invoke(
        command_line(), ["alerts", *arguments, "--config", str(configuration)], env={"COLUMNS": "200"}
    )


def identities(configuration, *arguments):
    return [each["identity"] for each in json.loads(ask(configuration, *arguments, "--json").stdout)["alerts"]]


def test_the_open_alerts_of_a_stopped_system_are_those_of_its_database(configuration):
    found = json.loads(ask(configuration, "--json").stdout)["alerts"]
    assert [each["identity"] for each in found] == ["queue", "backup"]
    assert (found[0]["count"], found[0]["last_ns"], found[0]["text"]) == (7, EVENTS[2].repeated_ns, "140 gaps wait")


def test_all_alerts_are_rows_with_their_ends_and_those_of_a_day_alone(configuration):
    def shown(*words):
        ran = CliRunner().invoke(command_line(), ["show", "alerts", *words, "--json", "--config", str(configuration)])
        return json.loads(ran.stdout)

    assert [each["identity"] for each in shown()] == ["no_universe", "queue", "ready", "backup"]
    assert shown()[0]["resolved"].startswith("2026-11-18")
    assert [each["identity"] for each in shown("2026-11-18", "--to", "2026-11-18")] == ["no_universe", "queue", "ready"]
    assert [each["identity"] for each in shown("2026-11-20", "--to", "2026-11-20")] == ["queue"], "was open then"


def test_in_eighty_columns_the_text_of_an_alert_has_lines_of_its_own(capsys):
    text = "the volume at the stop is not proved, gaps of 005930 may be too wide: the host is closed"
    row = AlertRow(
        process="track-b",
        identity="unproved_stop:005930",
        severity="warning",
        since_ns=MORNING_NS,
        last_ns=MORNING_NS + NS_PER_S,
        count=7,
        text=text,
    )
    show_alerts([row], 80)
    narrow = capsys.readouterr().out.splitlines()
    assert [len(line) <= 80 for line in narrow] == [True] * 4
    assert " ".join(" ".join(narrow).split()).endswith(text)
    assert "warning unproved_stop:005930 (track-b): open, 7 times until" in " ".join(" ".join(narrow).split())
    show_alerts([row], None)
    assert capsys.readouterr().out.splitlines()[-1].endswith(text)


def test_a_silenced_alert_stays_listed_and_an_unknown_one_is_refused(configuration):
    assert ask(configuration, "silence", "queue", "--for", "30m").output == "queue is silenced for 30 minutes\n"
    assert "silenced until" in ask(configuration).stdout
    assert identities(configuration) == ["queue", "backup"]
    assert ask(configuration, "silence", "queue", "--for", "0").output == "queue is not silenced any more\n"
    assert "silenced until" not in ask(configuration).stdout
    refused = ask(configuration, "silence", "no_universe")
    assert "open are backup, queue" in str(refused.exception)


@pytest.mark.parametrize(("text", "found"), [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("0", 0)])
def test_a_time_is_a_number_with_its_unit(text, found):
    assert seconds_of(text) == found


@pytest.mark.parametrize("text", ["", "h", "-1h", "2w", "nan", "400d", "inf"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match="give a time such as 30m"):
        seconds_of(text)


def test_status_ends_with_a_line_for_each_open_alert_or_says_that_none_is_open():
    assert alert_lines([]) == ["no open alerts"]
    alert = OpenAlert("queue", "warning", MORNING_NS, "120 gaps wait", 3, process="gap-recovery")
    [line] = alert_lines([alert])
    assert line.startswith("warning  gap-recovery: queue: 120 gaps wait (since 11-18 ")
    assert line.endswith(", 3 times)")
