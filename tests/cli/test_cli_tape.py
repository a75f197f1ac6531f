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


def test_the_tape_is_shown_by_symbol_and_in_all(typed):
    shown = typed("tape", DAY)
    assert shown.exit_code == 0
    assert "tape: 72 trades in 3 calls, 96.00 % of the volume held, 0 unknown spans, 1 unreachable seconds, done" in (
        " ".join(shown.output.split())
    )
    assert "1 complete, 1 seconds" in shown.output
    assert "96.00 % of the volume and about 97.02 % of the trades are stored one by one" in (
        " ".join(shown.output.split())
    )
    [row] = [line.split() for line in shown.output.splitlines() if line.startswith("005930")]
    assert row == ["005930", "seconds", "42", "95.00", "0", "1", "2"]


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
    shown = typed("quality", DAY)
    assert shown.stdout.splitlines()[-1] == (
        "of the market: 90.00 % of the volume and about 92.61 % of the trades are stored one by one"
    )
    assert json.loads(typed("quality", DAY, "--json").stdout)["market"]["volume"] == 0.9
    assert json.loads(typed("quality", DAY, "--json", "--symbol", "005930").stdout)["market"] is None
    assert "1 complete, 1 seconds" in typed("tape", DAY).stdout  # some of its trades are conflated


def test_pages_that_are_in_the_lake_alone_leave_the_reports_trades_and_seconds_and_no_calls(tmp_path):
    shown = typed_system(
        tmp_path,
        SelectionAdvanced(DAY, 1, SlotsClosed("closed")),
        TapeProgressed("kis", DAY, 2, 2, 1, 3, 72, 1_000.0, 960.0, 40.0, 1, 0, 0.0, True),
        TapeJudged("kis", "005930", DAY, 2, "seconds", 800.0, 760.0, 42, (LOST,), (), "KRX"),
        TapeJudged("kis", "000660", DAY, 2, "complete", 200.0, 200.0, 0, (), (), "KRX"),
    )("tape", DAY, "--json")
    symbols = {each["symbol"]: each for each in json.loads(shown.output)["symbols"]}
    assert [symbols["005930"][key] for key in ("trades", "unreachable_seconds", "calls")] == [42, 1, None]
    assert symbols["000660"]["calls"] == 0


def test_json_has_the_symbols_as_maps_and_one_symbol_can_be_asked(typed):
    found = json.loads(typed("tape", DAY, "--symbol", "000660", "--json").output)
    assert [(each["symbol"], each["quality"], each["trades"]) for each in found["symbols"]] == [
        ("000660", "complete", 30)
    ]
    assert (found["held_percent"], found["progress"]["is_done"]) == (96.0, True)
    assert found["held"] == {"volume": 1.0, "trades": 1.0}


def test_a_day_without_a_tape_says_how_it_is_switched_on(tmp_path):
    shown = typed_system(tmp_path, SelectionAdvanced(DAY, 1, SlotsClosed("closed")))("tape", DAY)
    assert shown.exit_code == 1
    assert "[tape]" in str(shown.exception)


def test_a_symbol_without_a_tape_is_an_error_that_names_where_the_others_are(typed):
    shown = typed("tape", DAY, "--symbol", "035420")
    assert shown.exit_code == 1
    assert "nothing of 035420 is in the tape of" in str(shown.exception)
