"""Symbols and venues as they are typed: one line, one venue, or a stock at all its venues."""

import json

import msgspec
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
from observer.base.lines import venue_of
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
    venue = venue_of(symbol, "KRX")
    gap = GapDetected(f"gap-{symbol}", "kis", symbol, DAY, START_NS, START_NS, START_NS, 1, 2, 1, 1, "reconnect", venue)
    counts = (60.0, 9, 100.0, 0.0, 0.0, 0.0, 1, 0)
    of_day = ("part", 0.0, 400.0, 0.25, 0.5)
    return [
        SlotAssigned(f"main:{symbol}", symbol, START_NS, "volume_surge", 9.5, "free_slot", None, None, venue),
        gap,
        QualityJudged("kis", symbol, DAY, START_NS, "complete", "", *counts, *of_day, venue=venue),
    ]


def universe():
    symbols = (KRX, OTHER, NXT)
    members = [
        msgspec.structs.replace(member(symbol, session_date=DAY, rank=rank), venue=venue_of(symbol, "KRX"))
        for rank, symbol in enumerate(symbols, 1)
    ]
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
        (None, "KRX", [KRX, OTHER]),
        (None, "NXT", [NXT]),
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


@pytest.mark.parametrize(("words", "lines"), [((), [KRX, NXT, OTHER]), (("--symbol", NXT), [NXT])])
def test_coverage_is_of_the_lines_that_are_asked_for(typed, words, lines):
    assert symbols_of(typed("coverage", "--json", *words), "symbols") == lines


def venues_of(ran):
    return [(each["symbol"], each["venue"]) for each in json.loads(ran.stdout)]


@pytest.mark.parametrize("relation", ["quality", "gaps", "slots"])
def test_a_relation_has_a_row_each_venue_of_a_stock_and_of_a_line_its_own(typed, relation):
    assert venues_of(typed(relation, KRX, "--sort", "venue", "--json")) == [(KRX, "KRX"), (KRX, "NXT")]
    assert venues_of(typed(relation, NXT, "--json")) == [(KRX, "NXT")]


def test_a_venue_without_a_slot_that_day_is_no_data(typed):
    assert isinstance(typed("coverage", "--symbol", f"{OTHER}.NXT").exception, NoDataError)
    error = typed("coverage", "--venue", "MOON").exception
    assert isinstance(error, NoDataError)
    assert str(error) == f"no trades at MOON on {DAY}: symbols of KRX, NXT had the slots"


def test_the_slot_of_a_line_is_explained(typed):
    assert f"{NXT} has main:{NXT}" in typed("slots", "why", NXT).stdout


def test_a_line_is_known_by_the_listing_of_its_stock(typed):
    assert f"{UNSTREAMED}.NXT is not in the universe" in typed("slots", "why", f"{UNSTREAMED}.NXT").stdout
    assert isinstance(typed("slots", "why", "999999.NXT").exception, NoDataError)


def test_the_universe_is_shown_for_one_venue(typed):
    assert venues_of(typed("universe", "--where", "venue = 'NXT'", "--json")) == [(KRX, "NXT")]
