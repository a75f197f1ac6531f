"""A list of ETFs out of several sources: merged field by field without loss; a shrunken list is refused."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import EtfListed
from observer.base.errors import DataFileError
from observer.reference.etf.list import (
    FIELDS,
    PRECEDENCE,
    changes,
    check,
    members,
    merge,
    shrink_problem,
)
from observer.reference.etf.manual import parse_manual
from observer.reference.etf.model import Etf, EtfEntry
from tests.store.etf import SESSION

SOURCES = ("master_files", "krx_data", "krx_open_api", "csv")


def entry(symbol="069500", **fields):
    return EtfEntry(symbol=symbol, **{"name": "KODEX 200", "group": "EF", **fields})


def known_after(facts):
    """The projection of one list's events."""
    names = [name for name in Etf.__struct_fields__ if name in EtfListed.__struct_fields__]
    return {
        fact.symbol: Etf(
            **{name: getattr(fact, name) for name in names},
            active=fact.change != "removed",
            first_seen_ns=1,
            first_seen_as="new",
        )
        for fact in facts
    }


def list_of(reported, known, list_from="master_files"):
    return changes(merge(members(reported[list_from], known), reported, known), known, SESSION, 5)


# --- precedence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_ranks_every_source(name):
    assert sorted(PRECEDENCE[name]) == sorted(SOURCES)


@pytest.mark.parametrize("name", ["index_name", "listed_shares"])
@given(tellers=st.sets(st.sampled_from(SOURCES), min_size=1))
def test_the_first_source_by_precedence_that_states_a_field_wins(name, tellers):
    value = dict(zip(SOURCES, (1.0, 2.0, 3.0, 4.0) if name == "listed_shares" else "abcd", strict=True))
    reported = {source: {"069500": entry(**{name: value[source]})} for source in tellers}
    [listed] = merge(["069500"], reported, {})
    winner = next(source for source in PRECEDENCE[name] if source in tellers)
    assert getattr(listed.entry, name) == value[winner]
    assert listed.sources[name] == winner


def test_the_fee_of_the_manual_table_and_the_shares_of_the_exchange_win():
    reported = {
        "master_files": {"069500": entry(listed_shares=1.0)},
        "krx_data": {"069500": entry(expense_ratio_percent=0.15, issuer="삼성자산운용", listed_shares=2.0)},
        "csv": {"069500": EtfEntry(symbol="069500", expense_ratio_percent=0.05, listed_shares=3.0)},
    }
    [listed] = merge(["069500"], reported, {})
    assert (listed.entry.expense_ratio_percent, listed.entry.issuer, listed.entry.listed_shares) == (
        0.05,
        "삼성자산운용",
        1.0,
    )


def test_the_name_yields_the_leverage_that_no_source_states():
    reported = {"master_files": {"252670": entry("252670", name="KODEX 200선물인버스2X")}}
    [listed] = merge(["252670"], reported, {})
    assert (listed.entry.leverage, listed.sources["leverage"]) == (-2.0, "name")
    reported["csv"] = {"252670": EtfEntry(symbol="252670", leverage=-1.5)}
    [listed] = merge(["252670"], reported, {})
    assert (listed.entry.leverage, listed.sources["leverage"]) == (-1.5, "csv")


# --- what differs --------------------------------------------------------------------------------------------


def test_a_source_that_fails_takes_nothing_away():
    full = {
        "master_files": {"069500": entry()},
        "krx_data": {"069500": entry(issuer="삼성자산운용", expense_ratio_percent=0.15)},
    }
    known = known_after(list_of(full, {}))
    [fact] = list_of({"master_files": full["master_files"]}, known)
    assert (fact.change, fact.issuer, fact.expense_ratio_percent) == ("same", "삼성자산운용", 0.15)
    assert fact.sources["issuer"] == "krx_data"


def test_initial_same_changed_removed_relisted_and_new_are_reported_apart():
    both = {"master_files": {"069500": entry(), "114800": entry("114800", name="KODEX 인버스")}}
    first = list_of(both, {})
    assert [fact.change for fact in first] == ["initial", "initial"]
    known = known_after(first)
    renamed = {"master_files": {"069500": entry(name="KODEX 200 TR")}}
    changed, removed = list_of(renamed, known)
    assert (changed.change, changed.changed_fields) == ("changed", "name")
    assert (removed.change, removed.symbol, removed.name) == ("removed", "114800", "KODEX 인버스")
    known |= known_after([changed, removed])
    assert [fact.change for fact in list_of(renamed, known)] == ["same"]
    assert [fact.change for fact in list_of(both, known)] == ["changed", "relisted"]
    third = {"master_files": {**both["master_files"], "122630": entry("122630")}}
    assert [fact.change for fact in list_of(third, known)] == ["changed", "relisted", "new"]


def test_a_source_without_etns_removes_none():
    known = known_after(list_of({"master_files": {"069500": entry(), "Q500001": entry("Q500001", group="EN")}}, {}))
    facts = list_of({"krx_data": {"069500": entry()}}, known, "krx_data")
    assert [(fact.symbol, fact.change) for fact in facts] == [("069500", "same"), ("Q500001", "same")]


