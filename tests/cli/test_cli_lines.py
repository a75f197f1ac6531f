"""Symbols and venues as they are typed: one line, one venue, or a stock at all its venues."""

import json

import pytest

from bus.events import (
    DailyBar,
    GapDetected,
    QualityJudged,
    SelectionAdvanced,
    SlotAssigned,
    UniverseBuilt,
)
from observer.base.errors import ConfigError, NoDataError
from observer.cli.lines import AskedLines, asked_lines, typed_line
from observer.reference.universe.eligibility import KOREAN_STOCKS
from tests.builders import day_began
from tests.cli.typed import typed_system
from tests.selection.builders import member
from tests.store.exporting import DAY, START_NS
from tests.store.listings import listing_changed

KRX, NXT, OTHER = "000001", "000001.NXT", "000002"
UNSTREAMED = "000003"


def of_line(symbol):
    """A slot, a gap, and the day's report of a line: 100 shares streamed, of 400 of the day."""
    gap = GapDetected(f"gap-{symbol}", "kis", symbol, DAY, START_NS, START_NS, START_NS, 1, 2, 1, 1, "reconnect")
    counts = (60.0, 9, 100.0, 0.0, 0.0, 0.0, 1, 0)
    of_day = ("part", 0.0, 400.0, 0.25, 0.5)
    return [
        SlotAssigned(f"main:{symbol}", symbol, START_NS, "volume_surge", 9.5, "free_slot", None),
        gap,
        QualityJudged("kis", symbol, DAY, START_NS, "recovered" if symbol == NXT else "complete", "", *counts, *of_day),
    ]


def universe():
    symbols = (KRX, OTHER, NXT)
    members = [member(symbol, session_date=DAY, rank=rank) for rank, symbol in enumerate(symbols, 1)]
    return [*members, UniverseBuilt("kis", KOREAN_STOCKS, DAY, "2026-11-17", 5, len(members), 9, 4_000.0)]


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Types a command for a system whose database has one stock at two venues and one at the main venue alone."""
    monkeypatch.setenv("COLUMNS", "80")
    bar = DailyBar("kis", f"{OTHER}.NXT", DAY, 1.0, 1.0, 1.0, 1.0, 600.0, 600.0)
    listed = [listing_changed(symbol=KRX), listing_changed(symbol=UNSTREAMED)]
    began = SelectionAdvanced(DAY, START_NS, day_began(DAY))
    events = [*universe(), began, *of_line(KRX), *of_line(NXT), *of_line(OTHER), bar, *listed]
    return typed_system(tmp_path, *events)


def symbols_of(ran, key):
    assert ran.exit_code == 0, ran.exception
    return [each["symbol"] for each in json.loads(ran.stdout)[key]]


@pytest.mark.parametrize(
    ("symbol", "venue", "lines"),
    [
        (None, None, [KRX, NXT, OTHER]),
        (KRX, None, [KRX]),
        (NXT, None, [NXT]),
        (f"{KRX}.KRX", None, [KRX]),
        (KRX, "NXT", [NXT]),
        (NXT, "nxt", [NXT]),
        (KRX, "all", [KRX, NXT]),
        (NXT, "all", [KRX, NXT]),
        (None, "KRX", [KRX, OTHER]),
        (None, "NXT", [NXT]),
        (None, "all", [KRX, NXT, OTHER]),
    ],
)
def test_a_symbol_and_a_venue_name_lines(symbol, venue, lines):
    asked = asked_lines(symbol, venue, "kr_stocks")
    assert [each for each in (KRX, NXT, OTHER) if asked.has(each)] == lines


def test_a_symbol_of_another_venue_than_the_option_is_refused():
    with pytest.raises(ConfigError, match=r"000001\.NXT is not at KRX"):
        asked_lines(NXT, "KRX", "kr_stocks")


def test_the_main_venue_behind_a_symbol_is_left_out():
    assert (typed_line(f"{KRX}.KRX", "kr_stocks"), typed_line(NXT, "kr_stocks")) == (KRX, NXT)
    assert AskedLines().has("anything")


@pytest.mark.parametrize(
    ("words", "lines"),
    [((), [KRX, NXT, OTHER]), (("--symbol", NXT), [NXT]), (("--symbol", KRX, "--venue", "all"), [KRX, NXT])],
)
def test_quality_and_gaps_are_of_the_lines_that_are_asked_for(typed, words, lines):
    assert symbols_of(typed("quality", "--json", *words), "symbols") == lines
    assert symbols_of(typed("gaps", "list", "--json", *words), "gaps") == lines


def test_the_quality_of_stocks_is_a_row_each_with_the_volume_of_every_venue(typed):
    ran = typed("quality", "--venue", "all")
    header, _, first, second = ran.stdout.splitlines()[1:5]
    assert header.split() == ["symbol", "in", "slots", "day", "volume", "%", "at", "most", "KRX", "NXT", "volume"]
    assert first.split() == [KRX, "recovered", "part", "25.00", "0", "400", "400", "800"]
    assert second.split() == [OTHER, "complete", "part", "10.00", "0", "400", "600", "1,000"]
    assert ran.stdout.splitlines()[-1] == "in slots: 1 complete, 1 recovered; of the day: 2 part"
    assert max(map(len, ran.stdout.splitlines())) <= 80
    stocks = json.loads(typed("quality", "--venue", "all", "--json").stdout)["stocks"]
    assert {each["stock"]: each["day_volumes"] for each in stocks}[KRX] == {KRX: 400.0, NXT: 400.0}


def test_a_venue_without_a_slot_that_day_is_no_data(typed):
    assert isinstance(typed("quality", "--symbol", f"{OTHER}.NXT").exception, NoDataError)
    for words in (("gaps", "list"), ("quality",), ("slots", "history")):
        error = typed(*words, "--venue", "MOON").exception
        assert isinstance(error, NoDataError)
        assert str(error) == f"no trades at MOON on {DAY}: symbols of KRX, NXT had the slots"


def test_slots_of_a_line_are_listed_and_explained(typed):
    assert symbols_of(typed("slots", "history", NXT, "--json"), "changes") == [NXT]
    assert symbols_of(typed("slots", "history", KRX, "--venue", "all", "--json"), "changes") == [KRX, NXT]
    assert symbols_of(typed("slots", "history", "--venue", "NXT", "--json"), "slots") == [NXT]
    assert f"{NXT} has main:{NXT}" in typed("slots", "why", NXT).stdout


def test_a_line_is_known_by_the_listing_of_its_stock(typed):
    assert f"{UNSTREAMED}.NXT is not in the universe" in typed("slots", "why", f"{UNSTREAMED}.NXT").stdout
    assert "was neither given nor refused" in typed("slots", "history", f"{UNSTREAMED}.NXT").stdout
    assert isinstance(typed("slots", "why", "999999.NXT").exception, NoDataError)


def test_the_universe_is_shown_for_one_venue(typed):
    assert symbols_of(typed("universe", "show", "--venue", "NXT", "--json"), "members") == [NXT]
    assert symbols_of(typed("universe", "show", "--venue", "KRX", "--limit", "1", "--json"), "members") == [KRX]
    assert isinstance(typed("universe", "show", "--venue", "MOON").exception, NoDataError)
