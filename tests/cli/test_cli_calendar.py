"""`observer calendar sessions`: the sessions of days, and why they are unusual."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from observer.calendar.process import trading_days_apart
from observer.calendar.trading_day import TradingDay
from observer.cli.app import main
from observer.cli.calendar import DayRow

CONFIG = Path(__file__).parents[2] / "config"

Ask = Callable[..., tuple[object, str, str]]


@pytest.fixture(scope="module")
def computed_once():
    """The days of a year by the packages' process, which starts for the first question."""
    year: list[TradingDay] = []

    async def compute(files, first, last):
        if not year:
            year.extend(await trading_days_apart(files, dt.date(2026, 1, 1), dt.date(2026, 12, 31)))
        return [each for each in year if first <= each.day <= last]

    return compute


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys, computed_once):
    monkeypatch.setattr("observer.cli.calendar.trading_days_apart", computed_once)
    configuration = tmp_path / "observer.toml"
    configuration.write_text(f'[run]\ntrading_days = "{CONFIG / "trading_days.toml"}"\n')
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["observer", "calendar", "sessions", "--config", str(configuration), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_the_unusual_days_of_a_month_are_printed_with_their_reason(ask):
    status, out, _ = ask("--from", "2026-11-01", "--to", "2026-11-30", "--unusual", "--json")
    [row] = msgspec.json.decode(out, type=list[DayRow])
    assert status in (0, None)
    assert (row.day, row.shift, row.why) == ("2026-11-19", "exam_day", "exam_day")
    assert [(each.opens, each.closes) for each in row.sessions if each.venue == "NXT"] == [
        ("10:00:30", "16:20"),
        ("16:30", "20:00"),
    ]


def test_every_day_is_a_line_for_each_session_and_a_closed_day_says_so(ask):
    _, out, _ = ask("--from", "20261120", "--to", "20261121", "--venue", "KRX")
    lines = [line.split()[:5] for line in out.splitlines()[2:]]
    assert lines[0] == ["2026-11-20", "KRX", "opening_auction", "08:20", "09:00"]
    assert len(lines) == 6
    assert lines[-1] == ["2026-11-21", "closed"]


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (["--from", "soon"], 2, "'soon' is not a date such as 2026-11-18"),
        (["--from", "2026-11-18", "--to", "2026-11-17"], 2, "must not be before --from"),
        (["--from", "2026-11-18", "--venue", "NYSE"], 2, "unknown; there are KRX, NXT"),
        (["--from", "2026-03-03", "--to", "2026-03-04", "--unusual"], 1, "has unusual sessions"),
    ],
)
def test_a_mistake_or_an_empty_answer_is_one_line(ask, words, status, problem):
    found, out, error = ask(*words)
    assert (found, out) == (status, "")
    assert problem in error
    assert error.count("\n") == 1
