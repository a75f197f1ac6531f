"""Rows that the tables of `observer master` omit."""

from hypothesis import given
from hypothesis import strategies as st

from bus.events import MasterFileChecked
from observer.cli.master_tables import failures_in_a_row, show_checks

MINUTE_NS = 60 * 10**9


def checked(exchange, minute, outcome="failed", reason="HTTP 500"):
    """One that read no file."""
    run = f"{exchange}-{minute}"
    return MasterFileChecked("kis", exchange, minute * MINUTE_NS, outcome, reason, 0, "", 0, 0, 0, 0, 0, run)


def test_consecutive_failures_of_an_exchange_are_grouped_across_checks_of_other_exchanges():
    newest_first = [
        checked("NASD", 5),
        checked("NYSE", 5, "unchanged"),
        checked("NASD", 4),
        checked("NYSE", 4),
        checked("NASD", 3),
    ]
    found = [(newest.run, [check.run for check in earlier]) for newest, earlier in failures_in_a_row(newest_first)]
    assert found == [("NASD-5", ["NASD-4", "NASD-3"]), ("NYSE-5", []), ("NYSE-4", [])]


def test_another_reason_or_a_successful_check_begins_another_row():
    checks = [
        checked("NASD", 4),
        checked("NASD", 3, reason="Timeout"),
        checked("NASD", 2, "unchanged"),
        checked("NASD", 1),
    ]
    assert [(newest.run, list(earlier)) for newest, earlier in failures_in_a_row(checks)] == [
        (f"NASD-{minute}", []) for minute in (4, 3, 2, 1)
    ]


QUALITIES = st.sampled_from(["failed", "pending"])
CHECKS = st.builds(checked, st.sampled_from("AB"), st.integers(0, 9), QUALITIES, st.sampled_from("xy"))


@given(st.lists(CHECKS))
def test_every_check_is_in_exactly_one_row(checks):
    rows = [[newest, *earlier] for newest, earlier in failures_in_a_row(checks)]
    for exchange in "AB":
        in_rows = [check for row in rows for check in row if check.exchange == exchange]
        assert in_rows == [check for check in checks if check.exchange == exchange]


def test_runs_that_failed_alike_are_one_line(capsys):
    failed = [checked(each, 1, reason=f"master_file {each}: ConnectError") for each in ("KOSPI", "NASD", "NYSE")]
    show_checks([*failed, checked("AMEX", 1, reason="HTTP 500")], "checked now", as_json=False)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "KOSPI-1, NASD-1, NYSE-1 failed: ConnectError",
        "AMEX-1 failed: HTTP 500",
    ]


def test_how_often_a_host_failed_and_since_when_is_reported(capsys):
    show_checks([checked("NASD", minute) for minute in range(1_100, 0, -1)], "the last day", as_json=False)
    reported = capsys.readouterr().out
    assert "NASD-1100 failed: HTTP 500 (1,100 checks since 1970-01-01 09:01)" in reported
    assert len(reported.splitlines()) < 10
