"""OPERATIONS.md: its table has every alert of the code and no other, with its severities; its commands exist, its
examples are valid; and every alert of the requirement has a test that begins and ends it.
"""

import ast
import contextlib
import re
import shlex
import tomllib
from typing import Final, NamedTuple

import click
import msgspec
import pytest

from observer.cli.app import command_line
from observer.monitoring.alerts.settings import AlertSettings
from tests.monitoring.kinds import FIXED, OTHERS, ROOT, kinds_of, raised

PAGE: Final = (ROOT / "OPERATIONS.md").read_text()
SEVERITIES: Final = ("info", "warning", "critical")
PROGRAM: Final = ".venv/bin/observer "
IN_BLOCKS: Final = [line.removeprefix(PROGRAM) for line in PAGE.splitlines() if line.startswith(PROGRAM)]
IN_TEXT: Final = [each for each in re.findall(r"`observer ([^`]+)`", PAGE) if each != "COMMAND --help"]
VALUES: Final = {"DAY": "2026-11-18", "DATE": "2026-11-18", "NAME": "track-b", "SYMBOL": "005930", "EXCHANGE": "NASD"}

# The alerts of the requirement, and the tests that begin and end each.
REQUIREMENT: Final = {
    "token": ("token", "test_a_token_that_cannot_be_renewed_is_a_critical_alert_until_it_is"),
    "gap rate > 5 %": (
        "gap_rate",
        "test_a_high_gap_rate_raises_one_alert_with_the_first_quality_report",
        "test_a_day_with_a_low_gap_rate_ends_the_alert_of_an_earlier_day",
    ),
    "overflow 5, 10, 20 %": (
        "overflow",
        "test_a_warning_is_a_log_line_an_alert_a_notice_and_urgent_a_critical_alert",
        "test_when_many_symbols_find_no_slot_it_is_reported_once_also_after_a_restart",
    ),
    "download, unreadable file": ("master_file", "test_a_host_that_fails_changes_nothing_and_is_reported_once"),
    "size": ("master_file", "test_the_change_in_file_size_decides_the_outcome"),
    "mass change": ("master_file", "test_another_version_replaces_the_pending_version_and_raises_an_alert"),
    "freshness > 48 h": ("master_file_age", "test_a_file_that_was_not_checked_for_48_hours_is_an_alert_until_it_is"),
    "count drop > 10 %": (
        "listing_count",
        "test_a_region_that_loses_more_than_a_tenth_of_its_listings_is_an_alert_until_they_are_back",
    ),
    "completeness < 95 %": (
        "listing_completeness",
        "test_less_than_95_percent_of_complete_listings_is_an_alert_until_they_are_complete",
    ),
    "CPU, memory, disk, network 50 Mbps, disk I/O": (
        "host",
        "test_each_resource_is_reported_separately_when_it_is_scarce_and_when_it_recovers",
        "test_a_scarce_resource_is_an_alert_until_it_recovers",
    ),
    "FATAL": ("given_up", "test_an_alert_of_a_process_ends_when_it_has_run_for_a_while"),
    "reconnect budget": (
        "stream",
        "test_a_stream_that_used_up_its_connections_of_the_hour_is_a_critical_alert_until_it_is_connected",
    ),
    "backup missed": (
        "backup_missed",
        "test_a_daily_package_that_is_not_made_within_two_hours_is_an_alert_until_one_is",
    ),
    "universe stale": ("no_universe", "test_a_universe_older_than_allowed_is_refused_with_an_alert_until_one_is_built"),
}
TESTS: Final = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


class Row(NamedTuple):
    kind: str
    severities: frozenset[str]


def rows():
    for line in PAGE.splitlines():
        if found := re.match(r"\| `(\w+)` \| ([a-z, ]+) \| \S.* \| \S.* \| \S.* \|$", line):
            yield Row(found[1], frozenset(found[2].split(", ")))


ROWS: Final = {row.kind: row for row in rows()}
RAISED: Final = list(raised())


def test_the_table_has_each_alert_once():
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(lines) == len(ROWS), "a row has another form, or stands twice"
    assert all(row.severities <= set(SEVERITIES) for row in ROWS.values())


def test_the_table_has_every_alert_that_the_code_raises_and_no_other():
    assert ROWS.keys() == {each.kind for each in RAISED} | set(FIXED)


@pytest.mark.parametrize("found", [each for each in RAISED if each.severity], ids=lambda each: each.where)
def test_the_table_has_the_severity_that_the_code_states(found):
    if len(ROWS[found.kind].severities) == 1:
        assert ROWS[found.kind].severities == {found.severity}
    assert found.severity in ROWS[found.kind].severities


def test_each_explained_identity_is_raised_there():
    sources = {module: (ROOT / module).read_text() for module, _ in OTHERS}
    assert [(module, text) for module, text in OTHERS if f"({text}," not in sources[module]] == []


def test_an_identity_that_cannot_be_read_fails():
    with pytest.raises(AssertionError, match=r"which alert is found\[0\]"):
        kinds_of("observer/x.py", ast.parse("found[0]", mode="eval").body)


@pytest.mark.parametrize("what", REQUIREMENT)
def test_each_alert_of_the_requirement_has_a_row_and_tests_that_begin_and_end_it(what):
    kind, *tests = REQUIREMENT[what]
    assert kind in ROWS
    assert [name for name in tests if f"def {name}(" not in TESTS] == []


@pytest.mark.parametrize("line", sorted({*IN_BLOCKS, *IN_TEXT}))
def test_a_command_of_the_page_is_understood_as_it_is_printed(line):
    words = [VALUES.get(word, word) for word in shlex.split(line, comments=True)]
    command: click.Command = command_line()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    if line in IN_BLOCKS or words:  # in a sentence a command may stand without its arguments
        with contextlib.suppress(click.exceptions.Exit):
            command.make_context("observer", words)


def test_the_page_names_commands():
    assert len(IN_BLOCKS) > 25
    assert len(IN_TEXT) > 30


def test_the_settings_of_the_page_are_valid():
    settings, urls = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    targets = msgspec.convert(tomllib.loads(settings)["alerts"], AlertSettings).targets
    assert targets.keys() == tomllib.loads(urls).keys()
