"""What the tables of `observer master` leave out."""

from hypothesis import given
from hypothesis import strategies as st

from bus.events import MasterFileChecked
from observer.cli.master_tables import failures_in_a_row, show_checks

MINUTE_NS = 60 * 10**9


def look(exchange: str, minute: int, verdict: str = "failed", reason: str = "HTTP 500") -> MasterFileChecked:
    """One that read no file."""
    run = f"{exchange}-{minute}"
    return MasterFileChecked("kis", exchange, minute * MINUTE_NS, verdict, reason, 0, "", 0, 0, 0, 0, 0, run)  # type: ignore[arg-type]


def test_failures_of_an_exchange_in_a_row_are_one_though_others_were_looked_at_between() -> None:
    newest_first = [look("NASD", 5), look("NYSE", 5, "unchanged"), look("NASD", 4), look("NYSE", 4), look("NASD", 3)]
    found = [(newest.run, [check.run for check in earlier]) for newest, earlier in failures_in_a_row(newest_first)]
    assert found == [("NASD-5", ["NASD-4", "NASD-3"]), ("NYSE-5", []), ("NYSE-4", [])]


def test_another_reason_or_a_look_that_worked_begins_another_row() -> None:
    checks = [look("NASD", 4), look("NASD", 3, reason="Timeout"), look("NASD", 2, "unchanged"), look("NASD", 1)]
    assert [(newest.run, list(earlier)) for newest, earlier in failures_in_a_row(checks)] == [
        (f"NASD-{minute}", []) for minute in (4, 3, 2, 1)
    ]


VERDICTS = st.sampled_from(["failed", "held"])
LOOKS = st.builds(look, st.sampled_from("AB"), st.integers(0, 9), VERDICTS, st.sampled_from("xy"))


@given(st.lists(LOOKS))
def test_every_look_is_in_one_row(checks: list[MasterFileChecked]) -> None:
    rows = [[newest, *earlier] for newest, earlier in failures_in_a_row(checks)]
    for exchange in "AB":
        in_rows = [check for row in rows for check in row if check.exchange == exchange]
        assert in_rows == [check for check in checks if check.exchange == exchange]


def test_how_often_a_host_failed_and_since_when_is_told(capsys) -> None:
    show_checks([look("NASD", minute) for minute in range(1_100, 0, -1)], "the last day", as_json=False)
    told = capsys.readouterr().out
    assert "NASD-1100 failed: HTTP 500 (1,100 looks since 1970-01-01 09:01)" in told
    assert len(told.splitlines()) < 10