def test_a_list_that_shrinks_too_much_is_not_accepted():
    known = {
        f"{number:06}": msgspec.structs.replace(etf, symbol=f"{number:06}")
        for number in range(100)
        for etf in known_after(list_of({"master_files": {"069500": entry()}}, {})).values()
    }

    def first(count):
        return {symbol: entry(symbol) for symbol in sorted(known)[:count]}

    assert shrink_problem(first(90), known, 10.0) is None
    assert "89 ETFs after 100" in (shrink_problem(first(89), known, 10.0) or "")
    assert shrink_problem({}, {}, 10.0) == "it has no ETFs"
    assert shrink_problem(first(1), {}, 10.0) is None


ENTRIES = st.dictionaries(
    st.sampled_from(["069500", "114800", "0004Y0", "Q500001"]), st.sampled_from(["one", "two"]), min_size=1
)


@given(ENTRIES, ENTRIES)
def test_after_a_list_the_active_etfs_are_those_of_the_list(before, after):
    def reported(names):
        return {"master_files": {symbol: entry(symbol, name=name) for symbol, name in names.items()}}

    known = known_after(list_of(reported(before), {}))
    facts = list_of(reported(after), known)
    known |= known_after(facts)
    assert {symbol for symbol, etf in known.items() if etf.active} == set(after)
    assert {etf.symbol: etf.name for etf in known.values() if etf.active} == after
    assert len({fact.symbol for fact in facts}) == len(facts)


# --- validation, and the table that a person keeps -----------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expense_ratio_percent", -0.1),
        ("expense_ratio_percent", 10.1),
        ("leverage", 0.0),
        ("leverage", 3.5),
        ("listed_shares", 0.0),
        ("listed_shares", float("inf")),
        ("creation_unit_shares", float("nan")),
        ("isin", "KR706950000"),
        ("listed_on", "2002/10/14"),
        ("listed_on", "20021014"),
        ("issuer", "  "),
    ],
)
def test_an_impossible_field_is_left_out_and_reported(field, value):
    checked = check([entry(**{field: value})])
    assert getattr(checked.entries["069500"], field) is None
    assert checked.entries["069500"].name == "KODEX 200"
    [problem] = checked.problems
    assert field in problem


@pytest.mark.parametrize("symbol", ["", "69500", "06950O ", "abc123", "0" * 10])
def test_an_entry_without_a_valid_code_is_left_out(symbol):
    assert (check([entry(symbol)]).entries, len(check([entry(symbol)]).problems)) == ({}, 1)


def test_a_code_that_comes_twice_counts_once():
    checked = check([entry(name="first"), entry(name="second")])
    assert checked.entries["069500"].name == "first"
    assert checked.problems == ["069500 came twice"]


def test_the_table_is_read_with_comments_numbers_words_and_empty_cells():
    rows = ["\ufeff# a comment", "symbol,issuer,leverage,expense_ratio_percent", '069500,"삼성, 자산",1,0.15%']
    checked = parse_manual("\n".join([*rows, "", "252670,,2X 인버스,"]), "here")
    assert not checked.problems
    assert checked.entries == {
        "069500": EtfEntry(symbol="069500", issuer="삼성, 자산", leverage=1.0, expense_ratio_percent=0.15),
        "252670": EtfEntry(symbol="252670", leverage=-2.0),
    }


def test_bad_lines_and_cells_are_reported_with_their_line():
    text = "symbol,expense_ratio_percent\n069500,cheap\n114800\nxyz,1\n252670,0.64\n"
    checked = parse_manual(text, "here")
    assert [problem.split(":")[0] for problem in checked.problems] == ["here line 2", "here line 3", "here"]
    assert checked.entries["069500"].expense_ratio_percent is None
    assert checked.entries["252670"].expense_ratio_percent == 0.64


@pytest.mark.parametrize("header", ["", "issuer", "symbol,price", "symbol,symbol"])
def test_a_wrong_header_is_refused_with_the_fields_there_are(header):
    with pytest.raises(DataFileError, match="fields are symbol, name, group"):
        parse_manual(f"{header}\n069500,1\n", "here")


@given(st.text())
def test_any_text_is_a_table_or_refused(text):
    with contextlib.suppress(DataFileError):
        parse_manual(text, "here")


@given(st.text(st.characters(exclude_characters='#"'), min_size=1).filter(str.strip))
def test_any_text_under_a_good_header_is_entries_or_problems(text):
    checked = parse_manual(f"symbol\n{text}", "here")
    assert checked.entries or checked.problems


MULTIPLES = {"": None, "2": 2.0, "-1": -1.0, "2X 인버스": -2.0, "0": None, "7": None, "cheap": None}


@given(st.dictionaries(st.sampled_from(["069500", "252670", "Q500001"]), st.sampled_from(list(MULTIPLES)), min_size=1))
def test_each_row_under_a_good_header_is_an_entry_and_each_wrong_cell_a_problem(rows):
    lines = [f"{symbol},{leverage}" for symbol, leverage in rows.items()]
    checked = parse_manual("\n".join(["symbol,leverage", *lines]), "here")
    assert {symbol: entry.leverage for symbol, entry in checked.entries.items()} == {
        symbol: MULTIPLES[leverage] for symbol, leverage in rows.items()
    }
    assert len(checked.problems) == sum(leverage in ("0", "7", "cheap") for leverage in rows.values())
