"""`observer tape`: the progress, the reports, and each symbol's trades and calls."""

import json

import pytest

from bus.events import (
    QualityJudged,
    SelectionAdvanced,
    SlotAssigned,
    SlotsClosed,
    TapeJudged,
    TapePage,
    TapeProgressed,
    TapeSpan,
)
from tests.builders import day_began
from tests.cli.typed import typed_system
from tests.store.exporting import START_NS

DAY = "2026-11-18"
LOST = TapeSpan(100.0, 140.0, 5_000_000_000, 5_000_000_000)


def page(symbol, stored, *lost):
    return TapePage("kis", symbol, DAY, 1, 1, 30, stored, 9.0, 1.0, 10.0, 10, 11, lost, "KRX")


@pytest.fixture
def typed(tmp_path):
    return typed_system(
        tmp_path,
        SelectionAdvanced(DAY, 1, SlotsClosed("closed")),
        page("005930", 30),
        page("005930", 12, LOST),
        page("000660", 30),
        TapeProgressed("kis", DAY, 2, 2, 1, 3, 72, 1_000.0, 960.0, 40.0, 1, 0, 0.0, True),
        TapeJudged("kis", "005930", DAY, 2, "seconds", 800.0, 760.0, 42, (LOST,), (), "KRX"),
        TapeJudged("kis", "000660", DAY, 2, "complete", 200.0, 200.0, 30, (), (), "KRX"),
    )


def test_the_tape_is_shown_by_symbol(typed):
    shown = typed("tape", DAY)
    assert shown.stdout.startswith(f"tape on {DAY}: 2 rows; 1 complete, 1 seconds\n")
    rows = {each["symbol"]: each for each in json.loads(typed("tape", DAY, "--json").stdout)}
    assert list(rows) == ["005930", "000660"]
    assert {name: rows["005930"][name] for name in ("trades", "calls", "unknown_spans", "unreachable_seconds")} == {
        "trades": 42, "calls": 2, "unknown_spans": 0, "unreachable_seconds": 1,
    }  # fmt: skip
    [progress] = json.loads(typed("tape_progress", DAY, "--json").stdout)
    assert (progress["held_volume"], progress["is_done"]) == (960.0, True)


def test_the_quality_of_a_day_says_how_much_of_the_market_is_stored(tmp_path):
    figures = (60.0, 18, 700.0, 0.0, 60.0, 0.0, 0, 0)
    slot = SlotAssigned("main:01", "005930", START_NS, "volume_surge", 9.5, "free_slot", None)
    typed = typed_system(
        tmp_path,
        SelectionAdvanced(DAY, START_NS, day_began(DAY)),
        slot,
        QualityJudged("kis", "005930", DAY, START_NS, "degraded", "", *figures),
        TapeProgressed("kis", DAY, 2, 2, 1, 3, 72, 1_000.0, 960.0, 40.0, 1, 0, 0.0, True),
        TapeJudged("kis", "005930", DAY, 2, "complete", 800.0, 760.0, 20, (), (), "KRX"),
        TapeJudged("kis", "000660", DAY, 2, "complete", 200.0, 200.0, 30, (), (), "KRX"),
    )
    shown = typed("coverage", DAY)
    assert shown.stdout.splitlines()[-1] == (
        "of the market: 90.00 % of the volume and about 92.61 % of the trades are stored one by one"
    )
    assert json.loads(typed("coverage", DAY, "--json").stdout)["market"]["volume"] == 0.9
    assert json.loads(typed("coverage", DAY, "--json", "--symbol", "005930").stdout)["market"] is None
    assert "1 complete, 1 seconds" in typed("tape", DAY).stdout, "some of its trades are conflated"


def test_pages_that_are_in_the_lake_alone_leave_the_reports_trades_and_seconds_and_no_calls(tmp_path):
    shown = typed_system(
        tmp_path,
        SelectionAdvanced(DAY, 1, SlotsClosed("closed")),
        TapeProgressed("kis", DAY, 2, 2, 1, 3, 72, 1_000.0, 960.0, 40.0, 1, 0, 0.0, True),
        TapeJudged("kis", "005930", DAY, 2, "seconds", 800.0, 760.0, 42, (LOST,), (), "KRX"),
        TapeJudged("kis", "000660", DAY, 2, "complete", 200.0, 200.0, 0, (), (), "KRX"),
    )("tape", DAY, "--json")
    symbols = {each["symbol"]: each for each in json.loads(shown.output)}
    assert [symbols["005930"][key] for key in ("trades", "unreachable_seconds", "calls")] == [42, 1, None]
    assert symbols["000660"]["calls"] == 0
