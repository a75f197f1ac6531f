"""The step under way is shown on a terminal when the work takes longer, and never elsewhere."""

import io

from rich.console import Console

from observer.cli import steps as module
from observer.cli.steps import steps
from tests.waiting import until


def test_a_terminal_shows_the_last_step_of_long_work(monkeypatch):
    monkeypatch.setattr(module, "SHOWN_AFTER_S", 0.01)
    out = io.StringIO()
    with steps(Console(file=out, force_terminal=True)) as step:
        step("checking: clock")
        until(lambda: "checking: clock" in out.getvalue(), "the step's name")


def test_without_a_terminal_nothing_is_written(monkeypatch):
    monkeypatch.setattr(module, "SHOWN_AFTER_S", 0.0)
    out = io.StringIO()
    with steps(Console(file=out)) as step:
        step("checking: clock")
    assert out.getvalue() == ""


def test_short_work_shows_nothing():
    out = io.StringIO()
    with steps(Console(file=out, force_terminal=True)) as step:
        step("checking: clock")
    assert "checking" not in out.getvalue()
