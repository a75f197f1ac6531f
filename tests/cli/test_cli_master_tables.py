"""The tables of `observer master`."""

from bus.events import MasterFileChecked
from observer.cli.master_tables import show_checks

MINUTE_NS = 60 * 10**9


def checked(exchange, minute, outcome="failed", reason="HTTP 500"):
    """One that read no file."""
    run = f"{exchange}-{minute}"
    return MasterFileChecked("kis", exchange, minute * MINUTE_NS, outcome, reason, 0, "", 0, 0, 0, 0, 0, run)


def test_runs_that_failed_alike_are_one_line(capsys):
    failed = [checked(each, 1, reason=f"master_file {each}: ConnectError") for each in ("KOSPI", "NASD", "NYSE")]
    show_checks([*failed, checked("AMEX", 1, reason="HTTP 500")], "checked now", as_json=False)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "KOSPI-1, NASD-1, NYSE-1 failed: ConnectError",
        "AMEX-1 failed: HTTP 500",
    ]
